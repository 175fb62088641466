"""Features from outlines: placed on the ground and measured."""

import math
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geoseg.errors import SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.io.layers import NO_OUTCOME, Features
from geoseg.vectorize.outlines import Objects
from geoseg.vectorize.rings import Rings

_COLUMNS = ("id", "part", "class_id", "confidence", "area_m2", "perimeter_m", "scene", "outcome")


def place(objects: Objects, grid: Grid, scene: NDArray[np.int64] | None = None) -> Features:
    """Turn outlines in pixels into features in the grid's CRS.

    The area and perimeter that a feature reports are those of its geometry as it is written.

    Args:
        objects: In pixel coordinates.
        grid: The grid they lie on.
        scene: (n,); index of the scene that each comes from; None for the only one.

    Returns:
        Features in the same order, exteriors counter-clockwise in the x and y of the CRS.

    Raises:
        SceneError: The CRS cannot place an object on earth.
    """
    geometry = on_grid(objects.polygons, grid)
    area_m2, perimeter_m = geodesic_measures(geometry, grid.crs)
    scene = np.zeros(len(objects), np.int64) if scene is None else scene
    return Features(
        id=objects.id,
        part=objects.part,
        class_id=objects.class_id,
        confidence=objects.confidence,
        area_m2=area_m2,
        perimeter_m=perimeter_m,
        geometry=geometry,
        scene=scene,
        outcome=np.full(len(objects), NO_OUTCOME, np.uint8),
    )


def to_arrays(features: Features) -> dict[str, NDArray[Any]]:
    """The columns of features as arrays, by name."""
    columns = {name: getattr(features, name) for name in _COLUMNS}
    return {**columns, **Rings.of(features.geometry).to_arrays()}


def from_arrays(arrays: dict[str, NDArray[Any]]) -> Features:
    """What `to_arrays` gave."""
    columns = {name: arrays[name] for name in _COLUMNS}
    return Features(**columns, geometry=Rings.from_arrays(arrays).polygons())


def geodesic_measures(polygons: NDArray[np.object_], crs: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area and perimeter on the ellipsoid of the CRS.

    Edges are geodesics (Karney 2013, Algorithms for geodesics). A straight edge of length L in the CRS leaves its
    geodesic by about L^2 tan(latitude) / 8 R at most, which is 2 m for 10 km at 45 degrees.

    Args:
        polygons: Polygons (n,) in the CRS's x and y, none of them empty.
        crs: Authority code or WKT.

    Returns:
        float64 (n,), square metres, holes taken off; and float64 (n,), metres, around exteriors and holes.

    Raises:
        SceneError: No such CRS, or it cannot place a vertex on earth.
    """
    projected = parse_crs(crs)
    geodetic = projected.geodetic_crs or CRS.from_epsg(4326)
    geod = projected.get_geod() or Geod(ellps="WGS84")
    rings = Rings.of(polygons)
    to_lonlat = Transformer.from_crs(projected, geodetic, always_xy=True)
    lon, lat = to_lonlat.transform(rings.xy[:, 0], rings.xy[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise SceneError(
            f"an object has no place on earth in {projected.name}: the raster reaches beyond the CRS, or its "
            "CRS or geotransform is wrong; check them with `geoseg inspect`"
        )
    # Some geographic CRSs count in grads, a geodesic in degrees.
    degrees_per_unit = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
    lon, lat = np.asarray(lon) * degrees_per_unit, np.asarray(lat) * degrees_per_unit

    ring_area, ring_length = np.empty(len(rings.size)), np.empty(len(rings.size))
    for i, (start, size) in enumerate(zip(rings.start.tolist(), rings.size.tolist(), strict=True)):
        stop = start + size
        ring_area[i], ring_length[i] = geod.polygon_area_perimeter(lon[start:stop], lat[start:stop])
    # The sign tells the sense of rotation only: exterior rings count, the others are holes.
    ring_area = np.abs(ring_area)
    first_ring = np.cumsum(rings.count) - rings.count
    hole = np.ones(len(ring_area), bool)
    hole[first_ring] = False
    polygon_of_ring = np.repeat(np.arange(len(rings.count)), rings.count)
    signed = np.where(hole, -ring_area, ring_area)
    area_m2, perimeter_m = (
        np.bincount(polygon_of_ring, of_ring, len(rings.count)).astype(np.float64)
        for of_ring in (signed, ring_length)
    )
    return area_m2, perimeter_m


def on_grid(polygons: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Polygons (n,) from pixel coordinates to the x and y of the grid's CRS, exteriors counter-clockwise there."""
    rings = Rings.of(polygons)
    t = grid.transform
    col, row = rings.xy[:, 0], rings.xy[:, 1]
    xy = np.column_stack((t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f))
    # Rows run down and an affine may mirror: which way rings run is known in the CRS only.
    placed: NDArray[np.object_] = shapely.orient_polygons(Rings(xy, rings.size, rings.count).polygons())
    return placed
