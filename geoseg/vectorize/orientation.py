"""The main orientations of a building: the directions of its walls, where across counts as along."""

import math

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vectorize.contours import area_moments, in_order, sampled, sums, turned, usual_way
from geoseg.vectorize.corners import fit, from_a_cut
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.walls import cut

DETAIL_PX = 2.7
"""The least side of what counts in a building of few pixels."""

_FEW_POINTS = 40
_EQUAL = 1e-6  # px^2; what rounding makes of equal sums
_BLUR = math.radians(3)
_TWO_APART = math.pi / 12  # rad; two orientations nearer to one another are one, and noise


def wall_cost(detail_px: float) -> float:
    """What a wall costs so that a notch of this side is worth its two, px^2.

    Leaving out a square notch of side s costs 2/3 s^3 in squared distances, and saves two walls.
    """
    return detail_px**3 / 3


def main_orientation(polygon: shapely.Polygon) -> float:
    """The orientation of most of a polygon's walls.

    That of the right-angled outline that fits best, as for `regularize`: each angle that many pieces of the outline
    have is tried. What is round has none; what comes then is that of its longest piece.

    Args:
        polygon: In units in which details of 3 count, as in pixels; exact outlines of pixels, or lines.

    Returns:
        Degrees from x towards y, 0 <= a < 90.

    Raises:
        ValueError: The polygon is empty.
    """
    if polygon.is_empty:
        raise ValueError("a polygon without points has no orientation")
    rings = Rings.of(np.array([polygon], object))
    xy = rings.xy.astype(np.float64)
    # As regularize does it: a mirrored polygon has the mirrored orientation, to the last bits.
    way = usual_way(xy)
    exterior = turned(xy[: rings.size[0]] - xy.min(axis=0), way)
    angles = orientations(in_order(exterior), wall_cost(DETAIL_PX))[0]
    cos, sin = math.cos(angles[0]), math.sin(angles[0])
    if way & 4:
        cos, sin = sin, cos
    cos, sin = (-cos if way & 1 else cos), (-sin if way & 2 else sin)
    degrees = math.degrees(math.atan2(sin, cos)) % 90
    return degrees if degrees < 90 else 0.0  # a tiny negative angle is 90 after the division


def stride_of(points: NDArray[np.float64]) -> int:
    """How many points (n, 3) apart cuts are tried: long outlines have long walls."""
    return min(4, max(1, len(points) // 150))


def orientations(
    exterior: NDArray[np.float64], cost: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], float]:
    """The one or two orientations with which walls fit an outline best, and these walls.

    Args:
        exterior: float64 (vertex, 2), about (0, 0), in order.
        cost: Of a wall, px^2.

    Returns:
        Angles from x to y, float64 (k,), rad, in [0, pi / 2), that of the longer walls first; points of the
        outline, float64 (n, 3); their pieces as `walls.cut` gives them, int64 (m,) twice; and the sum of squared
        distances and of the costs of pieces.
    """
    points = sampled(exterior, 1.0)
    stride = stride_of(points)
    points, free = from_a_cut(points, cost / 2, stride)
    upto = sums(points)
    tried = frequent = _frequent(free)
    if len(points) < _FEW_POINTS:
        # Few points tell little: the grid's own orientation, and that of the inside, are tried too.
        *_, xx, yy, xy = area_moments(exterior)
        tried = np.append(frequent, [0.0, math.atan2(2 * xy, xx - yy) / 2 % (math.pi / 2)])
    best, least = tried[:1], math.inf
    for angle in tried:
        angles, total = _fitted(points, upto, np.array([angle]), cost, stride)
        if total < least - _EQUAL:
            best, least = angles, total
    for angle in frequent[abs(_apart(frequent, best[0])) > _TWO_APART]:
        angles, total = _fitted(points, upto, np.array([best[0], angle]), cost, stride)
        if total + 2 * cost < least - _EQUAL:
            best, least = angles, total + 2 * cost
    kind, begin, total = cut(upto, points, directions_of(best), cost, stride, True)
    return best, points, kind, begin, total


def _frequent(free: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles (k,) that many lines (n, 2), of some angle and length, have; at most three."""
    angle, length = free[:, 0], free[:, 1]
    # How much of the outline runs along each degree, within some 3 degrees.
    degrees = np.deg2rad(np.arange(90.0))
    density = np.exp(-0.5 * (_apart(degrees[:, None], angle) / _BLUR) ** 2) @ length
    found: list[float] = []
    enough = 0.25 * density.max()
    while len(found) < 3:
        top = degrees[np.argmax(density)]
        if density.max() <= enough:
            break
        near = abs(_apart(angle, top)) < 2.5 * _BLUR
        by = np.average(_apart(angle[near], top), weights=length[near]) if near.any() else 0.0
        found.append((top + by) % (np.pi / 2))
        density[abs(_apart(degrees, top)) < 3 * _BLUR] = 0
    return np.array(found)


def _apart(one: NDArray[np.float64], other: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """From one angle to another, rad (n,), where across counts as along: one - other, pi / 4 at most."""
    off = one - other
    return off - np.rint(off / (np.pi / 2)) * (np.pi / 2)


def directions_of(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along and across each orientation (n,): float64 (m,)."""
    return (angles[:, None] + np.array([0, np.pi / 2])).reshape(-1)


def _fitted(
    points: NDArray[np.float64], upto: NDArray[np.float64], angles: NDArray[np.float64], cost: float, stride: int
) -> tuple[NDArray[np.float64], float]:
    """Cut into walls at angles (k,), and turn them to fit: angles (k,), longer walls first, and the least sum."""
    kind, begin, total = cut(upto, points, directions_of(angles), cost, stride, False)
    angles, _ = fit(points, kind, begin, angles, 4)
    of_walls = kind >= 0
    length = np.bincount(kind[of_walls] // 2, np.diff(begin, append=len(points))[of_walls], len(angles))
    return angles[np.argsort(-length, kind="stable")] % (np.pi / 2), total
