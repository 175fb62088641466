"""What a region looks like: a window of it, small."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.io.region import Region, RegionReader

_PART_PX = 2048
"""Side of what is read at once of a window that is a part of a scene."""

_WIDER = 2
"""Scenes of so many times a window's pixels are not shrunk whole to show it."""

_PAPER = (255, 255, 255)

_JUDGED_PX = 2**20
"""Of a picture of more pixels about so many say what is black and what is white."""

Picture = Callable[[Window, int], tuple[NDArray[np.float32], NDArray[np.bool_]]]
"""Gives a window of the grid, at most so many pixels long: image_chw, and valid_hw, True where there is data.

Raises SceneError where nothing of it can be read.
"""


def displayed(image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A scene as (row, column, red-green-blue): its first three bands, or its first in grey; white without data.

    Args:
        image_chw: Its bands.
        valid_hw: Where it holds data.
    """
    shown_chw = image_chw[:3] if len(image_chw) >= 3 else np.repeat(image_chw[:1], 3, axis=0)
    # Where there is no data at all, paper is all that is seen.
    low, high = _ends(shown_chw, valid_hw) if valid_hw.any() else (0.0, 1.0)
    shown_hwc = np.empty((*valid_hw.shape, 3), np.uint8)
    # A band at a time, and ends from some of the pixels: a page's picture would else be a worker's largest moment.
    for band, values_hw in enumerate(shown_chw):
        share_hw = np.clip((values_hw - np.float32(low)) / np.float32(max(high - low, 1e-6)), 0, 1)
        shown_hwc[..., band] = np.rint(share_hw * 255)
    shown_hwc[~valid_hw] = _PAPER
    return shown_hwc


def _ends(image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_]) -> tuple[float, float]:
    """The values (band, row, column) that are shown as black and as white."""
    step = max(1, math.isqrt(valid_hw.size // _JUDGED_PX))
    some_hw = valid_hw[::step, ::step]
    if not some_hw.any():
        step, some_hw = 1, valid_hw
    low, high = np.percentile(image_chw[:, ::step, ::step][:, some_hw], [1, 99])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class RegionPicture:
    """Scenes to look at.

    Attributes:
        region: The scenes on their grid.
    """

    region: Region

    def __call__(self, window: Window, longest_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A window of the grid at most `longest_px` long, image_chw and valid_hw.

        Whole scenes come from their overviews, parts of larger ones from the pixels nearest to those shown.

        Raises:
            SceneError: Nothing of a scene, or not all of the part, can be read.
        """
        reader = RegionReader(self.region)
        try:
            scenes = [self.region.scenes[index].window for index in reader.touching(window).tolist()]
            scenes_px = sum(scene.height * scene.width for scene in scenes)
            if scenes_px <= _WIDER * window.height * window.width:
                return reader.thumbnail(window, longest_px)
            return _nearest(reader, window, longest_px)
        finally:
            reader.close()


def _nearest(
    reader: RegionReader, window: Window, longest_px: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    factor = max(1.0, max(window.shape) / longest_px)
    height, width = (max(1, round(side / factor)) for side in window.shape)
    rows = ((np.arange(height) + 0.5) * window.height // height).astype(np.int64)
    cols = ((np.arange(width) + 0.5) * window.width // width).astype(np.int64)
    image_chw = np.zeros((reader.bands, height, width), np.float32)
    valid_hw = np.zeros((height, width), np.bool_)
    for row in range(0, window.height, _PART_PX):
        for col in range(0, window.width, _PART_PX):
            part = Window(row, col, min(_PART_PX, window.height - row), min(_PART_PX, window.width - col))
            top, bottom = np.searchsorted(rows, (part.row, part.row_stop)).tolist()
            left, right = np.searchsorted(cols, (part.col, part.col_stop)).tolist()
            placed = Window(window.row + row, window.col + col, part.height, part.width)
            part_chw, part_hw = reader.read(placed)
            at = np.ix_(rows[top:bottom] - row, cols[left:right] - col)
            image_chw[:, top:bottom, left:right] = part_chw[:, at[0], at[1]]
            valid_hw[top:bottom, left:right] = part_hw[at]
    return image_chw, valid_hw
