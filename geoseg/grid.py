"""Pixels and the world: windows of pixels, and the grid that places them on the ground."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from affine import Affine
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError, ProjError

from geoseg.errors import SceneError

NO_PLACE = (
    'ENGCRS["an image without a place on earth",EDATUM["its lower left corner"],CS[Cartesian,2],'
    'AXIS["(X)",east,ORDER[1]],AXIS["(Y)",north,ORDER[2]],LENGTHUNIT["metre",1]]'
)
"""The CRS of a grid that lies nowhere on earth and whose pixel is known in metres. No file has it: only what is
told the ground resolution of a picture makes such a grid."""


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """A half-open rectangle of pixels: rows [row, row + height), columns [col, col + width)."""

    row: int
    col: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a window holds at least one pixel, got {self.height} x {self.width}")

    @property
    def row_stop(self) -> int:
        """The first row below the window."""
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        """The first column right of the window."""
        return self.col + self.width

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.height, self.width

    def intersection(self, other: "Window") -> "Window | None":
        """The pixels in both windows, or None."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height, width = min(self.row_stop, other.row_stop) - row, min(self.col_stop, other.col_stop) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def slices_in(self, outer: "Window") -> tuple[slice, slice]:
        """Index of this window in an array (height, width) that holds `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)


@dataclass(frozen=True, slots=True)
class Grid:
    """The target pixel grid.

    Attributes:
        crs: The coordinate reference system, as an authority code ("EPSG:32640") or WKT.
        transform: From (column, row) at pixel corners to CRS coordinates (x, y).
        height: Rows.
        width: Columns.
    """

    crs: str
    transform: Affine
    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a grid holds at least one pixel, got {self.height} x {self.width}")

    @property
    def window(self) -> Window:
        """All pixels of the grid."""
        return Window(0, 0, self.height, self.width)

    @property
    def middle_xy(self) -> tuple[float, float]:
        """(x, y) of the middle in the CRS."""
        x, y = self.transform @ (self.width / 2, self.height / 2)
        return float(x), float(y)

    @property
    def has_place(self) -> bool:
        """Whether it lies somewhere on earth; if not, nothing but itself can be laid over it."""
        return self.crs != NO_PLACE

    def part(self, window: Window) -> "Grid":
        """The grid of a window of its pixels."""
        transform = self.transform
        if (window.row, window.col) != (0, 0):
            transform = transform @ Affine.translation(window.col, window.row)
        return Grid(self.crs, transform, window.height, window.width)

    def ground_resolution_m(self) -> tuple[float, float]:
        """Ground length of one pixel's (height, width) in metres, measured at the grid's centre.

        Geodesic on the CRS's own ellipsoid (Karney 2013, as in GeographicLib), so that degrees, feet and
        distorting projections (web mercator) all give metres on the ground. Of a grid that has no place on earth
        it is the length that was told.

        Raises:
            SceneError: The CRS cannot place the grid's centre on earth.
        """
        if not self.has_place:
            t = self.transform
            return math.hypot(t.b, t.e), math.hypot(t.a, t.d)
        crs = parse_crs(self.crs)
        geod = crs.get_geod() or Geod(ellps="WGS84")
        row, col = self.height / 2, self.width / 2
        corners = [(col, row - 0.5), (col, row + 0.5), (col - 0.5, row), (col + 0.5, row)]
        try:
            geodetic = crs.geodetic_crs or CRS.from_epsg(4326)
            to_lonlat = Transformer.from_crs(crs, geodetic, always_xy=True)
            # Some geographic CRSs count in grads, a geodesic in degrees.
            degrees = math.degrees(geodetic.axis_info[0].unit_conversion_factor)
            points = [
                [degrees * angle for angle in to_lonlat.transform(*(self.transform @ corner))] for corner in corners
            ]
            height_m, width_m = geod.inv(*points[0], *points[1])[2], geod.inv(*points[2], *points[3])[2]
        except ProjError:  # a CRS that knows no way to the earth, such as a building site's own
            height_m = width_m = math.nan
        # Latitudes beyond the poles (metres taken for degrees) give lengths that are not finite either.
        if not (math.isfinite(height_m) and math.isfinite(width_m) and height_m > 0 and width_m > 0):
            raise SceneError(
                f"the raster's centre has no place on earth in {crs.name}: its CRS or geotransform is wrong; "
                "check them, or name the right CRS with --assume-crs EPSG:N on a file without one"
            )
        return float(height_m), float(width_m)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "crs": self.crs,
            "transform": list(self.transform)[:6],
            "height": self.height,
            "width": self.width,
        }


def without_place(height: int, width: int, ground_resolution_m: float) -> Grid:
    """The grid of a picture that has no place on earth.

    Args:
        height: Rows.
        width: Columns.
        ground_resolution_m: Length of a pixel's sides in metres.
    """
    return Grid(
        NO_PLACE,
        Affine(ground_resolution_m, 0, 0, 0, -ground_resolution_m, height * ground_resolution_m),
        height,
        width,
    )


@lru_cache(64)
def parse_crs(text: str) -> CRS:
    """A CRS from an authority code or WKT.

    Raises:
        SceneError: No such CRS.
    """
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise SceneError(f"expected a CRS such as EPSG:32640, got {text!r}") from error
