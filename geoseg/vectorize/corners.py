"""Corners from the pieces of an outline: lines fitted to its points, and where they meet."""

import math

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled
from geoseg.vectorize.contours import rolled, sums
from geoseg.vectorize.walls import ARC, FREE, FREE_COSTS, circle, cut

STEADY_PX = 0.7
"""Points farther than this from their wall count for less: bumps and bites do not draw it."""

SLANT = 0.4
"""Sine of the least angle at which lines meet in a corner."""

REACH_PX = 4.0
"""A corner lies this near to where its pieces were cut."""

SAGITTA_PX = 0.1
"""How far the chords of an arc are from it."""

_SAME_PX = 1e-9


def from_a_cut(
    points: NDArray[np.float64], cost: float, stride: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A ring from a corner on, and the straight lines around it.

    A ring is cut as a line from the point farthest from its middle, which is a corner as a rule. Where the longest
    line but the first and last ends is one by all that is known: no seam is near.

    Args:
        points: float64 (n, 3), of `contours.sampled`, about (0, 0).
        cost: Of a line, px^2.
        stride: Cuts lie at multiples of this.

    Returns:
        The same points, float64 (n, 3); and of each line the angle, rad, in [0, pi / 2), across counting as along,
        and its length, float64 (n, 2).
    """
    away = ((points[:, :2] - points[:, :2].mean(axis=0)) ** 2).sum(axis=1)
    points = rolled(points, int(np.argmax(away > away.max() - 1e-9)))
    none = np.empty(0)
    kind, begin, _ = cut(sums(points), points, none, cost / FREE_COSTS, stride, False)
    _, lines = fit(points, kind, begin, none, 0)
    length = np.diff(begin, append=len(points))
    inner = length[1:-1]
    start = begin[2 + np.argmax(inner)] if len(inner) else begin[-1]
    free = np.column_stack((np.arctan2(lines[:, 1], lines[:, 0]) % (np.pi / 2), length))
    return rolled(points, start), free


def closed(
    points: NDArray[np.float64], kind: NDArray[np.int64], begin: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Points (n, 3), kinds and beginnings of pieces (m,), where the first and the last piece are no one wall."""
    if len(kind) < 3 or kind[0] != kind[-1] or kind[0] < 0:
        return points, kind, begin
    start = begin[-1]
    begin = begin[:-1] + (len(points) - start)
    begin[0] = 0
    return rolled(points, start), kind[:-1].copy(), begin


@compiled
def fit(
    points: NDArray[np.float64],
    kind: NDArray[np.int64],
    begin: NDArray[np.int64],
    angles: NDArray[np.float64],
    rounds: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit lines and circles to the points of pieces by least squares, iteratively reweighted (Huber 1964).

    The walls of one orientation turn together: their scatter, that of every other one turned by 90 degrees, is
    summed, and its long axis is the orientation.

    Args:
        points: float64 (n, 3), of `contours.sampled`, from where a piece begins.
        kind: int64 (m,); wall 2 k runs at angle k, wall 2 k + 1 across it.
        begin: int64 (m,); from 0.
        angles: float64 (k,), rad.
        rounds: How often angles are fitted; 0 keeps them.

    Returns:
        The angles, float64 (k,); and of each piece the way it runs in x and y, a point on it, and 0; of an arc
        what it turns in rad, 0, its middle, and its radius, float64 (m, 5).
    """
    count, n = len(kind), len(points)
    angles = angles.copy()
    lines = np.zeros((count, 5))
    scatter = np.empty((count, 3))
    trust = np.ones(n)
    for round_ in range(rounds + 4):
        for piece in range(count):
            stop = begin[piece + 1] if piece + 1 < count else n
            trimmed = min(2, (stop - begin[piece]) // 5)
            w = x = y = xx = xy = yy = 0.0
            for i in range(begin[piece] + trimmed, stop - trimmed):
                t = trust[i] * points[i, 2]
                w += t
                x += t * points[i, 0]
                y += t * points[i, 1]
                xx += t * points[i, 0] * points[i, 0]
                xy += t * points[i, 0] * points[i, 1]
                yy += t * points[i, 1] * points[i, 1]
            x, y = x / w, y / w
            lines[piece, 2], lines[piece, 3] = x, y
            scatter[piece, 0], scatter[piece, 1], scatter[piece, 2] = xx - w * x * x, xy - w * x * y, yy - w * y * y
        if 0 < round_ <= rounds:
            _turn(kind, scatter, angles)
        for piece in range(count):
            stop = begin[piece + 1] if piece + 1 < count else n
            if kind[piece] == ARC:
                own = points[begin[piece] : stop]
                x, y, radius, _ = circle(sums(own), 0, len(own))
                lines[piece, 0] = _swept(own, x, y)
                lines[piece, 2], lines[piece, 3], lines[piece, 4] = x, y, radius
                continue
            if kind[piece] == FREE:
                angle = np.arctan2(2 * scatter[piece, 1], scatter[piece, 0] - scatter[piece, 2]) / 2
            else:
                angle = angles[kind[piece] // 2] + (kind[piece] % 2) * np.pi / 2
            cos, sin = np.cos(angle), np.sin(angle)
            after, before = stop % n, begin[piece] - 1
            on = (points[after, 0] - points[before, 0]) * cos + (points[after, 1] - points[before, 1]) * sin
            sense = 1.0 if on >= 0 else -1.0
            lines[piece, 0], lines[piece, 1] = sense * cos, sense * sin
            for i in range(begin[piece], stop):
                off = (points[i, 1] - lines[piece, 3]) * cos - (points[i, 0] - lines[piece, 2]) * sin
                trust[i] = 1.0 if abs(off) <= STEADY_PX else STEADY_PX / abs(off)
    return angles, lines


@compiled
def _swept(points: NDArray[np.float64], x: float, y: float) -> float:
    """By how much points (n, 2) turn about another, rad, from the first to the last."""
    total = 0.0
    for i in range(1, len(points)):
        x0, y0, x1, y1 = points[i - 1, 0] - x, points[i - 1, 1] - y, points[i, 0] - x, points[i, 1] - y
        total += np.arctan2(x0 * y1 - x1 * y0, x0 * x1 + y0 * y1)
    return total


@compiled
def _turn(kind: NDArray[np.int64], scatter: NDArray[np.float64], angles: NDArray[np.float64]) -> None:
    """Turn each angle (k,) to the long axis of the scatter (m, 3) of its walls, in place."""
    for k in range(len(angles)):
        xx = xy = yy = 0.0
        for piece in range(len(kind)):
            if kind[piece] == 2 * k:
                xx, xy, yy = xx + scatter[piece, 0], xy + scatter[piece, 1], yy + scatter[piece, 2]
            elif kind[piece] == 2 * k + 1:
                xx, xy, yy = xx + scatter[piece, 2], xy - scatter[piece, 1], yy + scatter[piece, 0]
        by = np.arctan2(2 * xy, xx - yy) / 2 - angles[k]
        by -= np.rint(by / np.pi) * np.pi
        # A long axis far from what the walls were cut for is that of walls too short to have one.
        if abs(by) < np.pi / 12 and xx + yy > 0:
            angles[k] += by


def corners(
    points: NDArray[np.float64],
    kind: NDArray[np.int64],
    begin: NDArray[np.int64],
    angles: NDArray[np.float64],
    jog_px: float,
) -> NDArray[np.float64]:
    """The ring of the pieces: their lines fitted, short ones dropped one by one, neighbours joined where they meet.

    Args:
        points: float64 (n, 3), of `contours.sampled`, from where a piece begins.
        kind: int64 (m,); as for `fit`.
        begin: int64 (m,).
        angles: float64 (k,), rad.
        jog_px: Pieces shorter than this are dropped where what they join leads on.

    Returns:
        float64 (vertex, 2), not closed; empty where a piece runs backwards.
    """
    while True:
        _, lines = fit(points, kind, begin, angles, 0)
        ends = _joints(points, begin, lines)
        along = ((np.roll(ends[:, :2], -1, axis=0) - ends[:, 2:]) * lines[:, :2]).sum(axis=1)
        length = np.where(kind == ARC, np.inf, along)
        short = np.where(_leads_on(kind, lines), length, np.inf)
        drop = int(np.argmin(short))
        if len(kind) <= 4 or short[drop] >= jog_px:
            break
        points, kind, begin = _without(points, kind, begin, drop)
    if length.min() <= 0:
        return np.empty((0, 2))
    return _ring(kind, lines, ends)


@compiled
def _joints(
    points: NDArray[np.float64], begin: NDArray[np.int64], lines: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of each cut, (m, 4): the end of the piece before it, and the beginning of the piece that begins there."""
    ends = np.empty((len(lines), 4))
    for piece in range(len(lines)):
        i = begin[piece]
        x, y = (points[i - 1, 0] + points[i, 0]) / 2, (points[i - 1, 1] + points[i, 1]) / 2
        _join(lines[piece - 1], lines[piece], x, y, ends[piece])
    return ends


@compiled
def _join(
    before: NDArray[np.float64], after: NDArray[np.float64], at_x: float, at_y: float, out: NDArray[np.float64]
) -> None:
    """Write where a piece ends and the next begins, (4,): where they meet near the cut, else nearest to it."""
    out[0], out[1] = _nearest(before, at_x, at_y)
    out[2], out[3] = _nearest(after, at_x, at_y)
    x = y = np.inf
    if before[4] == 0 and after[4] == 0:
        sine = before[0] * after[1] - before[1] * after[0]
        if abs(sine) >= SLANT:
            along = ((after[2] - before[2]) * after[1] - (after[3] - before[3]) * after[0]) / sine
            x, y = before[2] + along * before[0], before[3] + along * before[1]
    elif before[4] == 0 or after[4] == 0:
        line, arc = (before, after) if before[4] == 0 else (after, before)
        middle = (arc[2] - line[2]) * line[0] + (arc[3] - line[3]) * line[1]
        foot_x, foot_y = line[2] + middle * line[0], line[3] + middle * line[1]
        half = arc[4] ** 2 - (foot_x - arc[2]) ** 2 - (foot_y - arc[3]) ** 2
        if half >= 0:
            here = (at_x - foot_x) * line[0] + (at_y - foot_y) * line[1]
            along = np.sqrt(half) if here >= 0 else -np.sqrt(half)
            x, y = foot_x + along * line[0], foot_y + along * line[1]
    else:
        x, y = (out[0] + out[2]) / 2, (out[1] + out[3]) / 2
    if (x - at_x) ** 2 + (y - at_y) ** 2 <= REACH_PX * REACH_PX:
        out[0], out[1], out[2], out[3] = x, y, x, y


@compiled
def _nearest(line: NDArray[np.float64], at_x: float, at_y: float) -> tuple[float, float]:
    """The point of a line or circle (5,) nearest to another point."""
    x, y = at_x - line[2], at_y - line[3]
    if line[4] > 0:
        away = max(1e-9, np.sqrt(x * x + y * y))
        return line[2] + x * line[4] / away, line[3] + y * line[4] / away
    along = x * line[0] + y * line[1]
    return line[2] + along * line[0], line[3] + along * line[1]


def _leads_on(kind: NDArray[np.int64], lines: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each piece (m,) can be dropped: its neighbours are one wall with a jog, or meet without it."""
    before, after = np.roll(lines, 1, axis=0), np.roll(lines, -1, axis=0)
    kind_before, kind_after = np.roll(kind, 1), np.roll(kind, -1)
    cosine = before[:, 0] * after[:, 0] + before[:, 1] * after[:, 1]
    sine = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    is_jog = (kind_before == kind_after) & (kind_before != FREE)
    return (kind_before != ARC) & (kind_after != ARC) & np.where(is_jog, cosine > 0, abs(sine) >= SLANT)


def _without(
    points: NDArray[np.float64], kind: NDArray[np.int64], begin: NDArray[np.int64], drop: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """The pieces without one: its points go to its neighbours, which become one where they are the same wall."""
    # From the piece before it on, so that nothing goes over the seam.
    start = begin[drop - 1]
    points = rolled(points, start)
    begin = np.roll((begin - start) % len(points), 1 - drop)
    kind = np.roll(kind, 1 - drop)
    if kind[0] == kind[2] and kind[0] != FREE:
        return points, np.delete(kind, (1, 2)), np.delete(begin, (1, 2))
    begin[2] = (begin[1] + begin[2]) // 2
    return points, np.delete(kind, 1), np.delete(begin, 1)


def _ring(kind: NDArray[np.int64], lines: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertices (n, 2) of the pieces between their ends, arcs as chords."""
    stretches = [ends.reshape(-1, 2)]
    if (kind == ARC).any():
        # Of each joint the end of one piece and the beginning of the next, and where that is an arc, what is on it.
        after = np.roll(ends, -1, axis=0)
        stretches = []
        for piece in range(len(kind)):
            stretches.append(ends[piece].reshape(2, 2))
            if kind[piece] == ARC:
                stretches.append(_between(lines[piece], ends[piece, 2:], after[piece, :2]))
    xy = np.concatenate(stretches)
    return xy[(abs(xy - np.roll(xy, 1, axis=0)) > _SAME_PX).any(axis=1)]


def _between(arc: NDArray[np.float64], begin: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (n, 2) of an arc (5,) between its ends, (2,)."""
    turned, middle, radius = arc[0], arc[2:4], arc[4]
    from_angle, to_angle = (math.atan2(y, x) for x, y in (begin - middle, end - middle))
    turn = to_angle - from_angle
    turn -= round((turn - turned) / (2 * math.pi)) * 2 * math.pi
    steps = math.ceil(abs(turn) / (2 * math.acos(1 - SAGITTA_PX / radius)))
    angle = from_angle + turn * np.arange(1, steps) / max(1, steps)
    return middle + radius * np.column_stack((np.cos(angle), np.sin(angle)))
