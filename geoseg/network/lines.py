"""Lines and nodes of a network as features: smoothed, placed on the ground and measured."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from scipy import ndimage

from geoseg.errors import SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.io.layers import Lines, Nodes
from geoseg.network.edges import Edge

_SIGMA_PX = 2.5
"""Of the smoothing along a line: steps of a pixel, two to five pixels apart, go; a bend of 20 px keeps its length
within a hundredth."""

_TOLERANCE_PX = 0.2
"""How far the written line may leave the smoothed one."""

_EDGE_PX = 0.5
"""Twice the distance from a centre-line's pixel to the first beyond the mask is a pixel more than the width where
that is odd, and the width where it is even."""


def smooth(edge: Edge, grid_width: int) -> NDArray[np.float64]:
    """A line without the staircase of its pixels, its ends at its nodes.

    Points a pixel apart are averaged with a Gaussian weight along the line, which is thought to go on beyond its
    ends as it came, turned by half a circle, so that these stay. Then points that hardly matter are left out
    (Douglas and Peucker 1973).

    Args:
        edge: In pixels.
        grid_width: Columns of the grid.

    Returns:
        float64 (n, 2), x and y in pixel coordinates.
    """
    row, col = np.divmod(edge.place, grid_width)
    xy = np.column_stack((col, row)) + 0.5
    if not edge.closed:
        # Of its nodes a line has a pixel each, at their rim.
        xy = np.concatenate((_way(edge.node_xy[0], xy[0]), xy, _way(edge.node_xy[1], xy[-1])[::-1]))
    smoothed = _smooth(xy)
    line = shapely.simplify(shapely.linestrings(smoothed), _TOLERANCE_PX)
    return np.asarray(shapely.get_coordinates(line))


def width_px(edge: Edge) -> float:
    """Mean width of the mask along a line, of its pixels that belong to no node."""
    square = edge.square if len(edge.square) == 2 else edge.square[1:-1]
    return float(np.mean(2 * np.sqrt(square.astype(np.float64)) - _EDGE_PX))


def place_lines(edges: Sequence[Edge], grid: Grid, class_id: int) -> Lines:
    """Lines in the grid's CRS, by their ids, with what they measure on the ground.

    Args:
        edges: In pixels.
        grid: The grid they lie on.
        class_id: The class of which they are.

    Raises:
        SceneError: The CRS cannot place a line on earth.
    """
    edges = sorted(edges, key=lambda edge: edge.id)
    paths = [smooth(edge, grid.width) for edge in edges]
    size = np.array([len(path) for path in paths], np.int64)
    pixels_xy = np.concatenate([np.empty((0, 2)), *paths])
    xy = _placed(pixels_xy, grid)
    of_line = np.repeat(np.arange(len(edges)), size)
    geometry = shapely.linestrings(xy, indices=of_line) if edges else np.empty(0, object)
    first_xy = pixels_xy[np.cumsum(size) - size]
    across_px = np.array([width_px(edge) for edge in edges], np.float64)
    return Lines(
        id=np.array([edge.id for edge in edges], np.int64),
        class_id=np.full(len(edges), class_id, np.uint8),
        start=np.array([edge.node[0] for edge in edges], np.int64),
        end=np.array([edge.node[1] for edge in edges], np.int64),
        length_m=_lengths_m(xy, of_line, len(edges), grid.crs),
        width_m=across_px * _pixel_m(first_xy, grid),
        geometry=geometry,
    )


def place_nodes(
    ids: NDArray[np.int64], pixels_xy: NDArray[np.float64], degree: NDArray[np.int64], grid: Grid
) -> Nodes:
    """Nodes in the grid's CRS, by their ids.

    Args:
        ids: int64 (n,).
        pixels_xy: float64 (n, 2), x and y in pixel coordinates.
        degree: int64 (n,); how many lines begin or end at each.
        grid: The grid they lie on.
    """
    order = np.argsort(ids)
    geometry = shapely.points(_placed(pixels_xy[order], grid))
    return Nodes(id=ids[order], degree=degree[order], geometry=np.asarray(geometry, object))


def to_arrays(rows: Lines | Nodes) -> dict[str, NDArray[Any]]:
    """The columns of lines or nodes as arrays, by name."""
    xy = shapely.get_coordinates(rows.geometry)
    size = shapely.get_num_coordinates(rows.geometry)
    columns = {name: getattr(rows, name) for name in rows.columns if name != "geometry"}
    return {**columns, "xy": xy, "size": np.asarray(size, np.int64)}


def lines_from_arrays(arrays: dict[str, NDArray[Any]]) -> Lines:
    """What `to_arrays` gave of lines."""
    indices = np.repeat(np.arange(len(arrays["size"])), arrays["size"])
    geometry = shapely.linestrings(arrays["xy"], indices=indices) if len(indices) else np.empty(0, object)
    columns = {name: arrays[name] for name in Lines.columns if name != "geometry"}
    return Lines(**columns, geometry=geometry)


def nodes_from_arrays(arrays: dict[str, NDArray[Any]]) -> Nodes:
    """What `to_arrays` gave of nodes."""
    columns = {name: arrays[name] for name in Nodes.columns if name != "geometry"}
    return Nodes(**columns, geometry=np.asarray(shapely.points(arrays["xy"]), object))


def _way(node_xy: NDArray[np.float64], pixel_xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points about a pixel apart from a node to the first pixel of a line (n, 2), without that one."""
    length = math.hypot(*(pixel_xy - node_xy))
    share = np.arange(math.ceil(length)) / max(math.ceil(length), 1)
    return node_xy + share[:, None] * (pixel_xy - node_xy)


