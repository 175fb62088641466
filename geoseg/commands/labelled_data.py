"""What `train` and `evaluate` share: options of labels, and figures in a line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from geoseg.errors import GeosegError

data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder that the configuration's paths start from. [the variable GEOSEG_DATA, else the file's own folder]",
)


def figures_line(name: str, figures: dict[str, Any]) -> str:
    """The mean IoU and the IoU of each class, in a line."""
    ious = "  ".join(
        f"{label} {'-' if iou is None else format(iou, '.3f')}" for label, iou in figures["iou"].items()
    )
    miou, accuracy = figures["miou"], figures["accuracy"]
    if miou is None:
        return f"{name}: no labelled pixels"
    return f"{name}: mIoU {miou:.3f}  {ious}  accuracy {accuracy:.3f}  ({figures['pixels']} px)"


def class_files(given: Sequence[str]) -> tuple[tuple[str | None, Path], ...]:
    """Files with the class that each is of; a file may have an = in its name."""
    files: list[tuple[str | None, Path]] = []
    for text in given:
        named = re.fullmatch(r"([a-z][a-z0-9_]*)=(.+)", text)
        if named is None or Path(text).exists():
            files.append((None, Path(text)))
        else:
            files.append((named[1], Path(named[2])))
    return tuple(files)


def value_pairs(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Values, with the class that each means, or with nothing.

    Raises:
        GeosegError: There is no = in one.
    """
    pairs = [text.rpartition("=") for text in given]
    for text, (value, sign, _) in zip(given, pairs, strict=True):
        if not (value and sign):
            raise GeosegError(f"expected --value VALUE=CLASS such as 3=road, or 0= for nothing, got {text}")
    return tuple((value.strip(), name.strip()) for value, _, name in pairs)
