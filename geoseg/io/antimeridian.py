"""Polygons across the 180th meridian, cut there as RFC 7946 (section 3.1.9) asks.

GDAL cuts too, but at seven decimals its cuts of projected polygons touch or cross themselves.
"""

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.grid import parse_crs

_PRECISION_DEG = 1e-7
_SNAP_DEG = 1e-6
_WGS84 = "EPSG:4326"


def crosses(bounds: NDArray[np.float64], crs: str) -> bool:
    """Whether polygons in x and y of a projected CRS may lie across the antimeridian.

    Args:
        bounds: Left, bottom, right and top of all of them, float64 (4,); NaN of none.
        crs: Authority code or WKT.
    """
    projected = parse_crs(crs)
    if projected.is_geographic or np.isnan(bounds).any():
        return False
    west, _, east, _ = Transformer.from_crs(projected, _WGS84, always_xy=True).transform_bounds(*bounds)
    return bool(west > east or east - west > 180)


def cut(polygons: NDArray[np.object_], crs: str) -> NDArray[np.object_]:
    """Polygons in longitude and latitude, those across the antimeridian as a MultiPolygon of their parts.

    A polygon with a pole inside is only transformed: cutting does not make it one in longitude and latitude.

    Args:
        polygons: Polygons, lines or points (n,) in x and y of the CRS.
        crs: Authority code or WKT.

    Returns:
        Polygons and MultiPolygons (n,), valid, with exteriors counter-clockwise, rounded to seven decimals;
        likewise lines and MultiLineStrings, and points.
    """
    to_lonlat = Transformer.from_crs(parse_crs(crs), _WGS84, always_xy=True)
    lonlat = shapely.transform(polygons, to_lonlat.transform, interleaved=False)
    for i, polygon in enumerate(lonlat):
        if polygon.geom_type != "Polygon":
            lonlat[i] = _line_parts(polygon)
        elif any(_jumps(ring) for ring in (polygon.exterior, *polygon.interiors)):
            lonlat[i] = _parts(polygon)
        else:
            lonlat[i] = shapely.set_precision(_valid(shapely.transform(polygon, _on_meridian)), _PRECISION_DEG)
    oriented: NDArray[np.object_] = shapely.orient_polygons(lonlat)
    return oriented


def _jumps(ring: shapely.LinearRing) -> bool:
    lon = shapely.get_coordinates(ring)[:, 0]
    return bool((np.abs(np.diff(lon)) > 180).any())


def _parts(polygon: shapely.Polygon) -> shapely.Geometry:
    shell = _continuous(polygon.exterior)
    if abs(shell[-1, 0] - shell[0, 0]) > 180:
        return polygon
    holes = []
    for ring in polygon.interiors:
        hole = _continuous(ring)
        # A hole may begin on the other side of the meridian than its shell does.
        hole[:, 0] += 360 * np.round((shell[:, 0].mean() - hole[:, 0].mean()) / 360)
        holes.append(hole)
    whole = _valid(shapely.Polygon(shell, holes))
    parts = []
    for turn in (-360, 0, 360):
        part = shapely.intersection(whole, shapely.box(turn - 180, -90, turn + 180, 90))
        moved = shapely.transform(part, lambda xy, turn=turn: _on_meridian(xy - [turn, 0]))
        # Rounded by whole polygons, which stay valid, and not vertex by vertex when they are written.
        rounded = shapely.set_precision(_valid(moved), _PRECISION_DEG)
        parts += [piece for piece in shapely.get_parts(rounded) if piece.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts) if len(parts) > 1 else parts[0]


def _line_parts(line: shapely.Geometry) -> shapely.Geometry:
    """A line, cut where it crosses the meridian, or a point."""
    if line.geom_type == "Point" or not _jumps(line):
        return shapely.set_precision(shapely.transform(line, _on_meridian), _PRECISION_DEG)
    whole = shapely.LineString(_continuous(line))
    parts = []
    for turn in (-360, 0, 360):
        part = shapely.intersection(whole, shapely.box(turn - 180, -90, turn + 180, 90))
        moved = shapely.transform(part, lambda xy, turn=turn: _on_meridian(xy - [turn, 0]))
        rounded = shapely.set_precision(moved, _PRECISION_DEG)
        pieces = [piece for piece in shapely.get_parts(rounded) if piece.geom_type == "LineString"]
        # What only touches the meridian, or is shorter than what is rounded, is empty now.
        parts += [piece for piece in pieces if not piece.is_empty]
    return shapely.MultiLineString(parts) if len(parts) > 1 else parts[0]


def _on_meridian(lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes and latitudes (vertex, 2), with what is all but on the meridian on it, where GDAL writes it."""
    lon = lonlat[:, 0]
    near = np.abs(lon) > 180 - _SNAP_DEG
    return np.column_stack((np.where(near, np.copysign(180, lon), lon), lonlat[:, 1]))


def _valid(geometry: shapely.Geometry) -> shapely.Geometry:
    # By structure: a hole that touches its shell stays a hole.
    return shapely.make_valid(geometry, method="structure", keep_collapsed=False)


def _continuous(ring: shapely.LinearRing) -> NDArray[np.float64]:
    """A ring's longitudes and latitudes (vertex, 2), the longitudes without jumps of a full turn."""
    lonlat = shapely.get_coordinates(ring)
    lonlat[:, 0] = np.unwrap(lonlat[:, 0], period=360)
    return lonlat
