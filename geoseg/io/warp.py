"""Scenes on a grid of another CRS, resampled so that no pixel depends on the window that is asked for.

As in `geoseg.io.slant`, but between the grid's pixels and the file's lie two coordinate reference systems. Places
are pyproj's on a lattice anchored at the grid's origin, and bilinear between its nodes; how far apart these may be
is measured, for an error of at most `MOST_ERROR_PX`.
"""

import math
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.gcps import GcpGrid, Polynomial
from geoseg.io.slant import on_source, rounded

MOST_ERROR_PX = 1e-3
"""By how much of a source pixel a place between the nodes may be off."""

_STEPS_PX = (64, 32, 16, 8, 4, 2, 1)
_SAMPLES = 17
"""Cells of the lattice along each axis that are looked at for their error."""

_BORDER_POINTS = 65
_METRE = 0.01
"""A unit of a CRS is a metre if it is one on the ground, but for this share."""

_WHOLE_PX = 1e-6


@dataclass(frozen=True, slots=True)
class Warp:
    """How a grid lies over a source in another CRS.

    Attributes:
        grid: The grid.
        source_crs: The source's CRS.
        to_source: From coordinates in the source's CRS to (column, row) at its pixel corners; a polynomial where
            ground control points place the source.
        centre_x: Longitude of the source's middle, where its CRS counts them.
        height: Source rows.
        width: Source columns.
        step_px: Grid pixels between the nodes whose places are pyproj's; 1 means each pixel's is.
    """

    grid: Grid
    source_crs: str
    to_source: Affine | Polynomial
    centre_x: float
    height: int
    width: int
    step_px: int

    @classmethod
    def between(cls, grid: Grid, source: Grid) -> "Warp":
        """The warp with the widest lattice that is exact enough."""
        to_source = source.to_pixel if isinstance(source, GcpGrid) else ~source.transform
        centre_x, _ = source.middle_xy
        for step_px in _STEPS_PX:
            warp = cls(grid, source.crs, to_source, centre_x, source.height, source.width, step_px)
            if warp.error_px() <= MOST_ERROR_PX:
                break
        return warp

    def error_px(self) -> float:
        """The greatest distance, in source pixels, from where pyproj puts them, of points of sampled cells.

        Looked at are the middles of cells and of their edges: of a conformal map, whose coordinates are harmonic,
        the errors along rows and columns cancel in a cell's middle.
        """
        if self.step_px == 1:
            return 0.0
        cells = [
            np.unique(np.linspace(0, max(0, size - 1) // self.step_px, _SAMPLES).astype(np.int64))
            for size in (self.grid.height, self.grid.width)
        ]
        rows, cols = np.meshgrid(*(index * self.step_px for index in cells), indexing="ij")
        half, error = self.step_px // 2, 0.0
        for down, right in ((0, half), (half, 0), (half, half)):
            exact = self._exact(rows + down, cols + right)
            for at, expected in zip(self._interpolated(rows + down, cols + right), exact, strict=True):
                apart = np.abs(at - expected)
                error = max(error, float(apart.max(where=np.isfinite(apart), initial=0)))
        return error

    def places(self, window: Window) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """rows_hw and cols_hw: where the pixel centres of a window lie, counted from the source's corner."""
        rows, cols = np.meshgrid(
            np.arange(window.row, window.row_stop), np.arange(window.col, window.col_stop), indexing="ij"
        )
        rows_hw, cols_hw = self._exact(rows, cols) if self.step_px == 1 else self._interpolated(rows, cols)
        # What has no place in the source's CRS lies outside.
        rows_hw, cols_hw = (np.where(np.isfinite(at), at, -1.0) for at in (rows_hw, cols_hw))
        return rounded(rows_hw), rounded(cols_hw)

    def inside(self, rows_hw: NDArray[np.float64], cols_hw: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which places lie on the source (row, column): its footprint is its pixels', edges included."""
        return on_source(rows_hw, cols_hw, self.height, self.width)

    def source_px(self, window: Window) -> float:
        """About how many source pixels the bounding box of a window holds."""
        rows, cols = np.meshgrid(
            np.linspace(window.row, window.row_stop - 1, 3),
            np.linspace(window.col, window.col_stop - 1, 3),
            indexing="ij",
        )
        sides = 1.0
        for at, size in zip(self._exact(rows, cols), (self.height, self.width), strict=True):
            finite = np.clip(at[np.isfinite(at)], 0, size)
            sides *= float(np.ptp(finite)) + 1 if finite.size else 1.0
        return sides

    def coarser(self, scale_yx: tuple[float, float]) -> "Warp":
        """The same over pixels that are so many times higher and wider."""
        scale_y, scale_x = scale_yx
        transform = self.grid.transform @ Affine.scale(scale_x, scale_y)
        return replace(self, grid=replace(self.grid, transform=transform), step_px=1)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; the grid has its own place."""
        if isinstance(self.to_source, Polynomial):
            to_source: Any = asdict(self.to_source)
        else:
            to_source = [float(value) for value in tuple(self.to_source)[:6]]
        return {"source_crs": self.source_crs, "to_source": to_source, "step_px": self.step_px}

    def _exact(
        self, rows: NDArray[np.integer[Any] | np.floating[Any]], cols: NDArray[np.integer[Any] | np.floating[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where pyproj puts pixel centres (row, column) in the source; not finite where it has no place."""
        t, s = self.grid.transform, self.to_source
        x = t.a * (cols + 0.5) + t.b * (rows + 0.5) + t.c
        y = t.d * (cols + 0.5) + t.e * (rows + 0.5) + t.f
        x, y = transformer(self.grid.crs, self.source_crs).transform(x, y)
        x = near(np.asarray(x), self.centre_x, self.source_crs)
        if isinstance(s, Polynomial):
            col, row = s(x, np.asarray(y))
            return row, col
        return s.d * x + s.e * y + s.f, s.a * x + s.b * y + s.c

    def _interpolated(
        self, rows: NDArray[np.int64], cols: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The same, bilinear between the nodes; at the nodes' own expense where one of the four has no place."""
        step = self.step_px
        first_row, first_col = int(rows.min()) // step, int(cols.min()) // step
        node_rows, node_cols = np.meshgrid(
            np.arange(first_row, int(rows.max()) // step + 2) * step,
            np.arange(first_col, int(cols.max()) // step + 2) * step,
            indexing="ij",
        )
        row, col = rows // step - first_row, cols // step - first_col
        down, right = (rows % step) / step, (cols % step) / step
        nodes = self._exact(node_rows, node_cols)
        found = []
        for at in nodes:
            upper = at[row, col] * (1 - right) + at[row, col + 1] * right
            lower = at[row + 1, col] * (1 - right) + at[row + 1, col + 1] * right
            found.append(upper * (1 - down) + lower * down)
        lost = ~(np.isfinite(found[0]) & np.isfinite(found[1]))
        if lost.any():
            for at, exact in zip(found, self._exact(rows[lost], cols[lost]), strict=True):
                at[lost] = exact
        return found[0], found[1]


def grid_in(crs: str, source: Grid, resolution_m: float | None, *, align: bool) -> Grid:
    """The smallest north-up grid in a CRS that holds a source.

    Args:
        crs: The CRS.
        source: The source's own pixels.
        resolution_m: Length of a pixel in metres: in the CRS's own where it counts them truly, else on the ground
            at the grid's centre; None for pixels of the same area as the source's.
        align: Whether the grid's edges lie on whole multiples of its pixel.

    Raises:
        SceneError: A part of the source has no place in the CRS.
    """
    bounds = bounds_in(crs, source)
    height, width = pixel_in(crs, centre_in(crs, source), source, resolution_m)
    return grid_over(crs, bounds, (height, width), (0.0, 0.0) if align else None)


def grid_over(
    crs: str,
    bounds: tuple[float, float, float, float],
    pixel_yx: tuple[float, float],
    anchor_xy: tuple[float, float] | None,
) -> Grid:
    """The smallest north-up grid that holds bounds.

    Args:
        crs: The CRS.
        bounds: (left, bottom, right, top) in the CRS.
        pixel_yx: (height, width) of a pixel in the CRS's units.
        anchor_xy: A point that a corner of pixels lies on; None for the bounds' own north-west corner.
    """
    (x, y), (height, width) = anchor_xy or (0.0, 0.0), pixel_yx
    left, right = (bounds[0] - x) / width, (bounds[2] - x) / width
    bottom, top = (bounds[1] - y) / height, (bounds[3] - y) / height
    if anchor_xy is not None:
        left, top = math.floor(left + _WHOLE_PX), math.ceil(top - _WHOLE_PX)
    return Grid(
        crs,
        Affine(width, 0, x + left * width, 0, -height, y + top * height),
        max(1, math.ceil(top - bottom - _WHOLE_PX)),
        max(1, math.ceil(right - left - _WHOLE_PX)),
    )


def turned_to(grid: Grid, source: Grid) -> Grid:
    """A source in a grid's own CRS, moved by the whole turns that its longitudes lie away from the grid's."""
    (x, _), (grid_x, _) = source.middle_xy, grid.middle_xy
    turns = near(np.asarray([x]), grid_x, grid.crs)[0] - x
    return replace(source, transform=Affine.translation(turns, 0) @ source.transform) if turns else source


def centre_in(crs: str, source: Grid, near_x: float | None = None) -> tuple[float, float]:
    """The middle of a source in a CRS, (x, y); not finite where it has no place there.

    Args:
        crs: The CRS.
        source: The source's own pixels.
        near_x: A longitude within half a turn of which that in a geographic CRS shall lie; None for pyproj's.
    """
    x, y = transformer(source.crs, crs).transform(*source.middle_xy)
    if near_x is not None:
        x = near(np.asarray([x]), near_x, crs)[0]
    return float(x), float(y)


def bounds_in(crs: str, source: Grid, near_x: float | None = None) -> tuple[float, float, float, float]:
    """(left, bottom, right, top) of a source in a CRS.

    Args:
        crs: The CRS.
        source: The source's own pixels.
        near_x: A longitude that those of a geographic CRS shall lie around; None for the source's own middle.

    Raises:
        SceneError: A part of the source has no place in the CRS.
    """
    along = np.linspace(0, 1, _BORDER_POINTS)
    rows, cols = (axis.ravel() for axis in np.meshgrid(along * source.height, along * source.width, indexing="ij"))
    x, y = _placed_in(crs, source, rows, cols, near_x)
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def outline_in(
    crs: str, source: Grid, near_x: float | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y (n,) of points around the edge of a source, in order, in a CRS; else as `bounds_in`."""
    there = np.linspace(0, 1, _BORDER_POINTS)[:-1]
    zero, one = np.zeros_like(there), np.ones_like(there)
    rows = np.concatenate((zero, there, one, 1 - there)) * source.height
    cols = np.concatenate((there, one, 1 - there, zero)) * source.width
    return _placed_in(crs, source, rows, cols, near_x)


def _placed_in(
    crs: str, source: Grid, rows: NDArray[np.float64], cols: NDArray[np.float64], near_x: float | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """X and y (n,) in a CRS of places (n,) on a source."""
    if isinstance(source, GcpGrid):
        x, y = source.to_ground(cols, rows)
    else:
        t = source.transform
        x, y = t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f
    x, y = transformer(source.crs, crs).transform(x, y)
    centre_x, _ = centre_in(crs, source)
    # The source hangs together, also across the antimeridian; and all of it moves to where others lie.
    x = near(np.asarray(x), centre_x, crs)
    if near_x is not None:
        x = x + (centre_in(crs, source, near_x)[0] - centre_x)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise SceneError(
            f"a part of the scene has no place in {parse_crs(crs).name}: name a --crs that holds all of it"
        )
    return x, np.asarray(y)


def pixel_in(
    crs: str, centre_xy: tuple[float, float], source: Grid, resolution_m: float | None
) -> tuple[float, float]:
    """(height, width) of a pixel in a CRS's own units: as `grid_in` says, and square on the ground."""
    if resolution_m is None:
        t = source.transform
        if parse_crs(crs) == parse_crs(source.crs) and t.b == t.d == 0:
            return abs(t.e), abs(t.a)
        side = math.sqrt(abs(t.determinant))
        of_unit = math.prod(source.ground_resolution_m()) ** 0.5 / side
        resolution_m = side if _is_metre(source.crs, of_unit, of_unit) else side * of_unit
    # A length of about a metre tells how long the unit is there.
    unit = 1e-5 if parse_crs(crs).is_geographic else 1.0
    x, y = centre_xy
    height_m, width_m = Grid(crs, Affine(unit, 0, x, 0, -unit, y), 1, 1).ground_resolution_m()
    if _is_metre(crs, height_m, width_m):
        return resolution_m, resolution_m
    return unit * resolution_m / height_m, unit * resolution_m / width_m


def _is_metre(crs: str, height_m: float, width_m: float) -> bool:
    """Whether the unit of a CRS, of so many metres on the ground, is meant to be one."""
    return not parse_crs(crs).is_geographic and max(abs(height_m - 1), abs(width_m - 1)) < _METRE


def near(x: NDArray[np.float64], centre_x: float, crs: str) -> NDArray[np.float64]:
    """Longitudes of a geographic CRS (n,) within half a turn of one of them; other coordinates as they are."""
    parsed = parse_crs(crs)
    if not parsed.is_geographic or not math.isfinite(centre_x):
        return x
    turn = 2 * math.pi / parsed.axis_info[0].unit_conversion_factor
    with np.errstate(invalid="ignore"):
        return x - turn * np.round((x - centre_x) / turn)


@lru_cache(256)
def transformer(source: str, target: str) -> Transformer:
    """From one CRS's (x, y) to another's; made once for each pair, which takes long.

    Raises:
        SceneError: There is no such CRS.
    """
    return Transformer.from_crs(parse_crs(source), parse_crs(target), always_xy=True)
