"""The area of interest: polygons from a vector file, on the pixels of a grid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.exceptions import ProjError

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.polygons import read_polygons
from geoseg.io.regions import Region, region_mask, region_on_grid

_CELL_PX = 512
"""Masks are made cell by cell, so that no pixel's depends on the window that is asked for."""

_CELLS_KEPT = 256
_MARGIN = 0.2
"""Share of a grid's extent, on each side, that is looked at with it."""


@dataclass(frozen=True, slots=True, eq=False)
class Aoi:
    """An area of interest on a grid.

    Attributes:
        name: The file's name.
        pixels: What it covers, a polygon or several, in pixel coordinates (x = column, y = row).
        height: Rows of the grid.
        width: Columns.
    """

    name: str
    pixels: shapely.Geometry
    height: int
    width: int

    @property
    def identity(self) -> str:
        """sha256 of what it covers, however the file says it."""
        return hashlib.sha256(shapely.to_wkb(self.pixels.normalize(), byte_order=1)).hexdigest()

    @property
    def share(self) -> float:
        """How much of the grid it covers, 0 to 1."""
        return float(self.pixels.area) / (self.height * self.width)

    def touched(self, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """Which of n windows have a point in common with it, boolean (n,)."""
        shapely.prepare(self.pixels)
        return np.asarray(shapely.intersects(self.pixels, [_box(window) for window in windows]), np.bool_)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels (row, column) of a window within the grid have their centre in it."""
        inside_hw = np.zeros(window.shape, np.bool_)
        for row in range(window.row // _CELL_PX, -(-window.row_stop // _CELL_PX)):
            for col in range(window.col // _CELL_PX, -(-window.col_stop // _CELL_PX)):
                cell = Window(row * _CELL_PX, col * _CELL_PX, _CELL_PX, _CELL_PX)
                common = cell.intersection(window)
                if common is not None:
                    inside_hw[common.slices_in(window)] = _cell(self, cell)[common.slices_in(cell)]
        return inside_hw


def read_aoi(path: str, grid: Grid) -> Aoi:
    """The polygons of a vector file on a grid.

    Args:
        path: A local vector file with one layer, in any CRS, of a format that `read_polygons` reads.
        grid: The grid.

    Raises:
        GeosegError: The file cannot be read, is of another format, has no CRS, holds no polygons or other
            geometries beside them, or does not meet the grid.
    """
    try:
        region = read_polygons(Path(path))
    except GeosegError as error:
        raise GeosegError(f"--aoi: {error}") from error
    try:
        pixels = region_on_grid(_around(region, grid), grid)
    except (GeosegError, ProjError, shapely.errors.GEOSException) as error:
        raise GeosegError(f"--aoi {path}: its polygons have no place in the scene's CRS: {error}") from error
    found = Aoi(Path(path).name, _polygons(pixels), grid.height, grid.width)
    if found.pixels.is_empty:
        bounds = ", ".join(f"{value:.6g}" for value in region.geometry.bounds)
        raise GeosegError(
            f"--aoi {path} does not touch the scene: its polygons lie within {bounds} "
            f"({parse_crs(region.crs).name}), the scene elsewhere"
        )
    return found


def _around(region: Region, grid: Grid) -> Region:
    """What of a region lies near a grid: far from it, the grid's CRS may have no place for it."""
    source, target = parse_crs(grid.crs), parse_crs(region.crs)
    corners = shapely.transform(
        _box(grid.window), lambda points: np.column_stack(grid.transform @ (points[:, 0], points[:, 1]))
    )
    left, bottom, right, top = Transformer.from_crs(source, target, always_xy=True).transform_bounds(
        *corners.bounds
    )
    # Across the antimeridian the left bound is the greater: then nothing can be said by a box.
    if not np.isfinite([left, bottom, right, top]).all() or left >= right or bottom >= top:
        return region
    more_x, more_y = _MARGIN * (right - left), _MARGIN * (top - bottom)
    near = shapely.box(left - more_x, bottom - more_y, right + more_x, top + more_y)
    return Region(region.crs, _polygons(shapely.intersection(region.geometry, near)))


def _polygons(geometry: shapely.Geometry) -> shapely.Geometry:
    """What a geometry has of polygons; an intersection may leave points and lines where it only touches."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type in ("Polygon", "MultiPolygon")]
    return shapely.union_all(parts) if parts else shapely.Polygon()


def _box(window: Window) -> shapely.Geometry:
    return shapely.box(window.col, window.row, window.col_stop, window.row_stop)


@lru_cache(_CELLS_KEPT)
def _cell(aoi: Aoi, cell: Window) -> NDArray[np.bool_]:
    shapely.prepare(aoi.pixels)
    if not shapely.intersects(aoi.pixels, _box(cell)):
        return np.zeros(cell.shape, np.bool_)
    # Only what lies around the cell is drawn, and in the same way whoever asks.
    around = shapely.clip_by_rect(aoi.pixels, cell.col - 1, cell.row - 1, cell.col_stop + 1, cell.row_stop + 1)
    return region_mask(_polygons(around), cell)
