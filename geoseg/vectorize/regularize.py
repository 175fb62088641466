"""Buildings with straight walls and right angles, from the outlines of their pixels."""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.io.layers import Outcome
from geoseg.vectorize.contours import (
    area_moments,
    deviation,
    in_order,
    sampled,
    sums,
    turned,
    turned_back,
    usual_way,
)
from geoseg.vectorize.corners import closed, corners, from_a_cut
from geoseg.vectorize.orientation import directions_of, orientations, stride_of, wall_cost
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.walls import cut, ellipse_error

MOST_VERTICES_PX = 2**16
"""Outlines longer than this are no buildings, and stay as they are."""

_FINER = 0.6  # of the detail, where the coarser shape is refused
_STEP_PX = 1 / 1024  # of coordinates: the same building elsewhere gets the same corners
_ROUND_POINTS = 30


@dataclass(frozen=True, slots=True)
class Regularization:
    """How much a building may change.

    Attributes:
        min_iou: What it and its original have in common at least, of what they cover together.
        max_deviation_px: How far points of one outline are from the other at most (Hausdorff), pixels.
        detail_px: The least side of a notch or wing that is kept, pixels.
        jog_px: Walls shorter than this are left out where what they join leads on, pixels.
        min_hole_px2: Smaller holes are filled, square pixels; 0 keeps all.
    """

    min_iou: float = 0.7
    max_deviation_px: float = 4.0
    detail_px: float = 3.0
    jog_px: float = 2.0
    min_hole_px2: float = 9.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_iou <= 1:
            raise ValueError(f"min_iou is a share, 0 to 1, not {self.min_iou}")
        for name in ("max_deviation_px", "detail_px", "jog_px"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")


def regularize(
    polygons: NDArray[np.object_], options: Regularization | None = None
) -> tuple[NDArray[np.object_], NDArray[np.uint8]]:
    """Straighten the walls of buildings, each by itself.
    """
    options = options or Regularization()
    count = len(polygons)
    result, outcome = polygons.copy(), np.zeros(count, np.uint8)
    left = np.arange(count)
    for detail_px in (options.detail_px, _FINER * options.detail_px):
        shaped, why = _shaped(polygons[left], detail_px, options)
        outcome[left] = why
        kept = why == Outcome.REGULARIZED
        result[left[kept]] = shaped[kept]
        left = left[np.isin(why, (Outcome.UNCHANGED_IOU, Outcome.UNCHANGED_DEVIATION, Outcome.UNCHANGED_INVALID))]
        if len(left) == 0:
            break
    return result, outcome


def _shaped(
    polygons: NDArray[np.object_], detail_px: float, options: Regularization
) -> tuple[NDArray[np.object_], NDArray[np.uint8]]:
    """What each polygon (n,) would become, and whether it may."""
    rings = Rings.of(polygons)
    xy = rings.xy.astype(np.float64)
    sizes, stop_ring = rings.size.astype(np.int64), np.cumsum(rings.count)
    start = np.concatenate((rings.start, [len(xy)]))
    shaped, why = polygons.copy(), np.full(len(polygons), Outcome.REGULARIZED, np.uint8)
    far = np.zeros(len(polygons))
    lengths = shapely.length(polygons)
    for i, (stop, number) in enumerate(zip(stop_ring.tolist(), rings.count.tolist(), strict=True)):
        if lengths[i] > MOST_VERTICES_PX:
            why[i] = Outcome.UNCHANGED_TOO_LONG
            continue
        first = stop - number
        own, size = xy[start[first] : start[stop]], sizes[first:stop]
        new_xy, new_size, is_round = fit_polygon(own, size, wall_cost(detail_px), options.jog_px, options.min_hole_px2)
        if is_round:
            why[i] = Outcome.UNCHANGED_ROUND
            continue
        if new_size.min() < 3:
            why[i] = Outcome.UNCHANGED_INVALID
            continue
        shaped[i] = Rings(new_xy, new_size, np.array([len(new_size)])).polygons()[0]
        far[i] = max(deviation(own, size, new_xy, new_size), deviation(new_xy, new_size, own, size))
    changed = why == Outcome.REGULARIZED
    valid = shapely.is_valid(shaped)
    why[changed & ~valid] = Outcome.UNCHANGED_INVALID
    changed &= valid
    common = shapely.area(shapely.intersection(shaped[changed], polygons[changed]))
    together = shapely.area(shaped[changed]) + shapely.area(polygons[changed]) - common
    iou = np.ones(len(polygons))
    iou[changed] = common / together
    why[far > options.max_deviation_px] = Outcome.UNCHANGED_DEVIATION
    why[iou < options.min_iou] = Outcome.UNCHANGED_IOU
    why[changed & ~valid] = Outcome.UNCHANGED_INVALID
    return shaped, why


def fit_polygon(
    xy: NDArray[np.float64], size: NDArray[np.int64], cost: float, jog_px: float, min_hole_px2: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], bool]:
    """Rings of walls that fit those of a polygon.

    Args:
        xy: float64 (vertex, 2), ring by ring, not closed, the exterior first.
        size: int64 (r,); vertices of each.
        cost: Of a wall, px^2.
        jog_px: As of `Regularization`.

    Returns:
        The rings likewise, a size of 0 where none was found; and whether it is round, when nothing is.
    """
    way = usual_way(xy)
    own = turned(xy, way)
    corner = np.floor(own.min(axis=0))
    # About (0, 0), so that squares of coordinates stay small.
    half = np.rint((own.max(axis=0) - corner) / 2)
    own -= corner + half
    rings = np.split(own, np.cumsum(size)[:-1])
    exterior = in_order(rings[0])
    angles, points, kind, begin, total = orientations(exterior, cost)
    if len(points) >= _ROUND_POINTS and ellipse_error(points, *area_moments(exterior)[1:]) + 4 * cost < total:
        return own[:0], size[:0], True
    shapes = [_shape(exterior, points, kind, begin, angles, jog_px)]
    for ring in rings[1:]:
        hole = in_order(ring)
        if area_moments(hole)[0] < min_hole_px2:
            continue
        points = sampled(hole, 1.0)
        stride = stride_of(points)
        points, _ = from_a_cut(points, cost / 2, stride)
        kind, begin, _ = cut(sums(points), points, directions_of(angles), cost, stride, True)
        shapes.append(_shape(hole, points, kind, begin, angles, jog_px))
    placed = np.rint((np.concatenate(shapes) + half) / _STEP_PX) * _STEP_PX + corner
    return turned_back(placed, way), np.array([len(shape) for shape in shapes]), False


def _shape(
    xy: NDArray[np.float64],
    points: NDArray[np.float64],
    kind: NDArray[np.int64],
    begin: NDArray[np.int64],
    angles: NDArray[np.float64],
    jog_px: float,
) -> NDArray[np.float64]:
    """The ring (n, 2) of the pieces of one (vertex, 2), or the rectangle of its area where it is too small for it."""
    points, kind, begin = closed(points, kind, begin)
    if len(kind) >= 3:
        shape = corners(points, kind, begin, angles, jog_px)
        if len(shape) >= 4:
            return shape
    return _rectangle(xy, angles[0])


def _rectangle(ring: NDArray[np.float64], angle: float) -> NDArray[np.float64]:
    """The rectangle (4, 2) of a ring's (vertex, 2) area, middle and proportions of variances, at an angle."""
    area, x, y, xx, yy, xy = area_moments(ring)
    way = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    variances = np.diag(way @ np.array([[xx, xy], [xy, yy]]) @ way.T)
    ratio = (variances[0] / variances[1]) ** 0.25
    halves = math.sqrt(area) / 2 * np.array([ratio, 1 / ratio])
    return np.array([x, y]) + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * halves @ way
