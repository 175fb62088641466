"""Where lines of a skeleton meet or end: pixels that belong to one node, and where that lies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled
from geoseg.grid import Window
from geoseg.network.links import Place, degree, follow, is_linked, steps
from geoseg.network.rules import LOOP_PX, MERGE_RATIO, MERGE_ROUNDS


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes of a skeleton, in raster order.

    Attributes:
        place: int64 (n,); index in the skeleton of the pixel that stands for the node.
        xy: float64 (n, 2); where the node lies on the grid, in pixel coordinates (the middle of the first is 0.5).
        degree: int64 (n,); how many lines begin or end there.
        of_pixel_hw: int32 (row, column); 1 + the node that a pixel belongs to, 0 of none.
        is_link: Boolean (8 n,), flat; of each pixel and direction whether a line begins there that has no pixel
            of its own, but leads right to another node. Of several between two nodes it is one.
    """

    place: NDArray[np.int64]
    xy: NDArray[np.float64]
    degree: NDArray[np.int64]
    of_pixel_hw: NDArray[np.int32]
    is_link: NDArray[np.bool_]


def find_nodes(on_hw: NDArray[np.uint8], square_px: NDArray[np.int32], window: Window) -> Nodes:
    """The nodes of a skeleton.

    Where two roads cross, a skeleton has two junctions or more near one another, since thinning does not know the
    crossing's middle. Around each lies a disc that just fits into the mask. Junctions whose discs meet are one node:
    round by round each joins the one furthest from the mask's edge, and is gone. The node lies in the middle of its
    junctions, and to it belong the pixels of the skeleton in their discs, so that lines begin where the road has its
    own width. A dead end is a node of one pixel.

    Args:
        on_hw: Skeleton, uint8 (row, column), with an empty rim.
        square_px: Squared distance (row, column) of each of its pixels to the mask's edge.
        window: Where the skeleton lies, without its rim.
    """
    on, square, step = on_hw.reshape(-1), square_px.reshape(-1), steps(on_hw.shape[1])
    junction, end = _junctions_and_ends(on, step)
    leader = _merge(junction, square[junction], on_hw.shape[1], MERGE_RATIO, MERGE_ROUNDS)
    leaders, number = np.unique(leader, return_inverse=True)
    # Sums of whole numbers on the grid are exact in any order, and the same from any window.
    count = np.bincount(number, minlength=len(leaders))
    sums = [np.bincount(number, axis, len(leaders)) for axis in _on_grid(junction, on_hw.shape[1], window)]
    middle_xy: NDArray[np.float64] = np.column_stack(sums).reshape(-1, 2) / count[:, None]
    of_pixel_hw = _paint(on_hw, junction, square[junction], number.astype(np.int32))
    of_pixel = of_pixel_hw.reshape(-1)
    free = end[of_pixel[end] == 0]
    of_pixel[free] = 1 + len(leaders) + np.arange(len(free), dtype=np.int32)
    end_xy = np.column_stack(_on_grid(free, on_hw.shape[1], window))
    place = np.concatenate((junction[leaders], free))
    xy: NDArray[np.float64] = np.concatenate((middle_xy, end_xy)) + 0.5
    order = np.argsort(place)
    rank = np.zeros(len(place) + 1, np.int32)
    rank[1 + order] = 1 + np.arange(len(place), dtype=np.int32)
    of_pixel[:] = rank[of_pixel]
    _close_loops(on, of_pixel, step, LOOP_PX)
    links, is_link = _leaving(on, of_pixel, step)
    return Nodes(
        place[order],
        xy[order],
        np.bincount(links, minlength=len(place)).astype(np.int64),
        of_pixel_hw,
        is_link,
    )


