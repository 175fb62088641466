"""The plane in which shapes are compared, and lines get a width: in metres, true near a grid."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.crs import ProjectedCRS
from pyproj.crs.coordinate_operation import TransverseMercatorConversion
from pyproj.exceptions import ProjError
from shapely.affinity import affine_transform

from geoseg.errors import GeosegError
from geoseg.grid import Grid, parse_crs
from geoseg.io.warp import transformer

_TRUE_TO_SCALE = 0.01
"""A run's CRS is used itself where its metres are right to this share; those of Web Mercator seldom are."""

_STRAIGHT_M = 1000.0
"""Longer edges are cut before they move to another CRS, where they bend: by less than 0.03 m to this length."""

_METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class Plane:
    """A projected CRS in metres.

    Attributes:
        crs: Authority code or WKT.
        grid: The grid that it is for.
    """

    crs: str
    grid: Grid

    @classmethod
    def of(cls, grid: Grid) -> "Plane":
        """The grid's own CRS where it counts true metres, else a transverse Mercator projection about its middle.

        True means within 1 % at the grid's middle (Karney's geodesics against the transform).

        Raises:
            SceneError: The grid has no place on earth.
        """
        crs = parse_crs(grid.crs)
        t = grid.transform
        if crs.is_projected and all(axis.unit_conversion_factor == 1 for axis in crs.axis_info[:2]):
            height_m, width_m = grid.ground_resolution_m()
            stretch = np.hypot(t.b, t.e) / height_m, np.hypot(t.a, t.d) / width_m
            if max(abs(one - 1) for one in stretch) <= _TRUE_TO_SCALE:
                return cls(grid.crs, grid)
        geodetic = crs.geodetic_crs or CRS.from_epsg(4326)
        to_lonlat = Transformer.from_crs(crs, CRS.from_epsg(4326), always_xy=True)
        lon, lat = to_lonlat.transform(*grid.middle_xy)
        about = TransverseMercatorConversion(latitude_natural_origin=lat, longitude_natural_origin=lon)
        name = f"transverse Mercator about {lat:.4f}, {lon:.4f}"
        return cls(ProjectedCRS(about, name, geodetic_crs=geodetic).to_wkt(), grid)

    @property
    def name(self) -> str:
        """The CRS in words."""
        return str(parse_crs(self.crs).name)

    def place(self, geometry: NDArray[np.object_], crs: str) -> NDArray[np.object_]:
        """Geometries (n,) of another CRS in this one.

        Raises:
            GeosegError: A part has no place in it.
        """
        return moved(geometry, crs, self.crs)

    def to_pixels(self, geometry: NDArray[np.object_], crs: str) -> NDArray[np.object_]:
        """Geometries (n,) of another CRS in the grid's pixel coordinates (x = column, y = row).

        Raises:
            GeosegError: A part has no place in the grid's CRS.
        """
        t = ~self.grid.transform
        placed = moved(geometry, crs, self.grid.crs)
        return _each(placed, [t.a, t.b, t.d, t.e, t.c, t.f])

    def from_pixels(self, geometry: NDArray[np.object_]) -> NDArray[np.object_]:
        """Geometries (n,) in the grid's pixel coordinates in this CRS.

        Raises:
            GeosegError: A part has no place in it.
        """
        t = self.grid.transform
        return self.place(_each(geometry, [t.a, t.b, t.d, t.e, t.c, t.f]), self.grid.crs)


def _each(geometry: NDArray[np.object_], affine: list[float]) -> NDArray[np.object_]:
    placed = np.empty(len(geometry), object)
    placed[:] = [affine_transform(one, affine) for one in geometry]
    return placed


def moved(geometry: NDArray[np.object_], crs: str, to: str) -> NDArray[np.object_]:
    """Geometries (n,) of one CRS in another.

    Args:
        geometry: shapely geometries.
        crs: Theirs, as authority code or WKT.
        to: The other.

    Raises:
        GeosegError: A part has no place in it.
    """
    source, target = parse_crs(crs), parse_crs(to)
    if source == target or len(geometry) == 0:
        return geometry
    unit = source.axis_info[0].unit_conversion_factor
    longest = _STRAIGHT_M / (_METRES_PER_DEGREE * np.degrees(unit)) if source.is_geographic else _STRAIGHT_M / unit
    try:
        move = transformer(crs, to)
        cut = shapely.segmentize(geometry, longest)
        placed: NDArray[np.object_] = shapely.transform(
            cut, lambda points: np.column_stack(move.transform(points[:, 0], points[:, 1]))
        )
    except ProjError as error:
        raise GeosegError(f"{source.name} and {target.name} know no way from one to the other ({error})") from error
    if not np.isfinite(shapely.get_coordinates(placed)).all():
        raise GeosegError(
            f"expected labels with a place in {target.name}, got some in {source.name} that have none: check their "
            "CRS, or cut them to the run"
        )
    return placed
