"""Labelled scenes of a configuration, from its words to values; and a model package judged on them."""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from geoseg.config import TrainConfig, load_train_config
from geoseg.errors import ConfigError
from geoseg.evaluate import Evaluation, Judged, evaluate
from geoseg.imagery import Imagery
from geoseg.io.regions import read_region
from geoseg.models.package import LoadedModel, load_package
from geoseg.predict import Numerics, Predictor, choose_device
from geoseg.threads import torch_threads
from geoseg.tiling import Lattice
from geoseg.train.scenes import LabelCoding, Source

_GPU_BATCH = 8
"""Tiles in one forward pass on a GPU; a CPU is busy with one."""


def data_folder(root: Path | None) -> Path:
    """The data root, if it is one; by default the variable GEOSEG_DATA's.

    Raises:
        ConfigError: It was not given, or is no folder.
    """
    if root is None and os.environ.get("GEOSEG_DATA"):
        root = Path(os.environ["GEOSEG_DATA"])
    if root is None:
        raise ConfigError("expected a data root: give --data-root DIR or set GEOSEG_DATA")
    if not root.is_dir():
        raise ConfigError(f"expected a folder as data root, got {root}")
    return root


def sources_of(config: TrainConfig, root: Path) -> tuple[Source, ...]:
    """The configuration's scenes with their regions.

    Raises:
        ConfigError: A file is missing or a region cannot be read; names the key.
    """
    sources = []
    for number, entry in enumerate(config.data):
        for key, value in (("image", entry.image), ("labels", entry.labels)):
            if not (root / value).is_file():
                raise ConfigError(f"data.{number}.{key}: expected a file, got {value}, not found in {root}")
        region = None
        if entry.region is not None:
            region = read_region(root / entry.region.file, entry.region.where)
        name = Path(entry.image).with_suffix("").name
        sources.append(Source(name, str(root / entry.image), str(root / entry.labels), entry.split, region))
    return tuple(sources)


def coding_of(config: TrainConfig) -> LabelCoding:
    """The meaning of the label rasters' values."""
    return LabelCoding(config.label_ids())


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
    batch = 1 if chosen == "cpu" else _GPU_BATCH
    return Predictor(network, Numerics(chosen, "fp32", torch.get_num_threads(), batch))


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
    sources = sources_of(config, data_folder(data_root))
    model = load_package(folder)
    if config.label_set().names != model.labels.names:
        raise ConfigError(
            f"{config_file}: expected the model's classes {', '.join(model.labels.names)}, "
            f"got {', '.join(config.label_set().names)}"
        )
    with torch_threads(threads):
        return evaluate_model(model, config, sources, split, device)


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
    return evaluate(
        Judged(
            predictor_of(model.build(), device),
            model.imagery,
            model.labels,
            Lattice(model.card.tile.size_px, model.card.tile.overlap_px),
            model.card.activation,
            model.card.overlapping,
        ),
        sources,
        coding_of(config),
        split,
    )
