"""From a configuration to a model package: train, choose the best weights, judge them, write the card."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import nn

from geoseg.config import TrainConfig, load_train_config
from geoseg.errors import ConfigError, GeosegError, StoppedError
from geoseg.evaluate import Evaluation
from geoseg.imagery import Imagery
from geoseg.io.ledger import file_sha256
from geoseg.labelled_data import coding_of, data_folder, evaluate_package, imagery_of, sources_of
from geoseg.labels import NODATA_CLASS
from geoseg.models.architecture import Architecture, build
from geoseg.models.card import CardDraft, SplitMetrics, TileDefaults
from geoseg.models.deeplab import DeepLabV3Plus
from geoseg.models.imagenet import load_encoder_weights
from geoseg.models.package import save_package
from geoseg.models.unet import ResNetUNet
from geoseg.predict import choose_device
from geoseg.runner import is_disk_full
from geoseg.threads import torch_threads
from geoseg.train.augment import Augmentation
from geoseg.train.checkpoint import Progress, load_best
from geoseg.train.device import place
from geoseg.train.fit import Recipe, fit
from geoseg.train.metrics import Confusion
from geoseg.train.progress import training_progress
from geoseg.train.samples import CropSampler
from geoseg.train.scenes import LabelledScene, Source, open_scenes, refuse_overlap
from geoseg.train.score import TileShape, cores, evenly, score

_VALIDATION_TILES = 72
"""Most tiles of one validation during training; the figures on the card are those of whole regions."""

_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went.

    Attributes:
        iteration: Of the weights that were packed, the best on the validation regions.
        iterations: How many there were.
        evaluations: The package on whole regions, of split val and, where there is one, test.
    """

    iteration: int
    iterations: int
    evaluations: tuple[Evaluation, ...]


def train_package(
    config_file: Path,
    output: Path,
    data_root: Path | None,
    *,
    resume: bool,
    seed: int | None,
    device: str | None,
    threads: int | None,
) -> Trained:
    """Train, choose and judge; arguments and errors as in `geoseg.train_model`."""
    if threads is not None and threads < 1:
        raise GeosegError(f"expected at least 1 thread, got {threads}")
    if seed is not None and not 0 <= seed <= _MAX_SEED:
        raise GeosegError(f"expected a seed from 0 to {_MAX_SEED}, got {seed}")
    try:
        with torch_threads(threads):
            return _train_package(config_file, output, data_root, resume, seed, device, threads)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise StoppedError(f"the disk of {output} is full: make room, then continue with --resume") from error


def _train_package(
    config_file: Path,
    output: Path,
    data_root: Path | None,
    resume: bool,
    seed: int | None,
    device: str | None,
    threads: int | None,
) -> Trained:
    config = load_train_config(config_file)
    chosen = choose_device(device)
    root = data_folder(data_root)
    sources = sources_of(config, root)
    encoder = _encoder_weights(config, root)
    seed = config.training.seed if seed is None else seed
    torch.manual_seed(seed)
    # Before anything is written or measured, since weights of another network are refused here.
    network = _new_network(config, encoder)
    folder = _training_folder(output, resume)

    imagery, progress = _fit(config, sources, network, encoder, seed, torch.device(chosen), folder, resume)

    network = build(_architecture(config))
    load_best(folder, network, torch.device("cpu"))
    training: dict[str, JsonValue] = {
        "geoseg": version("geoseg"),
        "recipe": {**config.training.model_dump(mode="json"), "seed": seed},
        "iteration": progress.best_iteration,
        "device": chosen.partition(":")[0],
        "torch": torch.__version__,
        "data": [source.model_dump(mode="json") for source in config.data],
    }
    if encoder is not None:
        training["encoder_weights"] = {"file": encoder.path.name, "sha256": encoder.sha256}
    # Measured on the weights as they were written, so the figures are those that a user gets.
    save_package(output, _draft(config, imagery, training, {}), network)
    evaluations = tuple(
        evaluate_package(output, config_file, split, data_root, device, threads)
        for split in ("val", "test")
        if any(source.split == split for source in sources)
    )
    metrics = {evaluation.split: _metrics(evaluation) for evaluation in evaluations}
    save_package(output, _draft(config, imagery, training, metrics), network)
    return Trained(progress.best_iteration, progress.iteration, evaluations)


@dataclass(frozen=True, slots=True)
class _EncoderWeights:
    """The file that an encoder begins from."""

    path: Path
    sha256: str


def _encoder_weights(config: TrainConfig, root: Path) -> _EncoderWeights | None:
    """The configuration's encoder weights, if it names some."""
    name = config.architecture.encoder_weights
    if name is None:
        return None
    path = root / name
    try:
        if not path.is_file():
            raise ConfigError(f"architecture.encoder_weights: expected a file, got {name}, not found in {root}")
        return _EncoderWeights(path, file_sha256(path))
    except OSError as error:
        raise ConfigError(f"architecture.encoder_weights: {path} cannot be read: {error.strerror}") from error


