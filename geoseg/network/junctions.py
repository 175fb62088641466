"""Where lines of a skeleton meet or end: pixels that belong to one node, and where that lies."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from geoseg.compiled import compiled
from geoseg.grid import Window
from geoseg.network.links import Place, degree, follow, is_linked, steps
from geoseg.network.meeting import meeting, on_grid, unite
from geoseg.network.rules import LOOP_PX, Rules


@dataclass(frozen=True, slots=True, eq=False)
class Nodes:
    """Nodes of a skeleton, in raster order.

    Attributes:
        place: int64 (n,); index in the skeleton of the pixel that stands for the node.
        xy: float64 (n, 2); where the node lies on the grid, in pixel coordinates (the middle of the first is 0.5).
        degree: int64 (n,); how many lines begin or end there.
        of_pixel_hw: int32 (row, column); 1 + the node that a pixel belongs to, 0 of none.
        link: int64 (m,), sorted; 8 x index of a pixel + direction of each line that has no pixel of its own, but
            leads right to another node. Of several between two nodes it is one.
    """

    place: NDArray[np.int64]
    xy: NDArray[np.float64]
    degree: NDArray[np.int64]
    of_pixel_hw: NDArray[np.int32]
    link: NDArray[np.int64]


def find_nodes(on_hw: NDArray[np.uint8], square_px: NDArray[np.int32], window: Window, rules: Rules) -> Nodes:
    """The nodes of a skeleton.

    Where two roads cross, a skeleton has two junctions or more near one another, since thinning does not know the
    crossing's middle. To each belongs the largest disc within the mask that holds it, with its middle on the
    skeleton. Discs that meet are one node: those that meet no larger one lead, and others join the largest of them.
    To the node belong the pixels of the skeleton in its discs, so that lines begin where the road has its own
    width. It lies where these lines lead to, if they agree, else in the middle of its junctions. A dead end is a
    node of one pixel.

    Args:
        on_hw: Skeleton, uint8 (row, column), with an empty rim.
        square_px: Squared distance (row, column) of each of its pixels to the mask's edge.
        window: Where the skeleton lies, without its rim.
        rules: How large a disc may be.
    """
    on, width, step = on_hw.reshape(-1), on_hw.shape[1], steps(on_hw.shape[1])
    junction, end = _junctions_and_ends(on, step)
    disc, disc_square = _discs(on_hw, square_px, junction, rules.merge_px)
    disc, first, of_disc = np.unique(disc, return_index=True, return_inverse=True)
    disc_square = disc_square[first]
    leaders, node_of_disc = np.unique(_merge(disc, disc_square, width), return_inverse=True)
    number = node_of_disc[of_disc]
    # Sums of whole numbers on the grid are exact in any order, and the same from any window.
    count = np.bincount(number, minlength=len(leaders))
    sums = [np.bincount(number, axis, len(leaders)) for axis in on_grid(junction, width, window)]
    middle_xy: NDArray[np.float64] = np.column_stack(sums).reshape(-1, 2) / count[:, None]
    of_pixel_hw = _paint(on_hw, disc, disc_square, node_of_disc.astype(np.int32))
    of_pixel = of_pixel_hw.reshape(-1)
    # Where the arms of two meet at one place, they are one; then it is asked again where theirs meet.
    at, width_px = disc[leaders], rules.half_width_px
    met_xy, is_met = meeting(on, of_pixel, step, at, middle_xy, width_px, window)
    same = unite(on, of_pixel, step, met_xy, is_met, 3 * rules.merge_px)
    together = np.column_stack([np.bincount(same, axis, len(at)) for axis in middle_xy.T])
    middle_xy = together / np.maximum(np.bincount(same, minlength=len(at)), 1)[:, None]
    kept = same == np.arange(len(at))
    _close_loops(on, of_pixel, step, LOOP_PX)
    met_xy, _ = meeting(on, of_pixel, step, at, middle_xy, width_px, window)
    free = end[of_pixel[end] == 0]
    of_pixel[free] = 1 + len(at) + np.arange(len(free), dtype=np.int32)
    place, xy = (
        np.concatenate((at[kept], free)),
        np.concatenate((met_xy[kept], np.column_stack(on_grid(free, width, window)))),
    )
    number = np.concatenate((np.flatnonzero(kept), len(at) + np.arange(len(free))))
    order = np.argsort(place)
    rank = np.zeros(1 + len(at) + len(free), np.int32)
    rank[1 + number[order]] = 1 + np.arange(len(place), dtype=np.int32)
    of_pixel[:] = rank[of_pixel]
    links, link = _leaving(on, of_pixel, step)
    degrees = np.bincount(links, minlength=len(place)).astype(np.int64)
    return Nodes(place[order], xy[order] + 0.5, degrees, of_pixel_hw, link)


def _merge(disc: NDArray[np.int64], square: NDArray[np.int32], width: int) -> NDArray[np.int64]:
    """The disc, by its number, that each disc (n,) joins, by their middles and squared radii (n,).

    It is the largest of all that it meets of those that meet no larger one. Where there is none it stays alone.
    """
    count = len(disc)
    leader = np.arange(count)
    if count < 2:
        return leader
    xy = np.column_stack((disc % width, disc // width))
    radius = np.sqrt(square.astype(np.float64))
    pairs = cKDTree(xy).query_pairs(2 * float(radius.max()) + 1, output_type="ndarray")
    apart = ((xy[pairs[:, 0]] - xy[pairs[:, 1]]) ** 2).sum(axis=1)
    pairs = pairs[apart <= radius[pairs].sum(axis=1) ** 2]
    # Of equals the first leads.
    order = np.lexsort((np.arange(count), -square))
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    by_rank = np.sort(rank[pairs], axis=1)
    leads = np.ones(count, bool)
    leads[by_rank[:, 1]] = False
    joins = by_rank[leads[by_rank[:, 0]]]
    best = np.full(count, count)
    np.minimum.at(best, joins[:, 1], joins[:, 0])
    joined = best < count
    leader[order[joined]] = order[best[joined]]
    return leader


def _leaving(
    on: NDArray[np.uint8], of_pixel: NDArray[np.int32], step: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The node (n,) of each line's end, and the links (m,) that are lines by themselves, one way of each."""
    own, direct = _count_leaving(on, of_pixel, step)
    ends = own[:, 0]
    if not len(direct):
        return ends, np.empty(0, np.int64)
    # The first link of each pair of nodes, by its lesser pixel, in raster order.
    place, direction, one, other = direct.T
    low, high = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((direction, place, high, low))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    kept = order[first]
    return np.concatenate((ends, one[kept], other[kept])), np.sort(8 * place[kept] + direction[kept])


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
def _discs(
    on_hw: NDArray[np.uint8], square_px: NDArray[np.int32], junction: NDArray[np.int64], most_px: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Middle and squared radius (n,) of the largest disc that holds each junction; the first of equals."""
    height, width = on_hw.shape
    place, square = junction.copy(), np.zeros(len(junction), np.int32)
    for k in range(len(junction)):
        row, col = junction[k] // width, junction[k] % width
        for r in range(max(row - most_px, 0), min(row + most_px + 1, height)):
            for c in range(max(col - most_px, 0), min(col + most_px + 1, width)):
                if not on_hw[r, c]:
                    continue
                size = min(square_px[r, c], most_px * most_px)
                apart = (r - row) * (r - row) + (c - col) * (c - col)
                if apart <= size and size > square[k]:
                    place[k], square[k] = r * width + c, size
    return place, square


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
                if not on_hw[r, c] or apart > square[k]:
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
    """Nodes (n, 1) of links that leave to a pixel of no node; and place, direction, node, node (n, 4) of others."""
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
