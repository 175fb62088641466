"""What `train` and `evaluate` share: an option, and figures in a line."""

from pathlib import Path
from typing import Any

import click

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