def _new_network(config: TrainConfig, encoder: _EncoderWeights | None) -> nn.Module:
    """The network as training begins, from the current state of torch's random numbers."""
    network = build(_architecture(config))
    if encoder is not None:
        if not isinstance(network, ResNetUNet | DeepLabV3Plus):
            raise ConfigError(f"architecture.encoder_weights: {config.architecture.name} has no ResNet encoder")
        load_encoder_weights(network.encoder, encoder.path)
    return network


def _training_folder(output: Path, resume: bool) -> Path:
    """Where checkpoints lie; refused when something of another run is in the way."""
    folder = output.with_name(output.name + ".training")
    if not resume:
        for path in (output / "card.json", folder / "last.pt"):
            if path.exists():
                raise ConfigError(
                    f"expected a new output, {path} is there already: continue with --resume, or choose another -o"
                )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another -o") from error
    return folder


def _fit(
    config: TrainConfig,
    sources: tuple[Source, ...],
    network: nn.Module,
    encoder: _EncoderWeights | None,
    seed: int,
    device: torch.device,
    folder: Path,
    resume: bool,
) -> tuple[Imagery, Progress]:
    """Train a new network, in place; returns the imagery with its statistics, and how it went."""
    coding, settings = coding_of(config, sources), config.training
    augmentation = Augmentation(**settings.augmentation.model_dump())
    plain = Augmentation(flips=False, rotations=False, color_jitter=0)
    imagery = imagery_of(config)
    with open_scenes(sources, imagery, coding) as scenes:
        refuse_overlap(scenes)
        if config.imagery.mean is None:
            trained = tuple(scene for scene in scenes if scene.source.split == "train")
            imagery = imagery_of(
                config, *CropSampler(trained, imagery, settings.crop_px, seed, plain).statistics(settings.crop_px)
            )
    training = tuple(source for source in sources if source.split == "train")
    validation = tuple(source for source in sources if source.split == "val")
    # Two sets of readers: crops are read on a thread of their own while validation reads on this one.
    with open_scenes(training, imagery, coding) as scenes, open_scenes(validation, imagery, coding) as judged:
        sampler = CropSampler(scenes, imagery, settings.crop_px, seed, augmentation)
        names = config.label_set().names
        with training_progress(names, settings.batch) as report:
            progress = fit(
                place(network, device),
                lambda iteration: sampler.batch(iteration * settings.batch, settings.batch),
                _validator(judged, len(names), device),
                _recipe(config),
                folder,
                _fingerprint(config, imagery, encoder, seed),
                names,
                device,
                resume,
                report,
            )
    return imagery, progress


def _validator(
    scenes: tuple[LabelledScene, ...], classes: int, device: torch.device
) -> Callable[[nn.Module], Confusion]:
    """Count hits on the same tiles of the validation regions every time."""
    shape = TileShape()
    windows = evenly([(scene, core) for scene in scenes for core in cores(scene, shape)], _VALIDATION_TILES)
    if not any((scene.labels(core) != NODATA_CLASS).any() for scene, core in windows):
        raise ConfigError(
            "expected labelled pixels in the regions of split val, found none: nothing could be chosen"
        )

    def validate(network: nn.Module) -> Confusion:
        return score(network, windows, shape, classes, device)

    return validate


def _architecture(config: TrainConfig) -> Architecture:
    network = config.architecture
    return Architecture(
        network.name,
        len(config.imagery.bands),
        len(config.classes),
        network.width,
        network.output_stride,
        network.separable,
    )


def _recipe(config: TrainConfig) -> Recipe:
    settings = config.training
    return Recipe(
        batch=settings.batch,
        iterations=settings.iterations,
        optimizer=settings.optimizer,
        lr=settings.lr,
        weight_decay=settings.weight_decay,
        momentum=settings.momentum,
        cross_entropy=settings.loss.cross_entropy,
        dice=settings.loss.dice,
        validate_every=settings.validate_every,
        precision=settings.precision,
    )


def _fingerprint(config: TrainConfig, imagery: Imagery, encoder: _EncoderWeights | None, seed: int) -> str:
    """Names all that the weights depend on; the measured statistics stand for the pixels."""
    words = {"name", "description", "licence", "attribution"}
    values = {
        **config.model_dump(mode="json", exclude=words),
        "seed": seed,
        "mean": imagery.mean,
        "std": imagery.std,
        **({} if encoder is None else {"encoder_sha256": encoder.sha256}),
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _draft(
    config: TrainConfig, imagery: Imagery, training: dict[str, JsonValue], metrics: dict[str, SplitMetrics]
) -> CardDraft:
    shape = TileShape()
    return CardDraft(
        name=config.name,
        description=config.description,
        architecture=_architecture(config),
        imagery=imagery,
        classes=config.label_set().classes,
        tile=TileDefaults(size_px=shape.size_px, overlap_px=2 * shape.margin_px),
        metrics=metrics,
        training=training,
        licence=config.licence,
        attribution=(config.attribution,),
    )


def _metrics(evaluation: Evaluation) -> SplitMetrics:
    figures = evaluation.to_json()
    return SplitMetrics(
        miou=figures["miou"],
        iou=figures["iou"],
        pixel_accuracy=figures["accuracy"],
        pixels=figures["pixels"],
        regions=tuple(region["name"] for region in figures["regions"]),
    )
