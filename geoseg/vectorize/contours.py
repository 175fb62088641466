"""Outlines as evenly spaced points, and sums along them: compiled loops. x = column and y = row."""

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled

SUMS = 9
"""Columns of `sums`: weight, x, y, xx, xy, yy, and x, y and 1 times (xx + yy), the last squared."""


@compiled
def turned(xy: NDArray[np.float64], way: int) -> NDArray[np.float64]:
    """Points (n, 2) turned or mirrored about (0, 0): bit 0 of `way` negates x, bit 1 y, bit 2 swaps them."""
    out = np.empty_like(xy)
    for i in range(len(xy)):
        x, y = xy[i, 0], xy[i, 1]
        if way & 1:
            x = -x
        if way & 2:
            y = -y
        out[i, 0], out[i, 1] = (y, x) if way & 4 else (x, y)
    return out


@compiled
def turned_back(xy: NDArray[np.float64], way: int) -> NDArray[np.float64]:
    """The points (n, 2) that `turned` made others of."""
    out = np.empty_like(xy)
    for i in range(len(xy)):
        x, y = (xy[i, 1], xy[i, 0]) if way & 4 else (xy[i, 0], xy[i, 1])
        out[i, 0] = -x if way & 1 else x
        out[i, 1] = -y if way & 2 else y
    return out


@compiled
def usual_way(xy: NDArray[np.float64]) -> int:
    """Which of eight ways to turn and mirror points makes them the same as copies of them turned and mirrored.

    Each way has a number that depends on where the points lie from their corner, and not on their order; the least
    wins. Points that are a mirror image of themselves have several; which of them is taken makes no difference to
    the points.

    Args:
        xy: float64 (n, 2); told apart to 1/16.

    Returns:
        As for `turned`.
    """
    least, usual = np.uint64(0), 0
    low_x, high_x, low_y, high_y = xy[0, 0], xy[0, 0], xy[0, 1], xy[0, 1]
    for i in range(len(xy)):
        low_x, high_x = min(low_x, xy[i, 0]), max(high_x, xy[i, 0])
        low_y, high_y = min(low_y, xy[i, 1]), max(high_y, xy[i, 1])
    for way in range(8):
        total = np.uint64(0)
        for i in range(len(xy)):
            x = high_x - xy[i, 0] if way & 1 else xy[i, 0] - low_x
            y = high_y - xy[i, 1] if way & 2 else xy[i, 1] - low_y
            if way & 4:
                x, y = y, x
            # The finalizer of splitmix64 (Steele, Lea and Flood 2014): sums of it tell sets of points apart.
            mixed = np.uint64(int(np.rint(16 * x)) << 32 | int(np.rint(16 * y)))
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            total += mixed ^ (mixed >> np.uint64(31))
        if way == 0 or total < least:
            least, usual = total, way
    return usual


@compiled
def area_moments(ring: NDArray[np.float64]) -> tuple[float, float, float, float, float, float]:
    """Area and moments of the inside of a ring, by Green's theorem.

    Args:
        ring: float64 (vertex, 2), not closed.

    Returns:
        The area, positive where the ring turns from x to y; x and y of the middle; the variances of x and of y and
        their covariance over the inside. All are 0 where the area is.
    """
    area = x = y = xx = yy = xy = 0.0
    at_x, at_y = ring[0, 0], ring[0, 1]
    for i in range(len(ring)):
        x0, y0, x1, y1 = ring[i - 1, 0] - at_x, ring[i - 1, 1] - at_y, ring[i, 0] - at_x, ring[i, 1] - at_y
        cross = x0 * y1 - x1 * y0
        area += cross / 2
        x += cross * (x0 + x1) / 6
        y += cross * (y0 + y1) / 6
        xx += cross * (x0 * x0 + x0 * x1 + x1 * x1) / 12
        yy += cross * (y0 * y0 + y0 * y1 + y1 * y1) / 12
        xy += cross * (x0 * y1 + 2 * x0 * y0 + 2 * x1 * y1 + x1 * y0) / 24
    if area == 0:
        return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    x, y = x / area, y / area
    return area, x + at_x, y + at_y, xx / area - x * x, yy / area - y * y, xy / area - x * y


