"""Rotated and sheared scenes on a north-up grid, by a resampling of our own that does not depend on windows.

GDAL's warper places its kernels and its approximations relative to the window that is asked for, so that two
overlapping reads disagree. Here every pixel centre of the grid is taken through the exact affine to its place
between the source's pixel centres, and its value is bilinear there; which window asks changes nothing.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Grid, Window

_STEPS_PER_PX = 2**16
"""Places in the source are rounded to this part of a pixel: the last bits of an affine, which differ between a
quarter turn and its inverse, then decide nothing. The error is below 1e-5 px."""

_WHOLE_PX = 1e-6
"""A grid gets no further row or column for less of the scene than this part of a pixel."""


@dataclass(frozen=True, slots=True)
class Slant:
    """How a north-up grid lies over a source whose rows and columns run otherwise.

    Attributes:
        to_source: From (column, row) at the grid's pixel corners to (column, row) at the source's.
        height: Source rows.
        width: Source columns.
    """

    to_source: Affine
    height: int
    width: int

    def places(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """rows_hw and cols_hw: where the pixel centres of a window lie, counted from the source's corner."""
        t = self.to_source
        cols = np.arange(window.col, window.col_stop) + 0.5
        rows = (np.arange(window.row, window.row_stop) + 0.5)[:, None]
        return rounded((t.e * rows + t.f) + t.d * cols), rounded((t.b * rows + t.c) + t.a * cols)

    def inside(self, rows_hw: NDArray[np.float64], cols_hw: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places lie on the source (row, column): its footprint is its pixels', edges included."""
        return on_source(rows_hw, cols_hw, self.height, self.width)

    def source_px(self, window: Window) -> float:
        """About how many source pixels the bounding box of a window holds."""
        t = self.to_source
        return (abs(t.e) * window.height + abs(t.d) * window.width) * (
            abs(t.b) * window.height + abs(t.a) * window.width
        )

    def coarser(self, scale_yx: tuple[float, float]) -> "Slant":
        """The same over pixels that are so many times higher and wider."""
        scale_y, scale_x = scale_yx
        return replace(self, to_source=self.to_source @ Affine.scale(scale_x, scale_y))

    def to_json(self) -> list[float]:
        """A JSON value: the six numbers of `to_source`."""
        return [float(value) for value in tuple(self.to_source)[:6]]


@dataclass(frozen=True, slots=True)
class Between:
    """Places along one axis between pixel centres.

    Attributes:
        first_hw: The pixel before each place, int64.
        fraction_hw: How far the place is on the way to the next pixel, float32, 0 to 1.
        start: First pixel that is needed.
        stop: One past the last pixel that is needed.
    """

    first_hw: NDArray[np.int64]
    fraction_hw: NDArray[np.float32]
    start: int
    stop: int

    @classmethod
    def of(cls, places_hw: NDArray[np.float64], inside_hw: NDArray[np.bool_], size: int) -> "Between":
        """From places counted from the corner, on an axis of `size` pixels; the outermost are repeated.

        Args:
            places_hw: Any; those that are not inside ask for no pixels.
            inside_hw: At least one True.
            size: Pixels along the axis.
        """
        centre_hw = np.clip(places_hw - 0.5, 0, size - 1)
        floor_hw = np.floor(centre_hw)
        fraction_hw = (centre_hw - floor_hw).astype(np.float32)
        first_hw = floor_hw.astype(np.int64)
        wanted = first_hw[inside_hw]
        return cls(first_hw, fraction_hw, int(wanted.min()), min(int(wanted.max()) + 2, size))

    @property
    def taps(self) -> tuple[tuple[NDArray[np.int64], NDArray[np.float32]], ...]:
        """Index, counted from `start`, and weight (row, column) of the two pixels around each place."""
        last = self.stop - self.start - 1
        return (
            (np.clip(self.first_hw - self.start, 0, last), 1 - self.fraction_hw),
            (np.clip(self.first_hw + 1 - self.start, 0, last), self.fraction_hw),
        )


def sample(
    image_chw: NDArray[np.float32],
    valid_hw: NDArray[np.bool_],
    rows: Between,
    cols: Between,
    inside_hw: NDArray[np.bool_],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Bilinear means of the valid source pixels around each place.

    Args:
        image_chw: Source pixels, float32, of exactly the rows and columns that are needed; zero where invalid.
        valid_hw: True where the source holds data.
        rows: Places along the rows.
        cols: Places along the columns.
        inside_hw: Which places lie on the source.

    Returns:
        The pixels at the places (band, row, column), zero where invalid, and where they are valid: inside, and
        at least half of the weight lies on valid source pixels, as everywhere (`geoseg.io.resample`).
    """
    out_chw = np.zeros((len(image_chw), *inside_hw.shape), np.float32)
    weight_hw = np.zeros(inside_hw.shape, np.float32)
    flat_chw, flat_valid = image_chw.reshape(len(image_chw), valid_hw.size), valid_hw.reshape(-1)
    for row_hw, row_weight_hw in rows.taps:
        for col_hw, col_weight_hw in cols.taps:
            index_hw = row_hw * valid_hw.shape[1] + col_hw
            share_hw = row_weight_hw * col_weight_hw * flat_valid[index_hw]
            weight_hw += share_hw
            for band, flat in enumerate(flat_chw):
                out_chw[band] += share_hw * flat[index_hw]
    valid_out_hw = inside_hw & (weight_hw >= 0.5)
    np.divide(out_chw, weight_hw, out=out_chw, where=valid_out_hw)
    out_chw[:, ~valid_out_hw] = 0
    return out_chw, valid_out_hw


def on_source(
    rows_hw: NDArray[np.float64], cols_hw: NDArray[np.float64], height: int, width: int
) -> NDArray[np.bool_]:
    """Which places (row, column) lie on a source of so many rows and columns, edges included."""
    within: NDArray[np.bool_] = (rows_hw >= 0) & (rows_hw <= height) & (cols_hw >= 0) & (cols_hw <= width)
    return within


def is_slanted(transform: Affine, height: int, width: int) -> bool:
    """Whether rows or columns run so far from the axes that a pixel is displaced by 1/100 px or more.

    Less is rounding, from world files for example, and is left out of the grid.
    """
    t = transform
    if t.a == 0 or t.e == 0:
        return True
    return max(abs(t.b) * height / abs(t.a), abs(t.d) * width / abs(t.e)) >= 0.01


def north_up(source: Grid, resolution_m: float | None) -> Grid:
    """The smallest north-up grid that holds a slanted one.

    Its north-west corner is that of the source's bounding box, and its pixels are square on the ground.

    Args:
        source: The file's own pixels.
        resolution_m: Ground length of a pixel, or None for pixels of the same area as the source's.

    Raises:
        SceneError: The CRS cannot place the grid's centre on earth.
    """
    t = source.transform
    sides = ((0, 0), (source.width, 0), (0, source.height), (source.width, source.height))
    corners = [t @ corner for corner in sides]
    left, right = min(x for x, _ in corners), max(x for x, _ in corners)
    bottom, top = min(y for _, y in corners), max(y for _, y in corners)
    side = math.sqrt(abs(t.determinant))
    # A pixel that is square in the CRS, degrees for example, need not be on the ground.
    square = Affine(side, 0, (left + right) / 2, 0, -side, (top + bottom) / 2)
    height_m, width_m = Grid(source.crs, square, 1, 1).ground_resolution_m()
    if resolution_m is not None:
        side *= resolution_m / math.sqrt(height_m * width_m)
    stretch = math.sqrt(height_m / width_m)
    if abs(stretch - 1) < 1e-6:
        stretch = 1.0
    width, height = side * stretch, side / stretch
    return Grid(
        source.crs,
        Affine(width, 0, left, 0, -height, top),
        max(1, math.ceil((top - bottom) / height - _WHOLE_PX)),
        max(1, math.ceil((right - left) / width - _WHOLE_PX)),
    )


def rounded(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places (row, column) to a 65,536th of a pixel: the last bits of a computation decide nothing then."""
    return np.rint(places * _STEPS_PER_PX) / _STEPS_PER_PX
