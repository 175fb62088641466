"""The ground area of pixels, in whole numbers: sums are exact, in whatever order and blocks they are taken."""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geoseg.grid import Grid, Window, parse_crs

GROUND_UNIT = 2**20
"""How many units of ground area a pixel has whose area is that of the grid's centre."""

_CELL_PX = 4
"""Side of the cells, anchored at the grid's origin, whose pixels all count with the cell's mean area."""

_MOST_UNITS = 2**31 - 1


@lru_cache(64)
def nominal_pixel_m2(grid: Grid) -> float:
    """Ground area of a pixel at the grid's centre."""
    return math.prod(grid.ground_resolution_m())


def pixel_ground(grid: Grid, window: Window) -> NDArray[np.int32]:
    """Ground area of each pixel of a window, in units of the nominal pixel's area / `GROUND_UNIT`.

    Cells of 4 x 4 px are measured on the ellipsoid, in Lambert's cylindrical equal-area projection (Snyder 1987,
    Map projections: a working manual, section 10); it is linear in longitude, so that the antimeridian needs no
    care. A cell that the CRS cannot place on earth counts with the nominal area.

    Args:
        grid: The grid.
        window: Pixels of it, starting at a multiple of 4 px both ways.

    Returns:
        int32 (row, column), at least 1.

    Raises:
        ValueError: The window starts within a cell.
        SceneError: The grid's centre has no place on earth.
    """
    if window.row % _CELL_PX or window.col % _CELL_PX:
        raise ValueError(f"expected a window that starts at multiples of {_CELL_PX} px, got {window}")
    row = np.append(np.arange(window.row, window.row_stop, _CELL_PX), window.row_stop)
    col = np.append(np.arange(window.col, window.col_stop, _CELL_PX), window.col_stop)
    # A block may end within a cell at the grid's edges only, so that the cells are the same for all blocks.
    height_px, width_px = np.diff(row), np.diff(col)
    cell_m2 = _cell_m2(grid, row, col)
    pixel_m2 = cell_m2 / np.outer(height_px, width_px)
    units = pixel_m2 / nominal_pixel_m2(grid) * GROUND_UNIT
    units = np.where(np.isfinite(units), units, GROUND_UNIT)
    units_hw = np.clip(np.rint(units), 1, _MOST_UNITS).astype(np.int32)
    return np.repeat(np.repeat(units_hw, height_px, axis=0), width_px, axis=1)


def _cell_m2(grid: Grid, row: NDArray[np.int64], col: NDArray[np.int64]) -> NDArray[np.float64]:
    """Area of the cells between rows and columns of corners, (row, column); not finite where there is none."""
    crs = parse_crs(grid.crs)
    geodetic = _geodetic(crs)
    geod = crs.get_geod() or Geod(ellps="WGS84")
    t = grid.transform
    cols, rows = np.meshgrid(col.astype(np.float64), row.astype(np.float64))
    lon, lat = _to_geodetic(grid.crs).transform(t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f)
    unit = geodetic.axis_info[0].unit_conversion_factor  # some geographic CRSs count in grads
    lon, lat = np.asarray(lon) * unit, np.asarray(lat) * unit
    with np.errstate(invalid="ignore"):
        y = _authalic_y(lat, geod.a, geod.es)
        quads = [(slice(None, -1), slice(None, -1)), (slice(None, -1), slice(1, None))]
        quads += [(slice(1, None), slice(1, None)), (slice(1, None), slice(None, -1))]
        # Longitudes of a cell count from its first corner, the short way round.
        dx = [geod.a * ((lon[at] - lon[quads[0]] + math.pi) % (2 * math.pi) - math.pi) for at in quads]
        dy = [y[at] - y[quads[0]] for at in quads]
        double = sum(dx[k] * dy[k - 3] - dx[k - 3] * dy[k] for k in range(4))
        return np.abs(np.asarray(double)) / 2


@lru_cache(64)
def _to_geodetic(crs: str) -> Transformer:
    """To the CRS's own longitudes and latitudes."""
    return Transformer.from_crs(parse_crs(crs), _geodetic(parse_crs(crs)), always_xy=True)


def _geodetic(crs: CRS) -> CRS:
    return crs.geodetic_crs or CRS.from_epsg(4326)


def _authalic_y(lat: NDArray[np.float64], a: float, e2: float) -> NDArray[np.float64]:
    """Northing of the cylindrical equal-area projection (Snyder 1987, equations 3-12 and 10-15), in metres."""
    sin = np.sin(lat)
    if e2 == 0:
        return a * sin
    e = math.sqrt(e2)
    q = (1 - e2) * (sin / (1 - e2 * sin**2) + np.arctanh(e * sin) / e)
    return np.asarray(a * q / 2)