def _on_grid(
    place: NDArray[np.int64], width_px: int, window: Window
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows (n,) of the grid."""
    row, col = np.divmod(place, width_px)
    return col + window.col - 1, row + window.row - 1


def _leaving(
    on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The node (n,) of each line's end, and which links (8 n,) are lines by themselves, in one direction of each."""
    own, direct = _count_leaving(on, of_pixel, step)
    ends = own[:, 0]
    is_link = np.zeros(8 * len(on), bool)
    if not len(direct):
        return ends, is_link
    # The first link of each pair of nodes, by its lesser pixel, in raster order.
    place, direction, one, other = direct.T
    low, high = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((direction, place, high, low))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    kept = order[first]
    is_link[8 * place[kept] + direction[kept]] = True
    return np.concatenate((ends, one[kept], other[kept])), is_link


@compiled
def _junctions_and_ends(
    on: NDArray[np.uint8], step: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pixels = np.flatnonzero(on)
    junction, end = np.empty(len(pixels), np.int64), np.empty(len(pixels), np.int64)
    junctions = ends = 0
    for place in pixels:
        links = degree(on, place, step)
        if links > 2:
            junction[junctions] = place
            junctions += 1
        elif links < 2:
            end[ends] = place
            ends += 1
    return junction[:junctions].copy(), end[:ends].copy()


@compiled
def _merge(
    junction: NDArray[np.int64], square: NDArray[np.int32], width: int, ratio: float, rounds: int
) -> NDArray[np.int64]:
    """The junction, by its number, that each junction (n,) joins."""
    count = len(junction)
    leader = np.full(count, -1, np.int64)
    radius = np.sqrt(square.astype(np.float64))
    most = 2 * ratio * radius.max() if count else 0.0
    for _ in range(rounds):
        leads = np.zeros(count, np.bool_)
        for a in range(count):
            leads[a] = leader[a] < 0
        open_before = leads.copy()
        for a in range(count):
            if not open_before[a]:
                continue
            row, col = junction[a] // width, junction[a] % width
            for b in range(a + 1, count):
                dy, dx = junction[b] // width - row, junction[b] % width - col
                if dy > most:
                    break
                near = ratio * (radius[a] + radius[b])
                if not open_before[b] or dy * dy + dx * dx > near * near:
                    continue
                # The first of equals leads.
                if square[b] > square[a]:
                    leads[a] = False
                else:
                    leads[b] = False
        for a in range(count):
            if leads[a]:
                leader[a] = a
        for a in range(count):
            if not leads[a]:
                continue
            row, col = junction[a] // width, junction[a] % width
            for way in (-1, 1):
                b = a + way
                while 0 <= b < count:
                    dy, dx = junction[b] // width - row, junction[b] % width - col
                    if abs(dy) > most:
                        break
                    near = ratio * (radius[a] + radius[b])
                    if open_before[b] and not leads[b] and dy * dy + dx * dx <= near * near:
                        old = leader[b]
                        if old < 0 or square[a] > square[old] or (square[a] == square[old] and a < old):
                            leader[b] = a
                    b += way
    for a in range(count):
        if leader[a] < 0:
            leader[a] = a
    return leader


@compiled
def _paint(
    on_hw: NDArray[np.uint8], junction: NDArray[np.int64], square: NDArray[np.int32], number: NDArray[np.int32]
) -> NDArray[np.int32]:
    """1 + the node of each skeleton pixel in the disc of a junction, the nearest one's, the first of equals."""
    height, width = on_hw.shape
    of_pixel_hw = np.zeros((height, width), np.int32)
    nearest = np.zeros((height, width), np.int32)
    for k in range(len(junction)):
        row, col = junction[k] // width, junction[k] % width
        radius = int(np.sqrt(square[k]))
        for r in range(max(row - radius, 0), min(row + radius + 1, height)):
            for c in range(max(col - radius, 0), min(col + radius + 1, width)):
                apart = (r - row) * (r - row) + (c - col) * (c - col)
                if not on_hw[r, c] or (apart >= square[k] and apart > 0):
                    continue
                if of_pixel_hw[r, c] == 0 or apart < nearest[r, c]:
                    of_pixel_hw[r, c] = 1 + number[k]
                    nearest[r, c] = apart
    return of_pixel_hw


@compiled
def _close_loops(on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64], most: int) -> None:
    """Give ways of a few pixels from a node back to itself to the node."""
    before_all = of_pixel.copy()
    way = np.empty(most, np.int64)
    for place in np.flatnonzero(on):
        node = before_all[place]
        if node == 0:
            continue
        for direction in range(8):
            here: Place = place + step[direction]
            if not is_linked(on, place, direction, step) or before_all[here] != 0:
                continue
            before: Place = place
            count = 0
            while here >= 0 and before_all[here] == 0 and count < most:
                way[count] = here
                count += 1
                following = follow(on, before, here, step)
                before, here = here, following
            if here >= 0 and before_all[here] == node:
                for k in range(count):
                    of_pixel[way[k]] = node


@compiled
def _count_leaving(
    on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nodes (n, 1) from 0 of links that leave to a pixel of no node; and place, direction, node, node (n, 4) of others."""
    own, direct = np.empty((16, 1), np.int64), np.empty((16, 4), np.int64)
    owns = directs = 0
    for place in np.flatnonzero(on):
        node = of_pixel[place]
        if node == 0:
            continue
        for direction in range(8):
            other = of_pixel[place + step[direction]]
            if other == node or not is_linked(on, place, direction, step):
                continue
            if other == 0:
                if owns == len(own):
                    longer = np.empty((2 * owns, 1), np.int64)
                    longer[:owns] = own
                    own = longer
                own[owns, 0] = node - 1
                owns += 1
            elif step[direction] > 0:
                if directs == len(direct):
                    wider = np.empty((2 * directs, 4), np.int64)
                    wider[:directs] = direct
                    direct = wider
                direct[directs, 0] = place
                direct[directs, 1] = direction
                direct[directs, 2] = node - 1
                direct[directs, 3] = other - 1
                directs += 1
    return own[:owns].copy(), direct[:directs].copy()
