"""Where a mosaic holds data, in longitude and latitude, told from its overviews.

An overview's pixel holds data where any pixel below it does. So the outline of a level is around all data, and at
most one of its pixels away; it depends on the mosaic alone, not on the blocks that it was made of.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.enums import TransformDirection

from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.antimeridian import cut
from geoseg.io.mosaic import CHUNK_PX, Mosaic
from geoseg.labels import NODATA_CLASS

_WGS84 = "EPSG:4326"

_MOST_CORNERS = 1000
"""Of the whole footprint; with more, larger pixels are outlined."""

_MOST_CELLS = CHUNK_PX**2
"""Pixels of an overview that are looked at: a finer one is read only where there are fewer."""

_MOST_RUNS = 2**14
"""Rows of neighbouring pixels; with more, there are too many corners anyway."""

_AWAY_PX = 0.25
"""Straight lines in longitude and latitude lie at most so far from those of the grid."""

_MOST_POINTS = 2**13
"""Of one ring, on lines that no number of points makes straight (beside a pole)."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """An area on the ground.

    Attributes:
        geometry: A GeoJSON Polygon or MultiPolygon, cut at the antimeridian, exteriors counter-clockwise.
        bbox: (west, south, east, north) in degrees, the smallest there is; across the antimeridian west > east.
    """

    geometry: dict[str, Any]
    bbox: tuple[float, float, float, float]


def footprint(mosaic: Mosaic, grid: Grid) -> Footprint | None:
    """The area that holds data, around the centre of every pixel that does.

    Around a pole it is the cap up to the parallel that touches the data.

    Args:
        mosaic: With all its overviews.
        grid: Its pixels at full resolution.

    Returns:
        None where there is no data, or none that has a place on earth.
    """
    polygons = _outline(mosaic, grid)
    placed = [found for polygon in polygons if (found := _on_earth(polygon, grid)) is not None]
    cut_up = cut(np.array(placed, object), _WGS84) if placed else ()
    parts = [part for part in shapely.get_parts(list(cut_up)) if not part.is_empty]
    if not parts:
        return None
    geometry = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return Footprint(shapely.geometry.mapping(geometry), _bbox(shapely.bounds(parts)))


@dataclass(frozen=True, slots=True)
class _Cells:
    """Pixels with data of a level: rows and cols int64 (n,), in row-major order."""

    level: int
    rows: NDArray[np.int64]
    cols: NDArray[np.int64]

    def coarser(self) -> "_Cells":
        """The pixels of the next level, which need not be there, that hold any of these."""
        pairs = np.unique(np.column_stack((self.rows // 2, self.cols // 2)), axis=0)
        return _Cells(self.level + 1, pairs[:, 0], pairs[:, 1])

    def polygons(self, grid: Grid) -> NDArray[np.object_] | None:
        """What they cover together, (x = column, y = row) of the grid; None where that has too many corners."""
        starts = np.ones(len(self.rows), np.bool_)
        starts[1:] = (np.diff(self.rows) != 0) | (np.diff(self.cols) != 1)
        first = np.flatnonzero(starts)
        if len(first) > _MOST_RUNS:
            return None
        last = np.append(first[1:], len(self.rows)) - 1
        side = 1 << self.level
        boxes = shapely.box(
            self.cols[first] * side,
            self.rows[first] * side,
            np.minimum((self.cols[last] + 1) * side, grid.width),
            np.minimum((self.rows[first] + 1) * side, grid.height),
        )
        # Rows of equal width leave points on straight lines.
        whole = shapely.simplify(shapely.union_all(boxes), 0)
        if shapely.get_num_coordinates(whole) > _MOST_CORNERS:
            return None
        parts: NDArray[np.object_] = shapely.get_parts(whole)
        return parts


def _outline(mosaic: Mosaic, grid: Grid) -> NDArray[np.object_]:
    """Polygons (n,) around all data, on pixels of the finest level that does not give too many corners."""
    shapes = mosaic.level_shapes()
    top = len(shapes) - 1
    rows, cols = np.nonzero(mosaic.read(top, "classes") != NODATA_CLASS)
    cells = _Cells(top, rows, cols)
    if not len(rows):
        return np.empty(0, object)
    polygons = cells.polygons(grid)
    while polygons is None:
        cells = cells.coarser()
        polygons = cells.polygons(grid)
    # Where little of a large grid holds data, its coarsest pixels are much larger than what is in them.
    while 0 < cells.level <= top and 4 * len(cells.rows) <= _MOST_CELLS:
        cells = _finer(mosaic, cells, shapes[cells.level - 1])
        closer = cells.polygons(grid)
        if closer is None:
            break
        polygons = closer
    return polygons


def _finer(mosaic: Mosaic, cells: _Cells, shape: tuple[int, int]) -> _Cells:
    """The pixels with data of the next finer level, which all lie below those of this one."""
    level = cells.level - 1
    half = CHUNK_PX // 2
    rows, cols = [], []
    for i, j in np.unique(np.column_stack((cells.rows // half, cells.cols // half)), axis=0).tolist():
        row, col = i * CHUNK_PX, j * CHUNK_PX
        window = Window(row, col, min(CHUNK_PX, shape[0] - row), min(CHUNK_PX, shape[1] - col))
        down, right = np.nonzero(mosaic.read(level, "classes", window) != NODATA_CLASS)
        rows.append(down + row)
        cols.append(right + col)
    all_rows, all_cols = np.concatenate(rows), np.concatenate(cols)
    order = np.lexsort((all_cols, all_rows))
    return _Cells(level, all_rows[order], all_cols[order])


def _on_earth(polygon: shapely.Polygon, grid: Grid) -> shapely.Polygon | None:
    """A polygon of the grid in longitudes from -180 to 180 and latitudes; it jumps where it must be cut."""
    # A turn of the earth has eight points at least, so that no step is half a turn.
    polygon = shapely.segmentize(polygon, max(grid.height, grid.width) / 8)
    rings = []
    for ring in (polygon.exterior, *polygon.interiors):
        lonlat = _densified(shapely.get_coordinates(ring), grid)
        lonlat = lonlat[np.isfinite(lonlat).all(axis=1)]
        if len(lonlat) >= 4:
            rings.append(lonlat)
        elif not rings:
            return None  # an exterior that has no place on earth
    shell = rings[0]
    if abs(shell[-1, 0] - shell[0, 0]) > 180:
        south, north = shell[:, 1].min(), shell[:, 1].max()
        cap = shapely.box(-180, south, 180, 90) if south + north > 0 else shapely.box(-180, -90, 180, north)
        return shapely.segmentize(cap, 90)
    return shapely.Polygon(_wrapped(shell), [_wrapped(ring) for ring in rings[1:]])


def _densified(ring: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Longitudes, without jumps, and latitudes (m, 2) of a ring of the grid, with points in between on its lines.

    Args:
        ring: x = column, y = row, float64 (n, 2).
        grid: The grid.
    """
    transform, inverse = grid.transform, ~grid.transform
    project = Transformer.from_crs(parse_crs(grid.crs), _WGS84, always_xy=True)

    def placed(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = project.transform(*(transform @ tuple(pixels.T)))
        on_earth = np.isfinite(lon)
        lon[on_earth] = np.unwrap(lon[on_earth], period=360)
        return np.column_stack((lon, lat))

    def back(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
        lon, lat = lonlat.T
        x, y = project.transform(lon, lat, direction=TransformDirection.INVERSE)
        return np.column_stack(inverse @ (x, y))

    while True:
        lonlat = placed(ring)
        middle = (ring[:-1] + ring[1:]) / 2
        straight = back((lonlat[:-1] + lonlat[1:]) / 2)
        # What is not finite is not far: nothing would bring it nearer.
        far = np.flatnonzero(np.hypot(*(straight - middle).T) > _AWAY_PX)
        if not len(far) or len(ring) + len(far) > _MOST_POINTS:
            return lonlat
        ring = np.insert(ring, far + 1, middle[far], axis=0)


def _wrapped(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes and latitudes (n, 2) with longitudes from -180 to 180."""
    lon, lat = lonlat.T
    lon = np.where(np.abs(lon) > 180, (lon + 180) % 360 - 180, lon)
    return np.column_stack((lon, np.clip(lat, -90, 90)))


def _bbox(bounds: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """The smallest box around boxes (n, west-south-east-north), none of which crosses the antimeridian."""
    in_order = bounds[np.argsort(bounds[:, 0], kind="stable")]
    west, reach = in_order[:, 0], np.maximum.accumulate(in_order[:, 2])
    south, north = float(bounds[:, 1].min()), float(bounds[:, 3].max())
    gaps = west[1:] - reach[:-1]
    if len(gaps) and gaps.max() > west[0] + 360 - reach[-1]:
        widest = int(gaps.argmax())
        return float(west[widest + 1]), south, float(reach[widest]), north
    return float(west[0]), south, float(reach[-1]), north
