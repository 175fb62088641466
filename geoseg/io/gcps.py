"""Scenes placed by ground control points only: polynomials between their pixels and the ground.

As GDAL does for such files (`GDALCreateGCPTransformer` without an order): of second order with six points or more,
else of first, least squares, for each direction by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.grid import Grid

_LEAST = 3
_LEAST_SECOND_ORDER = 6

_WELL_PLACED = 1e-6
"""Least ratio of the spreads of points; below it they lie on a line, or all but."""


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A polynomial of first or second order from a plane to a plane.

    Attributes:
        centre: What is taken off (u, v) before.
        scale: What it is divided by then.
        coefficients: Of 1, u, v[, u v, u u, v v], for each of the two results.
    """

    centre: tuple[float, float]
    scale: float
    coefficients: tuple[tuple[float, ...], tuple[float, ...]]

    @classmethod
    def fit(cls, from_uv: NDArray[np.float64], to_pq: NDArray[np.float64]) -> Self:
        """The least-squares polynomial from points (n, 2) to points (n, 2).

        Raises:
            ValueError: The points do not determine one: they lie on a line, or one curve.
        """
        centre = from_uv.mean(axis=0)
        scale = float(np.abs(from_uv - centre).max()) or 1.0
        terms = _terms((from_uv - centre) / scale, len(from_uv) >= _LEAST_SECOND_ORDER)
        found, _, rank, spreads = np.linalg.lstsq(terms, to_pq, rcond=None)
        if rank < terms.shape[1] or spreads[-1] < _WELL_PLACED * spreads[0]:
            raise ValueError("the points do not determine a polynomial")
        p, q = (tuple(float(value) for value in column) for column in found.T)
        return cls((float(centre[0]), float(centre[1])), scale, (p, q))

    def __call__(
        self, u: NDArray[np.float64], v: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Results (any shape) for places of the same shape."""
        u, v = (u - self.centre[0]) / self.scale, (v - self.centre[1]) / self.scale
        results = []
        for one, of_u, of_v, *rest in self.coefficients:
            result = one + of_u * u + of_v * v
            if rest:
                result = result + rest[0] * u * v + rest[1] * u * u + rest[2] * v * v
            results.append(result)
        return results[0], results[1]


def _terms(uv: NDArray[np.float64], second_order: bool) -> NDArray[np.float64]:  # says itself
    u, v = uv.T
    terms = [np.ones_like(u), u, v]
    if second_order:
        terms += [u * v, u * u, v * v]
    return np.column_stack(terms)


@dataclass(frozen=True, slots=True)
class GcpGrid(Grid):
    """The pixels of a file that ground control points place; `transform` is the affine that comes nearest.

    Attributes:
        to_ground: From (column, row) at pixel corners to the CRS's (x, y).
        to_pixel: From (x, y) to (column, row).
        error_px: Root of the mean square of how far the points lie from where `to_pixel` puts them.
    """

    to_ground: Polynomial
    to_pixel: Polynomial
    error_px: float


def gcp_grid(
    path: str, points: Sequence[tuple[float, float, float, float]], crs: str, height: int, width: int
) -> GcpGrid:
    """The pixels of a file from its ground control points.

    Args:
        path: The file, for messages.
        points: (row, column, x, y) of each.
        crs: The CRS of x and y.
        height: Rows of the file.
        width: Columns.

    Raises:
        SceneError: There are too few points, or they lie on a line.
    """
    if len(points) < _LEAST:
        raise SceneError(
            f"{path} has {len(points)} ground control point(s), which do not place it: expected {_LEAST} or more, "
            "or a geotransform"
        )
    rows, cols, x, y = np.array(points, np.float64).T
    pixel, ground = np.column_stack((cols, rows)), np.column_stack((x, y))
    try:
        to_ground, to_pixel = Polynomial.fit(pixel, ground), Polynomial.fit(ground, pixel)
    except ValueError as error:
        raise SceneError(
            f"{path} has {len(points)} ground control points that do not determine its place, such as points on "
            "one line: expected them spread over the image"
        ) from error
    apart = np.column_stack(to_pixel(x, y)) - pixel
    error_px = float(np.sqrt((apart**2).sum(axis=1).mean()))
    (a, b, c), (d, e, f) = _affine(to_ground, height, width)
    return GcpGrid(crs, Affine(a, b, c, d, e, f), height, width, to_ground, to_pixel, error_px)


def _affine(
    to_ground: Polynomial, height: int, width: int
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """The affine nearest to a polynomial over the pixels of a file."""
    cols, rows = (axis.ravel() for axis in np.meshgrid(np.linspace(0, width, 9), np.linspace(0, height, 9)))
    terms = np.column_stack((cols, rows, np.ones_like(cols)))
    x, y = np.linalg.lstsq(terms, np.column_stack(to_ground(cols, rows)), rcond=None)[0].T.tolist()
    return (x[0], x[1], x[2]), (y[0], y[1], y[2])
