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
from geoseg.vectorize.orientation import DETAIL_PX, directions_of, orientations, stride_of, wall_cost
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.walls import ARC, cut, ellipse_error

MOST_VERTICES = 2**16
"""Outlines with more are no buildings, and stay as they are."""

_FINER = (1.0, 0.6, 0.35)  # of the detail: tried in turn while the shape is refused
_DETAIL_OF_SIDE, _MOST_DETAIL = 0.12, 1.7  # larger buildings have larger details, and larger bumps
_STEP_PX = 1 / 1024  # of coordinates: the same building elsewhere gets the same corners
_ROUND_POINTS = 50  # smaller circles are hardly told from squares
_ROUNDER = 0.6  # of the error of a rectangle: networks round corners
_ROUND_ERROR_PX2 = 0.4  # mean square; that of a rasterized circle is 0.06, with one in ten pixels turned over 0.25


_REFUSED = (Outcome.UNCHANGED_IOU, Outcome.UNCHANGED_DEVIATION, Outcome.UNCHANGED_INVALID)


@dataclass(frozen=True, slots=True)
class Regularization:
    """How much a building may change.

    Attributes:
        min_iou: What it and its original have in common at least, of what they cover together.
        max_deviation_px: How far points of one outline are from the other at most (Hausdorff), pixels.
        detail_px: The least side of a notch or wing that is kept, pixels; up to 1.7 times that in larger buildings.
        jog_px: Walls shorter than this are left out where what they join leads on, pixels.
        min_hole_px2: Smaller holes are filled, square pixels; 0 keeps all.
    """

    min_iou: float = 0.7
    max_deviation_px: float = 4.0
    detail_px: float = DETAIL_PX
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

    Each outline is cut into pieces by dynamic programming (`walls.cut`): walls along and across one or two
    orientations, lines of other directions, and arcs. Lines and circles are fitted to the pieces by reweighted
    least squares; where they meet are the corners. Holes get the orientations of their exterior. What is too small
    for walls becomes the rectangle of its area and second moments. Ellipses stay as they are.

    What comes of it is accepted when it is valid and within the bounds of the options; else the same is tried with
    smaller details; else the polygon stays as it was. Buildings moved by whole pixels give the same moved, and
    buildings turned by 90 degrees or mirrored the same turned or mirrored, unless they are their own mirror images.

    Args:
        polygons: Polygons (n,) in pixel coordinates, x = column and y = row, valid and none of them empty. Exact
            outlines of pixels are best: their sides lie to both sides of the line that was rasterized. Simplified
            ones will do.
        options: Bounds and sizes; None for the defaults.

    Returns:
        Polygons (n,), valid, none of them empty, the very ones that were given where they stay; and the `Outcome`
        of each, uint8 (n,).
    """
    options = options or Regularization()
    result, outcome = polygons.copy(), np.zeros(len(polygons), np.uint8)
    left = np.arange(len(polygons))
    for finer in _FINER:
        shaped, outcome[left] = _shaped(polygons[left], finer * options.detail_px, options)
        kept = outcome[left] == Outcome.REGULARIZED
        result[left[kept]] = shaped[kept]
        left = left[np.isin(outcome[left], _REFUSED)]
    return result, outcome


def _shaped(
    polygons: NDArray[np.object_], detail_px: float, options: Regularization
) -> tuple[NDArray[np.object_], NDArray[np.uint8]]:
    """What each polygon (n,) would become, and whether it may."""
    filled = _filled(polygons, options.min_hole_px2)
    rings = Rings.of(filled)
    xy, sizes = rings.xy.astype(np.float64), rings.size.astype(np.int64)
    start, stops = np.append(rings.start, len(xy)), np.cumsum(rings.count)
    shaped, outcome = polygons.copy(), np.full(len(polygons), Outcome.REGULARIZED, np.uint8)
    far_px = np.zeros(len(polygons))
    larger = np.clip(_DETAIL_OF_SIDE * np.sqrt(shapely.area(filled)) / options.detail_px, 1, _MOST_DETAIL)
    for i, (stop, count) in enumerate(zip(stops.tolist(), rings.count.tolist(), strict=True)):
        own, size = xy[start[stop - count] : start[stop]], sizes[stop - count : stop]
        if len(own) > MOST_VERTICES:
            outcome[i] = Outcome.UNCHANGED_TOO_LONG
            continue
        new_xy, new_size, is_round = fit_polygon(own, size, wall_cost(larger[i] * detail_px), options.jog_px)
        if is_round:
            outcome[i] = Outcome.UNCHANGED_ROUND
            continue
        shape = Rings(new_xy, new_size, np.array([count])).polygons()[0]
        if not shapely.is_valid(shape):
            shape = _mended(shape, detail_px**2)
            if shape is None:
                outcome[i] = Outcome.UNCHANGED_INVALID
                continue
            mended = Rings.of(np.array([shape], object))
            new_xy, new_size = mended.xy, mended.size
        shaped[i] = shape
        far_px[i] = max(deviation(own, size, new_xy, new_size), deviation(new_xy, new_size, own, size))
    outcome[far_px > options.max_deviation_px] = Outcome.UNCHANGED_DEVIATION
    open_ = np.flatnonzero(outcome == Outcome.REGULARIZED)
    share = _common_share(polygons[open_], filled[open_], shaped[open_], far_px[open_], options.min_iou)
    outcome[open_[share < options.min_iou]] = Outcome.UNCHANGED_IOU
    return shaped, outcome


def _filled(polygons: NDArray[np.object_], min_hole_px2: float) -> NDArray[np.object_]:
    """The polygons (n,) without holes of less than an area."""
    filled = polygons.copy()
    for i in np.flatnonzero(shapely.get_num_interior_rings(polygons)):
        exterior, *holes = shapely.get_rings(polygons[i])
        wide = shapely.area(shapely.polygons(holes)) >= min_hole_px2
        filled[i] = shapely.Polygon(exterior, [hole for hole, keep in zip(holes, wide, strict=True) if keep])
    return filled


def _mended(shape: shapely.Polygon, loops_px2: float) -> shapely.Polygon | None:
    """A shape without the small loops where walls cross near a corner; None where it is not one with its holes."""
    parts = shapely.get_parts(shapely.make_valid(shape, method="structure"))
    area = shapely.area(parts)
    largest = parts[np.argmax(area)]
    same_holes = shapely.get_num_interior_rings(largest) == shapely.get_num_interior_rings(shape)
    return largest if same_holes and area.sum() - area.max() <= loops_px2 and area.max() > 0 else None


def _common_share(
    polygons: NDArray[np.object_],
    filled: NDArray[np.object_],
    shaped: NDArray[np.object_],
    far_px: NDArray[np.float64],
    enough: float,
) -> NDArray[np.float64]:
    """Intersection over union of polygons and their shapes (n,), or what it is at least where that is enough.

    Where outlines lie within a distance of one another, what only one of two polygons covers lies within it of the
    outline: no more than twice the distance times the length, and a circle around the ends. An overlay takes longer
    than all else.
    """
    area, other = shapely.area(polygons), shapely.area(shaped)
    strip = 2 * far_px * shapely.length(filled) + np.pi * far_px**2 + shapely.area(filled) - area
    share = np.maximum(0.0, (np.minimum(area, other) - strip) / (np.maximum(area, other) + strip))
    unsure = np.flatnonzero(share < enough)
    common = shapely.area(shapely.intersection(polygons[unsure], shaped[unsure]))
    share[unsure] = common / (area[unsure] + other[unsure] - common)
    return share


def fit_polygon(
    xy: NDArray[np.float64], size: NDArray[np.int64], cost: float, jog_px: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], bool]:
    """Rings of walls that fit those of a polygon.

    Args:
        xy: float64 (vertex, 2), ring by ring, not closed, the exterior first.
        size: int64 (r,); vertices of each.
        cost: Of a wall, px^2.
        jog_px: As of `Regularization`.

    Returns:
        The rings likewise, (n, 2) and (r,); and whether it is round, when there are none.
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
    if _is_round(exterior, points, kind, total, cost):
        return own[:0], size[:0], True
    shapes = [_shape(exterior, points, kind, begin, angles, jog_px)]
    for ring in rings[1:]:
        hole = in_order(ring)
        points = sampled(hole, 1.0)
        stride = stride_of(points)
        points, _ = from_a_cut(points, cost / 2, stride)
        kind, begin, _ = cut(sums(points), points, directions_of(angles), cost, stride, True)
        shapes.append(_shape(hole, points, kind, begin, angles, jog_px))
    placed = np.rint((np.concatenate(shapes) + half) / _STEP_PX) * _STEP_PX + corner
    return turned_back(placed, way), np.array([len(shape) for shape in shapes]), False


def _is_round(
    ring: NDArray[np.float64], points: NDArray[np.float64], kind: NDArray[np.int64], total: float, cost: float
) -> bool:
    """Whether a ring (vertex, 2) is one arc, or better an ellipse, at the cost of a rectangle, than its pieces."""
    if len(points) < _ROUND_POINTS:
        return False
    if len(kind) < 3 and (kind == ARC).any():
        return True
    error = ellipse_error(points, *area_moments(ring)[1:])
    return error <= _ROUND_ERROR_PX2 * len(points) and error / _ROUNDER + 4 * cost < total


def _shape(
    xy: NDArray[np.float64],
    points: NDArray[np.float64],
    kind: NDArray[np.int64],
    begin: NDArray[np.int64],
    angles: NDArray[np.float64],
    jog_px: float,
) -> NDArray[np.float64]:
    """The ring (n, 2) of the pieces of one (vertex, 2), or the rectangle of its area where that is too small."""
    points, kind, begin = closed(points, kind, begin)
    if len(kind) >= 3:
        shape = corners(points, kind, begin, angles, jog_px)
        if len(shape) >= 3:
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