@compiled
def in_order(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """A ring (vertex, 2) that begins at its least point (x, then y) and turns from x to y, as all its kind."""
    first, twice = 0, 0.0
    for i in range(len(xy)):
        j = i + 1 if i + 1 < len(xy) else 0
        twice += (xy[i, 0] - xy[0, 0]) * (xy[j, 1] - xy[0, 1]) - (xy[j, 0] - xy[0, 0]) * (xy[i, 1] - xy[0, 1])
        if xy[i, 0] < xy[first, 0] or (xy[i, 0] == xy[first, 0] and xy[i, 1] < xy[first, 1]):
            first = i
    step = 1 if twice > 0 else -1
    out = np.empty_like(xy)
    for i in range(len(xy)):
        source = (first + step * i) % len(xy)
        out[i, 0], out[i, 1] = xy[source, 0], xy[source, 1]
    return out


@compiled
def sampled(xy: NDArray[np.float64], spacing_px: float) -> NDArray[np.float64]:
    """Points in the middle of pieces of equal length of each edge of a ring.

    The middles of the sides of pixels lie to both sides of the line that was rasterized; their corners do not.

    Args:
        xy: float64 (vertex, 2), not closed.
        spacing_px: The longest piece.

    Returns:
        float64 (n, 3), in order: x, y, and the length of the piece that each point stands for.
    """
    total = 0
    for i in range(len(xy)):
        j = i + 1 if i + 1 < len(xy) else 0
        total += max(1, int(np.ceil(np.hypot(xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]) / spacing_px - 1e-9)))
    points = np.empty((total, 3))
    done = 0
    for i in range(len(xy)):
        j = i + 1 if i + 1 < len(xy) else 0
        dx, dy = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
        length = np.hypot(dx, dy)
        pieces = max(1, int(np.ceil(length / spacing_px - 1e-9)))
        for piece in range(pieces):
            along = (piece + 0.5) / pieces
            points[done, 0], points[done, 1] = xy[i, 0] + along * dx, xy[i, 1] + along * dy
            points[done, 2] = length / pieces
            done += 1
    return points


@compiled
def rolled(points: NDArray[np.float64], start: int) -> NDArray[np.float64]:
    """The points (n, 3) of a ring from another one on."""
    out = np.empty_like(points)
    for i in range(len(points)):
        source = i + start if i + start < len(points) else i + start - len(points)
        out[i, 0], out[i, 1], out[i, 2] = points[source, 0], points[source, 1], points[source, 2]
    return out


@compiled
def sums(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the first i points, from which those over any stretch follow at once.

    Args:
        points: float64 (n, 3), of `sampled`, about (0, 0).

    Returns:
        float64 (n + 1, 9); columns as `SUMS` says.
    """
    out = np.zeros((len(points) + 1, SUMS))
    for i in range(len(points)):
        x, y, w = points[i, 0], points[i, 1], points[i, 2]
        z = x * x + y * y
        out[i + 1, 0] = out[i, 0] + w
        out[i + 1, 1] = out[i, 1] + w * x
        out[i + 1, 2] = out[i, 2] + w * y
        out[i + 1, 3] = out[i, 3] + w * x * x
        out[i + 1, 4] = out[i, 4] + w * x * y
        out[i + 1, 5] = out[i, 5] + w * y * y
        out[i + 1, 6] = out[i, 6] + w * x * z
        out[i + 1, 7] = out[i, 7] + w * y * z
        out[i + 1, 8] = out[i, 8] + w * z * z
    return out


@compiled
def deviation(
    xy: NDArray[np.float64], size: NDArray[np.int64], others: NDArray[np.float64], others_size: NDArray[np.int64]
) -> float:
    """How far points on rings lie from the nearest point of other rings, at most: the Hausdorff distance one way.

    It is taken at the vertices and at every half pixel between them.

    Args:
        xy: float64 (vertex, 2), ring by ring, not closed.
        size: int64 (r,); vertices of each.
        others: float64 (m, 2), likewise.
        others_size: int64 (ring,).
    """
    following = np.arange(1, len(others) + 1)
    begin = 0
    for ring in range(len(others_size)):
        begin += others_size[ring]
        following[begin - 1] = begin - others_size[ring]
    farthest, nearest_edge, begin = 0.0, 0, 0
    for ring in range(len(size)):
        for i in range(begin, begin + size[ring]):
            j = i + 1 if i + 1 < begin + size[ring] else begin
            dx, dy = xy[j, 0] - xy[i, 0], xy[j, 1] - xy[i, 1]
            pieces = max(1, int(np.ceil(2 * np.sqrt(dx * dx + dy * dy))))
            for piece in range(pieces):
                x, y = xy[i, 0] + dx * piece / pieces, xy[i, 1] + dy * piece / pieces
                # Only what is farther than the farthest counts, so any edge that is nearer will do; it is mostly
                # one beside that of the point before.
                least = np.inf
                for step in range(len(others)):
                    back = nearest_edge - (step + 1) // 2 if step % 2 else nearest_edge + step // 2
                    edge = back % len(others)
                    square = _to_edge(x, y, others[edge, 0], others[edge, 1], others, following[edge])
                    if square < least:
                        least, closest = square, edge
                        if least <= farthest:
                            break
                nearest_edge = closest
                farthest = max(farthest, least)
        begin += size[ring]
    return np.sqrt(farthest)


@compiled
def _to_edge(x: float, y: float, x0: float, y0: float, xy: NDArray[np.float64], to: int) -> float:
    """The squared distance from a point to the edge from another to one of some."""
    dx, dy = xy[to, 0] - x0, xy[to, 1] - y0
    square = dx * dx + dy * dy
    along = ((x - x0) * dx + (y - y0) * dy) / square if square > 0 else 0.0
    along = min(1.0, max(0.0, along))
    off_x, off_y = x - x0 - along * dx, y - y0 - along * dy
    return off_x * off_x + off_y * off_y
