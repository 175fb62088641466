"""Segments: what tells the objects of a panoptic model apart, as a number at each pixel.

A segment below 256 is a class: what lies together is one object. One above is 255 + the key of a centre (`decode`)
or 255 + an object's id (`of_instances`): each is an object of its own, in however many pieces.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.mosaic import OFFSET_STEPS, Mosaic
from geoseg.labels import NODATA_CLASS
from geoseg.objects.grouping import Panoptic
from geoseg.objects.thresholds import Thresholds


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """The segments of a window, and how its pixels came to them.

    Attributes:
        keys_hw: int64 (row, column): of the centre, as of `centre_keys`.
        classes_hw: uint8 (row, column), as of `Thresholds.read`.
        things_px: How many pixels are of a thing.
        clipped_px: How many of them have an offset that was clipped.
    """

    keys_hw: NDArray[np.int64]
    classes_hw: NDArray[np.uint8]
    things_px: int
    clipped_px: int

    @property
    def segments_hw(self) -> NDArray[np.int64]:
        """A class, or 255 + the key of a centre, int64 (row, column)."""
        return np.where(self.keys_hw > 0, NODATA_CLASS + self.keys_hw, self.classes_hw)


def decode(mosaic: Mosaic, thresholds: Thresholds, panoptic: Panoptic, grid: Grid, window: Window) -> Decoded:
    """Decode a window of a mosaic; the same pixels get the same segments from whatever window.

    Args:
        mosaic: It has heat and offsets.
        thresholds: How probable classes must be.
        panoptic: How objects are told apart.
        grid: Of the mosaic.
        window: On the grid.
    """
    # numba takes a moment to load, and most commands decode nothing.
    from geoseg.objects.centres import centre_keys  # noqa: PLC0415

    seen = _around(window, panoptic.grouping.halo_px, grid)
    classes_hw, offset_ahw = thresholds.read(mosaic, window), mosaic.read_offset(window)
    is_thing_hw = panoptic.is_thing(classes_hw)
    keys_hw = centre_keys(
        mosaic.read(0, "heat", seen), offset_ahw, is_thing_hw, seen, window, grid.width, panoptic.grouping
    )
    far_ahw = np.abs(offset_ahw.astype(np.int32)) > panoptic.grouping.reach_px * OFFSET_STEPS
    return Decoded(keys_hw, classes_hw, int(is_thing_hw.sum()), int((far_ahw.any(axis=0) & is_thing_hw).sum()))


def key_of(segment: NDArray[np.int64]) -> NDArray[np.int64]:
    """The centre of each segment (n,), int64 (n,); 0 or less where it is a class."""
    return segment - NODATA_CLASS


def of_instances(classes_hw: NDArray[np.uint8], instances_hw: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Segments (row, column) from classes and the ids of objects, both (row, column), 0 where there is none."""
    return np.where(instances_hw > 0, NODATA_CLASS + instances_hw.astype(np.int64), classes_hw)


def _around(window: Window, halo_px: int, grid: Grid) -> Window:
    row, col = max(window.row - halo_px, 0), max(window.col - halo_px, 0)
    row_stop, col_stop = min(window.row_stop + halo_px, grid.height), min(window.col_stop + halo_px, grid.width)
    return Window(row, col, row_stop - row, col_stop - col)
