"""An outline cut into walls, free lines and arcs: least squares with the fewest pieces. Compiled loops."""

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled

FREE, ARC = -1, -2
"""Kinds of pieces besides the walls of given directions, which are numbered from 0."""

FREE_COSTS, ARC_COSTS = 2.2, 3.5
"""Pieces with a direction of their own, and a middle and radius of their own, cost so many times as much as walls.
At twice the cost a free line across a notch never costs less than the notch's two walls."""

MOST_ARC, LEAST_ARC = 1.9 * np.pi, 0.25 * np.pi
"""What an arc turns, rad."""

LEAST_RADIUS_PX = 6.0
"""Smaller arcs are corners that the raster or the network rounded."""


@compiled
def cut(  # noqa: C901, PLR0912  # one loop, whose body shares its sums
    sums: NDArray[np.float64],
    points: NDArray[np.float64],
    directions: NDArray[np.float64],
    cost: float,
    stride: int,
    arcs: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """Cut a line of points into pieces, so that squared distances and the costs of pieces are least together.

    Dynamic programming over all places to cut (Bellman 1961, On the approximation of curves by line segments using
    dynamic programming); sums of stretches come from sums up to their ends, so that a piece is tried in constant
    time. No two walls of one direction follow each other. A wall leads on: from its first to its last point it
    covers at least half of what its points are worth.

    Args:
        sums: float64 (n + 1, 9), of `contours.sums`.
        points: float64 (n, 3), of `contours.sampled`.
        directions: float64 (d,); of the walls, rad.
        cost: Of a wall, px^2: so much must it save in squared distances.
        stride: Cuts lie at multiples of this.
        arcs: Whether arcs are tried.

    Returns:
        The kind of each piece, int64 (m,), FREE, ARC or the number of its direction; where each begins, int64 (m,);
        and the least sum.
    """
    n, d = len(points), len(directions)
    kinds = d + 2
    places = (n + stride - 1) // stride + 1
    least = np.full((places, kinds), np.inf)
    source, source_kind = np.zeros((places, kinds), np.int64), np.zeros((places, kinds), np.int64)
    # Of each place the kind of the best last piece, and the best that is of another kind.
    first, first_kind = np.full(places, np.inf), np.full(places, -1)
    second, second_kind = np.full(places, np.inf), np.full(places, -1)
    first[0] = second[0] = 0.0
    cos, sin = np.cos(directions), np.sin(directions)
    for here in range(1, places):
        stop = min(n, here * stride)
        for there in range(here - 1, -1, -1):
            begin = there * stride
            w = sums[stop, 0] - sums[begin, 0]
            x, y = sums[stop, 1] - sums[begin, 1], sums[stop, 2] - sums[begin, 2]
            xx = sums[stop, 3] - sums[begin, 3] - x * x / w
            xy = sums[stop, 4] - sums[begin, 4] - x * y / w
            yy = sums[stop, 5] - sums[begin, 5] - y * y / w
            straight = max(0.0, (xx + yy - np.sqrt((xx - yy) ** 2 + 4 * xy * xy)) / 2)
            enough = 3 * cost + 0.3 * w
            on_x, on_y = points[stop - 1, 0] - points[begin, 0], points[stop - 1, 1] - points[begin, 1]
            for kind in range(d):
                error = sin[kind] * sin[kind] * xx - 2 * sin[kind] * cos[kind] * xy + cos[kind] * cos[kind] * yy
                if abs(cos[kind] * on_x + sin[kind] * on_y) < 0.5 * w - 1.5:
                    continue
                same = first_kind[there] == kind
                total = (second[there] if same else first[there]) + error + cost
                if total < least[here, kind]:
                    least[here, kind], source[here, kind] = total, there
                    source_kind[here, kind] = second_kind[there] if same else first_kind[there]
            total = first[there] + straight + FREE_COSTS * cost
            if total < least[here, d]:
                least[here, d], source[here, d], source_kind[here, d] = total, there, first_kind[there]
            round_ = np.inf
            if arcs and straight > cost / 2 and w > 6:
                round_ = _arc_error(sums, begin, stop)
                total = first[there] + round_ + ARC_COSTS * cost
                if total < least[here, d + 1]:
                    least[here, d + 1], source[here, d + 1] = total, there
                    source_kind[here, d + 1] = first_kind[there]
            if straight > enough and round_ > enough:
                break
        for kind in range(kinds):
            if least[here, kind] < first[here]:
                second[here], second_kind[here] = first[here], first_kind[here]
                first[here], first_kind[here] = least[here, kind], kind
            elif least[here, kind] < second[here]:
                second[here], second_kind[here] = least[here, kind], kind
    kind_of, begin_of = _way_back(source, source_kind, first_kind[places - 1])
    for piece in range(len(kind_of)):
        begin_of[piece] *= stride
        if kind_of[piece] >= d:
            kind_of[piece] = FREE if kind_of[piece] == d else ARC
    return kind_of, begin_of, first[places - 1]


@compiled
def _way_back(
    source: NDArray[np.int64], source_kind: NDArray[np.int64], last: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Kinds and places (m,) of the pieces that led to the last place, from sources (n, m) and the last kind."""
    places = len(source)
    kinds, begins = np.empty(places, np.int64), np.empty(places, np.int64)
    count, place, kind = places, places - 1, last
    while place > 0:
        count -= 1
        kinds[count] = kind
        place, kind = source[place, kind], source_kind[place, kind]
        begins[count] = place
    return kinds[count:].copy(), begins[count:].copy()


@compiled
def circle(sums: NDArray[np.float64], begin: int, stop: int) -> tuple[float, float, float, float]:
    """The circle around points by Kasa's method (1976, A circle fitting procedure and its error analysis).

    Args:
        sums: float64 (n + 1, 9), of `contours.sums`.
        begin: The first point.
        stop: One after the last.

    Returns:
        Its middle x and y, its radius, 0 where there is none, and about how far the points are from it: the sum of
        squared distances.
    """
    w = sums[stop, 0] - sums[begin, 0]
    x, y = (sums[stop, 1] - sums[begin, 1]) / w, (sums[stop, 2] - sums[begin, 2]) / w
    raw_xx, raw_yy = sums[stop, 3] - sums[begin, 3], sums[stop, 5] - sums[begin, 5]
    xx, yy = raw_xx - w * x * x, raw_yy - w * y * y
    xy = sums[stop, 4] - sums[begin, 4] - w * x * y
    z = (raw_xx + raw_yy) / w
    xz = sums[stop, 6] - sums[begin, 6] - w * x * z
    yz = sums[stop, 7] - sums[begin, 7] - w * y * z
    zz = sums[stop, 8] - sums[begin, 8] - w * z * z
    det = xx * yy - xy * xy
    if det <= 1e-9 * (xx + yy) ** 2:
        return 0.0, 0.0, 0.0, np.inf
    a, b = (xz * yy - yz * xy) / det, (yz * xx - xz * xy) / det
    square = z - a * x - b * y + (a * a + b * b) / 4
    if square <= 0:
        return 0.0, 0.0, 0.0, np.inf
    error = max(0.0, zz - a * xz - b * yz) / (4 * square)
    return a / 2, b / 2, np.sqrt(square), error


@compiled
def _arc_error(sums: NDArray[np.float64], begin: int, stop: int) -> float:
    """The squared distances of points from an arc, infinite where they are none."""
    _, _, radius, error = circle(sums, begin, stop)
    if radius < LEAST_RADIUS_PX:
        return np.inf
    turns = (sums[stop, 0] - sums[begin, 0]) / radius
    # What is along a staircase is up to sqrt(2) times what is along the line.
    if turns < LEAST_ARC or turns > 1.4 * MOST_ARC:
        return np.inf
    return error


@compiled
def ellipse_error(
    points: NDArray[np.float64], middle_x: float, middle_y: float, xx: float, yy: float, xy: float
) -> float:
    """Squared distances of the points of a ring from the ellipse of the same middle and second moments.

    An ellipse with half axis a has a variance of a^2 / 4 along it. Distances are to first order (Sampson 1982,
    Fitting conic sections to very scattered data).

    Args:
        points: float64 (n, 3), of `contours.sampled`.
        middle_x: Of the inside, as `contours.area_moments` gives it.
        middle_y: Likewise.
        xx: Variance of x over the inside.
        yy: Variance of y.
        xy: Covariance.

    Returns:
        The sum, px^2; infinite for rings without an area.
    """
    xx, yy, xy = 4 * xx, 4 * yy, 4 * xy
    det = xx * yy - xy * xy
    if det <= 0 or xx <= 0:
        return np.inf
    total = 0.0
    for i in range(len(points)):
        x, y = points[i, 0] - middle_x, points[i, 1] - middle_y
        to_x, to_y = (yy * x - xy * y) / det, (xx * y - xy * x) / det
        value = x * to_x + y * to_y - 1
        slope = 4 * (to_x * to_x + to_y * to_y)
        total += points[i, 2] * (value * value / slope if slope > 0 else xx)
    return total
