"""Features from whole objects: simplified, placed on the ground and measured."""

import math

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geoseg.errors import SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.io.layers import Features
from geoseg.vectorize.pieces import PixelObjects
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.simplify import simplify

__all__ = ["Features", "assemble", "geodesic_area_m2"]


def assemble(objects: PixelObjects, grid: Grid, *, min_area_m2: float = 0, tolerance_m: float = 0) -> Features:
    """Turn whole objects into features in the grid's CRS.

    Objects that are too small go first, by the area of their exact outline; what is left is simplified, all
    classes together; the area that a feature reports is that of its geometry as it is written. An id is that
    of the object, whatever is dropped.

    Args:
        objects: Objects of all layers, in pixel coordinates.
        grid: The grid they lie on.
        min_area_m2: Objects with less ground area are dropped; 0 keeps all.
        tolerance_m: Simplification tolerance on the ground (see `simplify`); 0 keeps outlines exact.

    Returns:
        Features sorted by id, exteriors counter-clockwise in the x and y of the CRS.

    Raises:
        SceneError: The CRS cannot place an object on earth.
        ValueError: The least area or the tolerance is negative or not finite.
    """
    if not 0 <= min_area_m2 < math.inf:
        raise ValueError(f"expected a least area of 0 m2 or more, got {min_area_m2}")
    kept = np.ones(len(objects), bool)
    if min_area_m2 > 0:
        kept = geodesic_area_m2(_place(objects.polygons, grid), grid.crs) >= min_area_m2
    pixel_m = math.sqrt(math.prod(grid.ground_resolution_m()))
    geometry = _place(simplify(objects.polygons[kept], tolerance_m / pixel_m), grid)
    area_m2 = geodesic_area_m2(geometry, grid.crs)
    order = np.argsort(objects.id[kept], kind="stable")
    confidence = objects.confidence_sum[kept] / (objects.pixels[kept] * 254)
    return Features(
        id=objects.id[kept][order],
        class_id=objects.class_id[kept][order],
        confidence=confidence[order],
        area_m2=area_m2[order],
        geometry=geometry[order],
    )


def geodesic_area_m2(polygons: NDArray[np.object_], crs: str) -> NDArray[np.float64]:
    """Area on the ellipsoid of the CRS, edges being geodesics (Karney 2013, Algorithms for geodesics).

    A straight edge of length L in the CRS leaves its geodesic by about L^2 tan(latitude) / 8 R at most, which
    is 2 m for 10 km at 45 degrees.

    Args:
        polygons: Polygons (n,) in the CRS's x and y, none of them empty.
        crs: Authority code or WKT.

    Returns:
        float64 (n,), square metres, holes taken off.

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

    ring_area = np.empty(len(rings.size))
    for i, (start, size) in enumerate(zip(rings.start.tolist(), rings.size.tolist(), strict=True)):
        stop = start + size
        ring_area[i] = geod.polygon_area_perimeter(lon[start:stop], lat[start:stop])[0]
    # The sign tells the sense of rotation only: exterior rings count, the others are holes.
    ring_area = np.abs(ring_area)
    first_ring = np.cumsum(rings.count) - rings.count
    hole = np.ones(len(ring_area), bool)
    hole[first_ring] = False
    polygon_of_ring = np.repeat(np.arange(len(rings.count)), rings.count)
    signed = np.where(hole, -ring_area, ring_area)
    area_m2: NDArray[np.float64] = np.bincount(polygon_of_ring, signed, len(rings.count)).astype(np.float64)
    return area_m2


def _place(polygons: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Pixel coordinates to the x and y of the grid's CRS, exteriors counter-clockwise there."""
    rings = Rings.of(polygons)
    t = grid.transform
    col, row = rings.xy[:, 0], rings.xy[:, 1]
    xy = np.column_stack((t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f))
    # Rows run down and an affine may mirror: which way rings run is known in the CRS only.
    placed: NDArray[np.object_] = shapely.orient_polygons(Rings(xy, rings.size, rings.count).polygons())
    return placed
