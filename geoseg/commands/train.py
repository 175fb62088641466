"""`geoseg train`: from a configuration to a model package."""

import hashlib
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import click
import torch
from pydantic import JsonValue
from torch import nn

from geoseg.commands.evaluate import evaluate_package
from geoseg.commands.labelled_data import (
    coding_of,
    data_folder,
    data_root_option,
    figures_line,
    imagery_of,
    sources_of,
)
from geoseg.config import TrainConfig, load_train_config
from geoseg.errors import ConfigError
from geoseg.evaluate import Evaluation
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.models.architecture import Architecture, build
from geoseg.models.card import CardDraft, SplitMetrics, TileDefaults
from geoseg.models.package import save_package
from geoseg.predict import choose_device
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


@click.command("train")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="YAML file with data, model and recipe.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the MODEL to write."
)
@data_root_option
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint, in MODEL.training.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the configuration's.")
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model. [all cores]")
def train(
    config_file: Path,
    output: Path,
    data_root: Path | None,
    resume: bool,
    seed: int | None,
    device: str | None,
    threads: int | None,
) -> None:
    """Train a model on regions of labelled scenes and write it as a package.

    Checkpoints and the log lie in MODEL.training beside it. The weights with the best validation mIoU are
    packed; test regions are read once, after that, for the figures on the card.
    """
    config = load_train_config(config_file)
    folder = _training_folder(output, resume)
    chosen = choose_device(device)
    sources = sources_of(config, data_folder(data_root))
    if threads is not None:
        torch.set_num_threads(threads)
    seed = config.training.seed if seed is None else seed

    imagery, progress = _fit(config, sources, seed, torch.device(chosen), folder, resume)

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
    # Measured on the weights as they were written, so the figures are those that a user gets.
    save_package(output, _draft(config, imagery, training, {}), network)
    evaluations = [
        evaluate_package(output, config_file, split, data_root, device, threads)
        for split in ("val", "test")
        if any(source.split == split for source in sources)
    ]
    metrics = {evaluation.split: _metrics(evaluation) for evaluation in evaluations}
    save_package(output, _draft(config, imagery, training, metrics), network)

    click.echo(f"{output}: iteration {progress.best_iteration}, the best of {progress.iteration} on val")
    for evaluation in evaluations:
        click.echo(figures_line(evaluation.split, evaluation.to_json()))
    click.echo(f"next: geoseg map SCENE --model {_as_path(output)} -o RUN")


def _training_folder(output: Path, resume: bool) -> Path:
    """Where checkpoints lie; refused when something of another run is in the way."""
    folder = output.with_name(output.name + ".training")
    if not resume:
        for path in (output / "card.json", folder / "last.pt"):
            if path.exists():
                raise ConfigError(
                    f"expected a new output, {path} is there already: continue with --resume, or choose another -o"
                )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _fit(
    config: TrainConfig, sources: tuple[Source, ...], seed: int, device: torch.device, folder: Path, resume: bool
) -> tuple[Imagery, Progress]:
    """Train; returns the imagery with its statistics, and how it went."""
    coding, settings = coding_of(config), config.training
    augmentation = Augmentation(**settings.augmentation.model_dump())
    plain = Augmentation(flips=False, rotations=False, color_jitter=0)
    imagery = imagery_of(config)
    with open_scenes(sources, imagery, coding) as scenes:
        refuse_overlap(scenes)
        if config.imagery.mean is None:
            trained = tuple(scene for scene in scenes if scene.source.split == "train")
            imagery = imagery_of(config, *CropSampler(trained, imagery, settings.crop_px, seed, plain).statistics())
    training = tuple(source for source in sources if source.split == "train")
    validation = tuple(source for source in sources if source.split == "val")
    # Two sets of readers: crops are read on a thread of their own while validation reads on this one.
    with open_scenes(training, imagery, coding) as scenes, open_scenes(validation, imagery, coding) as judged:
        sampler = CropSampler(scenes, imagery, settings.crop_px, seed, augmentation)
        torch.manual_seed(seed)
        network = place(build(_architecture(config)), device)
        names = config.label_set().names
        with training_progress(names) as report:
            progress = fit(
                network,
                lambda iteration: sampler.batch(iteration * settings.batch, settings.batch),
                _validator(judged, len(names), device),
                _recipe(config),
                folder,
                _fingerprint(config, imagery, seed),
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
    return Architecture(
        config.architecture.name, len(config.imagery.bands), len(config.classes), config.architecture.width
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


def _fingerprint(config: TrainConfig, imagery: Imagery, seed: int) -> str:
    """Names all that the weights depend on; the measured statistics stand for the pixels."""
    words = {"name", "description", "licence", "attribution"}
    values = {
        **config.model_dump(mode="json", exclude=words),
        "seed": seed,
        "mean": imagery.mean,
        "std": imagery.std,
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


def _as_path(folder: Path) -> str:
    """The folder as `--model` takes it: a bare name would be looked up among the bundled models."""
    text = str(folder)
    return text if "/" in text else f"./{text}"
