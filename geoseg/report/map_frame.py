"""Where a picture of a grid lies on a web map: upright in Web Mercator, so that four corners say it exactly.

A grid's own pixels seldom are: a web map would pull them straight between the grid's corners, which for a hundred
kilometres of UTM is off by hundreds of metres.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.grid import Grid, parse_crs

LONGEST_PX = 2000
"""Longest side of a picture for a map; every browser's WebGL has textures of that size."""

_RADIUS_M = 6_378_137.0
"""Of Web Mercator's sphere (EPSG:3857)."""

_MOST_LAT = 85.051129
"""Where web maps end."""

_EDGE_POINTS = 33
"""Points along a side at which a grid is placed to see how far it reaches."""

_NODE_PX = 16
"""Between these the places of a picture's pixels are linear: a thousandth of a pixel off, for UTM."""

_STRIP_PX = 256
"""Rows that are placed at a time."""

_NOWHERE = -1e9
"""Stands for a pixel of a place that the grid's CRS cannot express."""


@dataclass(frozen=True, slots=True)
class MapFrame:
    """A rectangle of Web Mercator in pixels.

    Attributes:
        left_m: Its left edge (EPSG:3857); beyond 20,037,508 m where the grid crosses the antimeridian.
        top_m: Its upper edge.
        px_m: Side of a pixel in metres of Web Mercator.
        height: Rows.
        width: Columns.
        middle_lon: Longitude of the grid's middle, in degrees: what is shown lies within 180 degrees of it.
    """

    left_m: float
    top_m: float
    px_m: float
    height: int
    width: int
    middle_lon: float

    @classmethod
    def around(cls, grid: Grid, longest_px: int = LONGEST_PX) -> "MapFrame":
        """The frame that holds a grid, with no more pixels than the grid has.

        Args:
            grid: What is to be shown.
            longest_px: Most pixels along a side.
        """
        to_lonlat = Transformer.from_crs(parse_crs(grid.crs), "EPSG:4326", always_xy=True)
        middle_lon = to_lonlat.transform(*grid.middle_xy)[0]
        down, right = np.meshgrid(
            np.linspace(0, grid.height, _EDGE_POINTS), np.linspace(0, grid.width, _EDGE_POINTS), indexing="ij"
        )
        t = grid.transform
        lon, lat = to_lonlat.transform(t.a * right + t.b * down + t.c, t.d * right + t.e * down + t.f)
        there = np.isfinite(lon) & np.isfinite(lat)
        x_m, y_m = to_mercator(unwrapped(lon[there], middle_lon), lat[there])
        span_m = max(float(np.ptp(x_m)), 1e-3), max(float(np.ptp(y_m)), 1e-3)
        px_m = max(max(span_m) / longest_px, min(span_m[0] / grid.width, span_m[1] / grid.height))
        # The edges may bow out a little between the points that were looked at.
        width, height = (max(1, math.ceil(span / px_m)) for span in span_m)
        return cls(float(x_m.min()), float(y_m.max()), px_m, height, width, middle_lon)

    @property
    def corners_lonlat(self) -> tuple[tuple[float, float], ...]:
        """Upper left, upper right, lower right and lower left, as MapLibre places a picture."""
        right_m, bottom_m = self.left_m + self.width * self.px_m, self.top_m - self.height * self.px_m
        x_m = np.array([self.left_m, right_m, right_m, self.left_m])
        lon, lat = from_mercator(x_m, np.array([self.top_m, self.top_m, bottom_m, bottom_m]))
        return tuple(zip(lon.tolist(), lat.tolist(), strict=True))

    def strips(self, grid: Grid) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Where the middles of the frame's pixels lie on a grid, some rows at a time.

        Args:
            grid: Whose pixels are meant.

        Yields:
            Which rows of the frame; and row and column of the grid (2, row, column), in fractions that count from
            its corner; far below 0 where a place is none of the grid's CRS.
        """
        place = self._placing(grid)
        cols, left, right = _nodes(0, self.width)
        for start in range(0, self.height, _STRIP_PX):
            stop = min(start + _STRIP_PX, self.height)
            rows, above, below = _nodes(start, stop)
            axes = []
            for nodes_hw in place(rows, cols):
                by_row_hw = nodes_hw[above] + below[:, None] * (nodes_hw[above + 1] - nodes_hw[above])
                axes.append(by_row_hw[:, left] + right * (by_row_hw[:, left + 1] - by_row_hw[:, left]))
            yield slice(start, stop), np.stack(axes)

    def _placing(
        self, grid: Grid
    ) -> Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """From rows and columns of the frame to rows and columns of a grid, both (row, column)."""
        crs = parse_crs(grid.crs)
        from_lonlat = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
        t = ~grid.transform

        def place(
            rows: NDArray[np.float64], cols: NDArray[np.float64]
        ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            x_m, y_m = np.meshgrid(self.left_m + cols * self.px_m, self.top_m - rows * self.px_m)
            lon, lat = from_mercator(x_m, y_m)
            if not crs.is_geographic:  # there, longitudes may go on beyond 180 as those of the frame do
                lon = unwrapped(lon, 0.0)
            x, y = from_lonlat.transform(lon, lat)
            placed = t.d * x + t.e * y + t.f, t.a * x + t.b * y + t.c
            row, col = (np.where(np.isfinite(axis), axis, _NOWHERE) for axis in placed)
            return row, col

        return place


def to_mercator(
    lon: NDArray[np.float64], lat: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places in Web Mercator in metres, each of the same shape (EPSG Guidance Note 7-2, section 3.2.1.2).

    Args:
        lon: Degrees (n,), also beyond 180.
        lat: Degrees (n,); what lies beyond the ends of web maps is moved there.
    """
    within = np.radians(np.clip(lat, -_MOST_LAT, _MOST_LAT))
    return _RADIUS_M * np.radians(lon), _RADIUS_M * np.arcsinh(np.tan(within))


def from_mercator(
    x_m: NDArray[np.float64], y_m: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude in degrees, each of the same shape: what `to_mercator` turns around.

    Args:
        x_m: Metres, of any shape.
        y_m: Metres, of the same shape.
    """
    return np.degrees(x_m / _RADIUS_M), np.degrees(np.arctan(np.sinh(y_m / _RADIUS_M)))


def unwrapped(lon: NDArray[np.float64], middle: float) -> NDArray[np.float64]:
    """Longitudes, of the same shape, within 180 degrees of a middle one.

    Args:
        lon: Degrees, of any shape.
        middle: Degrees.
    """
    return lon - 360 * np.round((lon - middle) / 360)


def _nodes(start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Nodes (n,) along an axis; of each pixel's middle the node before it (m,), and how far past that one (m,)."""
    count = max(2, math.ceil((stop - start) / _NODE_PX) + 1)
    nodes = np.linspace(start, stop, count)
    at = (np.arange(stop - start) + 0.5) / (nodes[1] - nodes[0])
    before = np.minimum(at.astype(np.int64), count - 2)
    return nodes, before, at - before