def _smooth(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    count = len(xy)
    reach = min(math.ceil(3 * _SIGMA_PX), count - 1)
    if reach < 2:
        return xy
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / min(_SIGMA_PX, reach / 2)) ** 2)
    beyond = 2 * xy[0] - xy[reach:0:-1], 2 * xy[-1] - xy[-2 : -reach - 2 : -1]
    longer = np.concatenate((beyond[0], xy, beyond[1]))
    smoothed = ndimage.correlate1d(longer, weight / weight.sum(), axis=0)[reach:-reach]
    smoothed[0], smoothed[-1] = xy[0], xy[-1]
    return np.asarray(smoothed)


def _placed(pixels_xy: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    t = grid.transform
    x, y = pixels_xy[:, 0], pixels_xy[:, 1]
    return np.column_stack((t.a * x + t.b * y + t.c, t.d * x + t.e * y + t.f))


def _lengths_m(xy: NDArray[np.float64], of_line: NDArray[np.int64], count: int, crs: str) -> NDArray[np.float64]:
    """Geodesic lengths (n,) of lines (Karney 2013, Algorithms for geodesics), as those of features' perimeters."""
    geod, lon, lat = _lonlat(xy, crs)
    within = np.flatnonzero(of_line[1:] == of_line[:-1])
    length_m = geod.inv(lon[within], lat[within], lon[within + 1], lat[within + 1])[2]
    return np.bincount(of_line[within], np.asarray(length_m, np.float64), count).astype(np.float64)


def _pixel_m(pixels_xy: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Side in metres (n,) of a square as large as a pixel has ground, at places (n, 2) in pixel coordinates."""
    sides = []
    for step in ((1.0, 0.0), (0.0, 1.0)):
        geod, lon, lat = _lonlat(_placed(pixels_xy - np.array(step) / 2, grid), grid.crs)
        _, other_lon, other_lat = _lonlat(_placed(pixels_xy + np.array(step) / 2, grid), grid.crs)
        sides.append(np.asarray(geod.inv(lon, lat, other_lon, other_lat)[2], np.float64))
    return np.sqrt(sides[0] * sides[1])


def _lonlat(xy: NDArray[np.float64], crs: str) -> tuple[Geod, NDArray[np.float64], NDArray[np.float64]]:
    """The ellipsoid, and longitude and latitude in degrees (n,).

    Raises:
        SceneError: A point has none.
    """
    projected = parse_crs(crs)
    geodetic = projected.geodetic_crs or CRS.from_epsg(4326)
    geod = projected.get_geod() or Geod(ellps="WGS84")
    to_lonlat = Transformer.from_crs(projected, geodetic, always_xy=True)
    lon, lat = to_lonlat.transform(xy[:, 0], xy[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise SceneError(
            f"a line of the network has no place on earth in {projected.name}: the raster reaches beyond the CRS, "
            "or its CRS or geotransform is wrong; check them with `geoseg inspect`"
        )
    # Some geographic CRSs count in grads, a geodesic in degrees.
    degrees = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
    return geod, np.asarray(lon) * degrees, np.asarray(lat) * degrees
