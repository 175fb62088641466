"""Where roads that leave a junction would meet, and junctions that are one since theirs meet at one place."""

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled, with_room
from geoseg.grid import Window
from geoseg.network.links import Place, follow, is_linked
from geoseg.network.rules import ARM_PX

_LEAST_AREA = 0.05
"""Of the normals of a node's arms: those of two that differ by 13 degrees; less do not tell where they meet."""

_MOST_MISS_PX = 1.5
"""How far an arm may pass the point at which all meet."""

_MOST_BEND_PX = 1.0
"""How far the middle of an arm may lie from the straight line of its ends."""

_SAME_PX = 4.0
"""Junctions whose arms meet so near to one another are one."""


def on_grid(place: NDArray[np.int64], width_px: int, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows (n,) of the grid.

    Args:
        place: int64 (n,); indices in a flat array with a rim.
        width_px: Columns of that.
        window: Where it lies, without its rim.
    """
    row, col = np.divmod(place, width_px)
    return col + window.col - 1, row + window.row - 1


def meeting(
    on: NDArray[np.uint8],
    of_pixel: NDArray[np.int32],
    step: NDArray[np.int64],
    place: NDArray[np.int64],
    xy: NDArray[np.float64],
    reach_px: float,
    window: Window,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Where the arms of nodes meet.

    The point with the least sum of squared distances to the straight lines along all arms. At an acute angle two
    roads run into one another before their middles meet, and thinning puts the junction there.

    Args:
        on: Skeleton, flat, uint8 (n,), with an empty rim.
        of_pixel: int32 (n,); 1 + the node of each pixel, 0 of none.
        step: `steps` (8,) of the array.
        place: int64 (m,); index of the pixel that stands for each node.
        xy: float64 (m, 2); where it lies on the grid, in pixels, so far.
        reach_px: It goes no further from there.
        window: Where the skeleton lies, without its rim.

    Returns:
        float64 (m, 2), on the grid; and whether the arms agree (m,): where they do not, it lies as it did.
    """
    node, arms, is_bent = _arms(on, of_pixel, step, ARM_PX)
    # From the node's own pixel on, in whole numbers, so that no window changes the last bit.
    width = step[2]
    own_xy = np.column_stack((place % width, place // width))
    from_xy, to_xy = arms[:, :2] - own_xy[node], arms[:, 2:] - own_xy[node]
    along = (to_xy - from_xy) / np.hypot(*(to_xy - from_xy).T)[:, None]
    across = np.column_stack((-along[:, 1], along[:, 0]))
    off = (across * from_xy).sum(axis=1)
    count = len(place)
    xx, xy_, yy, x, y = (
        np.bincount(node, weight, count)
        for weight in (across[:, 0] ** 2, across[:, 0] * across[:, 1], across[:, 1] ** 2, *(across.T * off))
    )
    area = xx * yy - xy_ * xy_
    is_sharp = area > _LEAST_AREA
    area = np.where(is_sharp, area, 1)
    met_xy = np.column_stack((yy * x - xy_ * y, xx * y - xy_ * x)) / area[:, None]
    miss = np.zeros(count)
    np.maximum.at(miss, node, np.abs((across * met_xy[node]).sum(axis=1) - off))
    grid_xy = np.column_stack(on_grid(place, int(width), window)) + met_xy
    is_met = (
        is_sharp
        & (np.bincount(node[is_bent], minlength=count) == 0)
        & (miss <= _MOST_MISS_PX)
        & (np.hypot(*(grid_xy - xy).T) <= reach_px)
    )
    return np.where(is_met[:, None], grid_xy, xy), is_met


def unite(
    on: NDArray[np.uint8],
    of_pixel: NDArray[np.int32],
    step: NDArray[np.int64],
    xy: NDArray[np.float64],
    is_met: NDArray[np.bool_],
    most_px: int,
) -> NDArray[np.int64]:
    """The node that each node becomes: of two that are one, the first; of all others they themselves.

    Two junctions at an acute angle, with a way between them that no road takes, lead to the same place. Each
    chooses the nearest of those at the ends of its ways; where two choose each other, the way becomes part of the
    node.

    Args:
        on: Skeleton, flat, uint8 (n,), with an empty rim.
        of_pixel: int32 (n,); 1 + the node of each pixel, 0 of none; changed in place.
        step: `steps` (8,) of the array.
        xy: float64 (m, 2); where the arms of each node meet.
        is_met: Whether they do (m,).
        most_px: The longest way between two that are one, in pixels.

    Returns:
        int64 (m,).
    """
    same = np.arange(len(xy))
    ways = _ways(on, of_pixel, step, most_px)
    ways = ways[is_met[ways[:, 0]] & is_met[ways[:, 1]]]
    apart = np.hypot(*(xy[ways[:, 0]] - xy[ways[:, 1]]).T)
    ways, apart = ways[apart <= _SAME_PX], apart[apart <= _SAME_PX]
    order = np.lexsort((ways[:, 1], apart, ways[:, 0]))
    nodes, first = np.unique(ways[order, 0], return_index=True)
    chosen = np.full(len(xy), -1)
    chosen[nodes] = ways[order[first], 1]
    pairs = nodes[(chosen[nodes] > nodes) & (chosen[chosen[nodes]] == nodes)]
    same[chosen[pairs]] = pairs
    for begin in ways[(same[ways[:, 1]] == ways[:, 0]), 2:].tolist():
        _give(on, of_pixel, step, begin[0], begin[1])
    is_of = of_pixel > 0
    of_pixel[is_of] = 1 + same[of_pixel[is_of] - 1]
    return same


@compiled
def _ways(
    on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """From node, to node, the last pixel of the one and the first beyond (n, 4), of short ways between nodes."""
    found = np.empty(64, np.int64)
    count = 0
    for place in np.flatnonzero(on):
        if of_pixel[place] == 0:
            continue
        for direction in range(8):
            here: Place = place + step[direction]
            if not is_linked(on, place, direction, step) or of_pixel[here] == of_pixel[place]:
                continue
            before: Place = place
            first, seen = here, 0
            while seen < most and here >= 0 and of_pixel[here] == 0:
                following = follow(on, before, here, step)
                before, here = here, following
                seen += 1
            if here < 0 or of_pixel[here] == 0 or of_pixel[here] == of_pixel[place]:
                continue
            found = with_room(found, 4 * count + 4)
            found[4 * count], found[4 * count + 1] = of_pixel[place] - 1, of_pixel[here] - 1
            found[4 * count + 2], found[4 * count + 3] = place, first
            count += 1
    return found[: 4 * count].copy().reshape((count, 4))


@compiled
def _give(
    on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64], place: int, first: int
) -> None:
    """Make the pixels of a way part of the node at its beginning."""
    node = of_pixel[place]
    before: Place = place
    here: Place = first
    while of_pixel[here] == 0:
        of_pixel[here] = node
        following = follow(on, before, here, step)
        before, here = here, following


@compiled
def _arms(
    on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64], look: tuple[int, int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """The node (n,) of each line that leaves one and is long enough, two of its points (n, 4), whether it bends."""
    skip, least, most = look
    width = step[2]
    nodes, arms, bent = np.empty(16, np.int64), np.empty(64, np.int64), np.empty(16, np.bool_)
    way = np.empty(most + 1, np.int64)
    count = 0
    for place in np.flatnonzero(on):
        if of_pixel[place] == 0:
            continue
        for direction in range(8):
            here: Place = place + step[direction]
            if not is_linked(on, place, direction, step) or of_pixel[here] != 0:
                continue
            before: Place = place
            seen = 0
            while seen < most and here >= 0 and of_pixel[here] == 0:
                way[seen] = here
                following = follow(on, before, here, step)
                before, here = here, following
                seen += 1
            if seen < skip + least or way[skip] == way[seen - 1]:
                continue
            nodes, arms, bent = (
                with_room(nodes, count + 1),
                with_room(arms, 4 * count + 4),
                with_room(bent, count + 1),
            )
            first, last, middle = way[skip], way[seen - 1], way[(skip + seen - 1) // 2]
            dx, dy = float(last % width - first % width), float(last // width - first // width)
            off = dx * (middle // width - first // width) - dy * (middle % width - first % width)
            nodes[count] = of_pixel[place] - 1
            arms[4 * count], arms[4 * count + 1] = first % width, first // width
            arms[4 * count + 2], arms[4 * count + 3] = last % width, last // width
            bent[count] = abs(off) > _MOST_BEND_PX * np.sqrt(dx * dx + dy * dy)
            count += 1
    return nodes[:count].copy(), arms[: 4 * count].copy().reshape((count, 4)), bent[:count].copy()
