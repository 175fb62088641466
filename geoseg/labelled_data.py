"""Labelled scenes of a configuration, from its words to values; and a model package judged on them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from geoseg.config import TrainConfig, load_train_config
from geoseg.errors import ConfigError, SceneError
from geoseg.evaluate import Judged, evaluate, evaluate_shared
from geoseg.evaluation import Evaluation
from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.models.package import LoadedModel, load_package
from geoseg.predict import Numerics, Predictor, choose_device, tiles_at_once
from geoseg.threads import torch_threads
from geoseg.tiling import Lattice
from geoseg.train.blocks import BlockRule, divide
from geoseg.train.candidates import Candidates
from geoseg.train.coding import LabelCoding
from geoseg.train.entries import sources_of_entry
from geoseg.train.open_files import OpenFiles
from geoseg.train.samples import Balance
from geoseg.train.scenes import LabelledScene, Source
from geoseg.train.survey import sound_sources, survey


def data_folder(root: Path | None, config_file: Path) -> Path:
    """Where a configuration's paths start: the data root, else that of GEOSEG_DATA, else the file's own folder.

    Args:
        root: The data root, if the user names one.
        config_file: The configuration.

    Raises:
        ConfigError: It is no folder.
    """
    if root is None and os.environ.get("GEOSEG_DATA"):
        root = Path(os.environ["GEOSEG_DATA"])
    if root is None:
        return config_file.absolute().parent
    if not root.is_dir():
        raise ConfigError(f"expected a folder as data root, got {root}")
    return root


def sources_of(config: TrainConfig, root: Path) -> tuple[Source, ...]:
    """The configuration's scenes with their labels and regions; entries with `split: auto` divided.

    Raises:
        ConfigError: A file is missing or a region cannot be read; names the key.
        GeosegError: A file cannot be read.
    """
    given: list[Source] = []
    divided: list[Source] = []
    for number, entry in enumerate(config.data):
        found = list(sources_of_entry(config, number, root))
        (divided if entry.split == "auto" else given).extend(found)
    return (*given, *_divided(config, divided, coding_of(config, [*given, *divided])))


def _divided(config: TrainConfig, sources: Sequence[Source], coding: LabelCoding) -> Iterator[Source]:
    """The parts of scenes that belong to splits; a scene that cannot be opened as it is, for whoever opens it."""
    files, scenes = OpenFiles(), []
    try:
        for source in sources:
            try:
                scenes.append(LabelledScene(source, imagery_of(config), coding, files, squares=4))
            except SceneError:
                yield source
        if not scenes:
            return
        for scene, parts in zip(scenes, divide(scenes, BlockRule(**config.splits.model_dump())), strict=True):
            for split, region in parts.items():
                yield replace(scene.source, split=split, region=region)
    finally:
        files.close()


def checked_sources(
    config: TrainConfig, root: Path, *, skip_bad: bool
) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """The scenes that can be trained on, and why others were left out, a line for each.

    Args:
        config: The configuration.
        root: Where its paths start.
        skip_bad: Whether damaged scenes are left out; all pixels are decoded then.

    Raises:
        ConfigError: Something is wrong with the data; names the first problem, and how many more there are.
        GeosegError: A file of labels cannot be read.
    """
    sources = sources_of(config, root)
    found = survey(sources, imagery_of(config), coding_of(config, sources), config.label_set(), decode=skip_bad)
    return sound_sources(sources, found, skip_bad=skip_bad)


def coding_of(config: TrainConfig, sources: Sequence[Source]) -> LabelCoding:
    """The meaning of labels.

    Args:
        config: Says what values of rasters mean.
        sources: All scenes of the run: they say which sets of classes are labelled together.

    Raises:
        ConfigError: There are more such sets than labels can tell apart.
    """
    everything = frozenset(range(len(config.classes)))
    labelled = [everything if source.labelled is None else source.labelled for source in sources]
    return LabelCoding(config.label_ids(), Candidates.of(len(config.classes), labelled))


def balance_of(config: TrainConfig) -> Balance | None:
    """Which windows are drawn around pixels of classes; None where ground alone decides."""
    sampling = config.sampling
    return None if sampling.balance == "ground" else Balance(sampling.share, sampling.balance)


def imagery_of(
    config: TrainConfig, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
) -> Imagery:
    """The imagery that the model expects.

    Args:
        config: Where it is described.
        mean: Per band; the configuration's, or 0, when not given.
        std: Per band; the configuration's, or 1, when not given.
    """
    described = config.imagery
    bands = len(described.bands)
    return Imagery(
        bands=described.bands,
        dtype=described.dtype,
        value_range=described.value_range,
        mean=mean or described.mean or (0.0,) * bands,
        std=std or described.std or (1.0,) * bands,
        ground_resolution_m=described.ground_resolution_m,
    )


def predictor_of(network: nn.Module, device: str | None) -> Predictor:
    """A network on the device that was asked for, in float32.

    Args:
        network: Changed in place.
        device: As `--device`.

    Raises:
        GeosegError: This machine does not have the device.
    """
    chosen = choose_device(device)
    return Predictor(network, Numerics(chosen, "fp32", torch.get_num_threads(), tiles_at_once(chosen)))


def evaluate_package(
    folder: Path,
    config_file: Path,
    split: str,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
) -> Evaluation:
    """Judge a package on disk on a split.

    Args:
        folder: The package.
        config_file: Lists the scenes, labels and regions.
        split: The regions to judge on.
        data_root: Where the configuration's paths start.
        device: As `--device`.
        threads: CPU threads; all cores when not given.

    Raises:
        ConfigError: The configuration is wrong, or its classes are not the model's.
        ModelError: The package cannot be used.
        SceneError: A raster cannot be opened or used.
    """
    config = load_train_config(config_file)
    sources = sources_of(config, data_folder(data_root, config_file))
    model = load_package(folder)
    refuse_other_classes(config_file, config, model.labels)
    with torch_threads(threads):
        return evaluate_model(model, config, sources, split, device)


def refuse_other_classes(config_file: Path, config: TrainConfig, labels: LabelSet) -> None:
    """Check that a configuration's classes are a model's.

    Args:
        config_file: Names the configuration.
        config: The configuration.
        labels: The model's classes.

    Raises:
        ConfigError: They are not, or in another order.
    """
    if config.label_set().names != labels.names:
        raise ConfigError(
            f"{config_file}: expected the model's classes {', '.join(labels.names)}, "
            f"got {', '.join(config.label_set().names)}"
        )


def evaluate_model(
    model: LoadedModel, config: TrainConfig, sources: Sequence[Source], split: str, device: str | None
) -> Evaluation:
    """Judge a model in memory on a split, with torch's present threads.

    Args:
        model: Of the configuration's classes.
        config: Says what label values mean.
        sources: Its scenes, of any split.
        split: The regions to judge on.
        device: As `--device`.

    Raises:
        ConfigError: No source belongs to the split, or none of its pixels is labelled.
        SceneError: A raster cannot be opened or used.
    """
    return evaluate(_judged(model, model.imagery, device), sources, coding_of(config, sources), split)


def shared_iou(
    model: LoadedModel,
    imagery: Imagery,
    config: TrainConfig,
    sources: Sequence[Source],
    split: str,
    device: str | None,
) -> dict[str, float | None]:
    """Judge a model of other classes on a split: those with a layer that have the same name in the configuration.

    A class without a layer is what is none of the others, so it means something else where they are others.

    Args:
        model: Of any classes.
        imagery: What it is given: the configuration's pixels, normalized as it is used to.
        config: Says what label values mean.
        sources: Its scenes, of any split.
        split: The regions to judge on.
        device: As `--device`.

    Returns:
        IoU by the name of the class, None where neither labels nor predictions have it; empty without such classes.

    Raises:
        ConfigError: As `evaluate_model`.
        SceneError: As `evaluate_model`.
    """
    theirs = model.labels.names
    names = {label.name: own for own, label in enumerate(config.classes) if label.layer and label.name in theirs}
    if not names:
        return {}
    shared = [(own, theirs.index(name)) for name, own in names.items()]
    found = evaluate_shared(_judged(model, imagery, device), sources, coding_of(config, sources), split, shared)
    return dict(zip(names, found, strict=True))


def _judged(model: LoadedModel, imagery: Imagery, device: str | None) -> Judged:
    return Judged(
        predictor_of(model.build(), device),
        imagery,
        model.labels,
        Lattice(model.card.tile.size_px, model.card.tile.overlap_px),
        model.card.activation,
        model.card.overlapping,
    )
