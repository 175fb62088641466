"""The picture of where a model fails: its worst validation chips, small enough to lie in the package."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.labels import LabelSet
from geoseg.report.chip_picture import JudgedChip, png

MOST_BYTES = 400_000
"""Size of the picture at most."""

_PANEL_PX, _LEAST_PX = 256, 32
_GAP_PX = 6
_SMALLER = 0.95


def failures_png(chips: Sequence[JudgedChip], labels: LabelSet, most_bytes: int = MOST_BYTES) -> bytes:
    """Chips below one another, each as image, labels, prediction and differences, as a PNG.

    Panels are as large as the size allows, at most 256 px: the same chips give the same bytes.

    Args:
        chips: At least one, the worst first.
        labels: The classes.
        most_bytes: Size of the picture at most, unless panels of 32 px take more.
    """
    pictures = [chip.pictures(labels) for chip in chips]
    panel_px = _PANEL_PX
    while True:
        content = png(_sheet(pictures, panel_px))
        if len(content) <= most_bytes or panel_px <= _LEAST_PX:
            return content
        # Bytes go with the area, nearly.
        panel_px = max(_LEAST_PX, int(panel_px * min(_SMALLER, math.sqrt(most_bytes / len(content)))))


def _sheet(pictures: Sequence[Sequence[NDArray[np.uint8]]], panel_px: int) -> NDArray[np.uint8]:
    """White with the panels on it, (row, column, 3)."""
    across, step = len(pictures[0]), panel_px + _GAP_PX
    sheet_hwc = np.full((len(pictures) * step - _GAP_PX, across * step - _GAP_PX, 3), 255, np.uint8)
    for row, panels in enumerate(pictures):
        for col, panel_hwc in enumerate(panels):
            # Only the image, which comes first, has colours between those of the file.
            how = Image.Resampling.BOX if col == 0 else Image.Resampling.NEAREST
            height, width = panel_hwc.shape[:2]
            factor = panel_px / max(height, width)
            size = max(1, round(width * factor)), max(1, round(height * factor))
            small_hwc = np.asarray(Image.fromarray(panel_hwc).resize(size, how))
            sheet_hwc[row * step : row * step + size[1], col * step : col * step + size[0]] = small_hwc
    return sheet_hwc
