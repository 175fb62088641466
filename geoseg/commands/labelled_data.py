"""What `train` and `evaluate` share: from a configuration and a data root to values."""

from pathlib import Path
from typing import Any

import click
import torch
from torch import nn

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.io.regions import read_region
from geoseg.predict import Numerics, Predictor, choose_device
from geoseg.train.scenes import LabelCoding, Source

_GPU_BATCH = 8
"""Tiles in one forward pass on a GPU; a CPU is busy with one."""

data_root_option = click.option(
    "--data-root",
    envvar="GEOSEG_DATA",
    type=click.Path(path_type=Path),
    help="Folder that the configuration's paths start from; the variable GEOSEG_DATA says the same.",
)


def data_folder(root: Path | None) -> Path:
    """The data root, if it is one.

    Raises:
        ConfigError: It was not given, or is no folder.
    """
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


def predictor_of(network: nn.Module, device: str | None, threads: int | None) -> Predictor:
    """A network on the device that was asked for, in float32.

    Args:
        network: Changed in place.
        device: As `--device`.
        threads: CPU threads; torch's own choice when not given.

    Raises:
        GeosegError: This machine does not have the device.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    chosen = choose_device(device)
    batch = 1 if chosen == "cpu" else _GPU_BATCH
    return Predictor(network, Numerics(chosen, "fp32", torch.get_num_threads(), batch))


def figures_line(name: str, figures: dict[str, Any]) -> str:
    """The mean IoU and the IoU of each class, in a line."""
    ious = "  ".join(
        f"{label} {'-' if iou is None else format(iou, '.3f')}" for label, iou in figures["iou"].items()
    )
    miou, accuracy = figures["miou"], figures["accuracy"]
    if miou is None:
        return f"{name}: no labelled pixels"
    return f"{name}: mIoU {miou:.3f}  {ious}  accuracy {accuracy:.3f}  ({figures['pixels']} px)"
