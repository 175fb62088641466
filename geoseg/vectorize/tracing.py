"""The outlines of classified pixels, by following them: compiled loops.

They copy number by number: numba takes seconds to compile an assignment to a slice, with all that may go wrong.

x = column and y = row of pixel corners, rows running down. An outline is followed with its own pixels on the right
hand, so that exteriors have a positive shoelace sum and holes a negative one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled, with_room

_WEST, _NORTH = 2, 3
"""Ways along the bottom and left edge of a pixel; 0 is east, along its top edge, and 1 south."""


@compiled
def trace_rings(
    framed_hw: NDArray[np.integer[Any]],
    first: NDArray[np.int64],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
    number: NDArray[np.int32],
    top: int,
    left: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Follow the outlines of all 4-connected components of equal value.

    Rows are gone through from the top, run by run (`geoseg.objects.components.find_runs`). The first run of a
    component begins its exterior. An edge below a run that was not followed yet begins a hole (after Suzuki and
    Abe 1985, Topological structural analysis of digitized binary images). An outline that meets itself at a corner
    is cut there into rings that only touch.

    Args:
        framed_hw: Classes or segments (row, column), 255 where nothing is to be traced; with a margin of a pixel of
            255 all round, so that no step needs to look whether it is the last.
        first: int64 (row + 1,); the first run of each row, and the number of all.
        start: int32 (run,); the first column of each run of every other value.
        stop: int32 (run,); the column after the last one.
        number: int32 (run,); the component, from 1 on in raster order of their first pixels.
        top: Added to y.
        left: Added to x.

    Returns:
        xy int32 (vertex, 2), a vertex where a ring turns and nowhere else; the vertices of each ring, int64 (r,);
        and the component of each ring, int64 (r,), from 0. Of each component the exterior comes first.
    """
    height, stride = framed_hw.shape[0] - 2, framed_hw.shape[1]
    flat = framed_hw.reshape(-1)
    followed = np.zeros(len(flat), np.bool_)  # whether the edge below a pixel was, of those where one turns off
    xy, meets = np.empty((1024, 2), np.int32), np.empty(1024, np.uint8)
    size, component = np.empty(256, np.int64), np.empty(256, np.int64)
    gap_first, gap_col, gap_number = _gaps(first, start, stop, number)
    vertices, rings, components = 0, 0, 0
    for row in range(height):
        for run in range(first[row], first[row + 1]):
            if number[run] > components:
                components += 1
                xy, meets, size, component, vertices, rings = _ring(
                    flat, stride, followed, row, start[run], _NORTH, components - 1,
                    top, left, xy, meets, size, component, vertices, rings,
                )  # fmt: skip
        for gap in range(gap_first[row], gap_first[row + 1]):
            if not followed[(row + 1) * stride + gap_col[gap] + 1]:
                xy, meets, size, component, vertices, rings = _ring(
                    flat, stride, followed, row, gap_col[gap], _WEST, gap_number[gap] - 1,
                    top, left, xy, meets, size, component, vertices, rings,
                )  # fmt: skip
    return xy[:vertices].copy(), size[:rings].copy(), component[:rings].copy()


@compiled
def _gaps(
    first: NDArray[np.int64], start: NDArray[np.int32], stop: NDArray[np.int32], number: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Where runs begin to have nothing of their component below them: an outline runs along there.

    Returns:
        The first gap of each row, and the number of all, int64 (row + 1,); the column where each begins, int32
        (n,); and its component, int32 (n,).
    """
    gap_first = np.zeros(len(first), np.int64)
    gap_col, gap_number = np.empty(1024, np.int32), np.empty(1024, np.int32)
    gaps = 0
    for row in range(len(first) - 1):
        below = first[row + 1]
        end = first[row + 2] if row + 2 < len(first) else below
        for run in range(first[row], first[row + 1]):
            while below < end and stop[below] <= start[run]:
                below += 1
            other, col = below, start[run]
            while col < stop[run]:
                while other < end and start[other] < stop[run] and number[other] != number[run]:
                    other += 1
                is_below = other < end and start[other] < stop[run]
                if not is_below or start[other] > col:
                    gap_col, gap_number = with_room(gap_col, gaps + 1), with_room(gap_number, gaps + 1)
                    gap_col[gaps], gap_number[gaps] = col, number[run]
                    gaps += 1
                col = stop[other] if is_below else stop[run]
                other += 1
        gap_first[row + 1] = gaps
    return gap_first, gap_col, gap_number


@compiled
def _ring(
    flat: NDArray[np.integer[Any]],
    stride: int,
    followed: NDArray[np.bool_],
    row: int,
    col: int,
    heading: int,
    owner: int,
    top: int,
    left: int,
    xy: NDArray[np.int32],
    meets: NDArray[np.uint8],
    size: NDArray[np.int64],
    component: NDArray[np.int64],
    vertices: int,
    rings: int,
) -> tuple[
    NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], int, int
]:  # fmt: skip
    """Follow one outline, from where it turns off an edge of pixel (row, col) all the way round; file its rings.

    Returns:
        xy (vertex, 2), meets (vertex,), size (r,), component (r,), and how many vertices and rings there are now.
    """
    begin, corners = vertices, 0
    first_at = at = (row + 1) * stride + col + 1
    first_heading = heading
    value = flat[at]
    ahead, beside = (-stride, -1) if heading == _NORTH else (-1, stride)  # steps: one on, and one to the left
    while True:
        while flat[at + ahead] == value and flat[at + ahead + beside] != value:
            at += ahead
        if at == first_at and heading == first_heading and vertices > begin:
            break
        if heading == _WEST:
            followed[at] = True
        if vertices == len(meets):
            xy, meets = _longer_pairs(xy), with_room(meets, vertices + 1)
        pixel_row = at // stride
        xy[vertices, 0] = left + at - pixel_row * stride - 1 + (heading < _WEST)
        xy[vertices, 1] = top + pixel_row - 1 + (0 < heading < _NORTH)
        meets[vertices] = 0
        if flat[at + ahead] == value:
            at += ahead + beside
            ahead, beside = beside, -ahead
            heading = (heading + 3) & 3
        else:
            meets[vertices] = flat[at + ahead + beside] == value
            corners += meets[vertices]
            ahead, beside = -beside, ahead
            heading = (heading + 1) & 3
        vertices += 1
    if corners < 2:
        size, component = with_room(size, rings + 1), with_room(component, rings + 1)
        size[rings], component[rings] = vertices - begin, owner
        return xy, meets, size, component, vertices, rings + 1
    sizes = cut_where_met(xy[begin:vertices], meets[begin:vertices], corners)
    size, component = with_room(size, rings + len(sizes)), with_room(component, rings + len(sizes))
    for ring in range(len(sizes)):
        size[rings + ring], component[rings + ring] = sizes[ring], owner
    return xy, meets, size, component, vertices, rings + len(sizes)


@compiled
def cut_where_met(xy: NDArray[np.int32], meets: NDArray[np.uint8], corners: int) -> NDArray[np.int64]:
    """Cut a ring where it comes back to a vertex, in place.

    Args:
        xy: int32 (vertex, 2), in order around the ring; afterwards ring by ring.
        meets: uint8 (vertex,); 0 for vertices that it does not come back to for certain.
        corners: How many of them are not 0.

    Returns:
        The vertices of each ring, int64 (r,), together as many as there were; the exterior first, if there is one.
    """
    if corners < 2:
        return np.full(1, len(xy))
    # A hash table with open addressing: where on the way that is not closed yet a vertex was met.
    slots = 4
    while slots < 2 * corners:
        slots *= 2
    key_of = np.full(slots, np.int64(-1))
    place = np.empty(slots, np.int64)
    sizes, rings = np.empty(corners, np.int64), 0
    way, slot_of = np.empty_like(xy), np.empty(len(xy), np.int64)
    closed, done, length = np.empty_like(xy), 0, 0
    for vertex in range(len(xy)):
        slot = -1
        if meets[vertex]:
            key = int(xy[vertex, 1]) << 32 | int(xy[vertex, 0])
            slot = _slot(key_of, key)
            if key_of[slot] == key and place[slot] >= 0:
                begin = place[slot]
                for step in range(begin, length):
                    closed[done, 0], closed[done, 1] = way[step, 0], way[step, 1]
                    done += 1
                    if slot_of[step] >= 0:
                        place[slot_of[step]] = -1
                sizes[rings] = length - begin
                rings += 1
                length = begin
            key_of[slot], place[slot] = key, length
        way[length, 0], way[length, 1], slot_of[length] = xy[vertex, 0], xy[vertex, 1], slot
        length += 1
    for step in range(length):
        closed[done + step, 0], closed[done + step, 1] = way[step, 0], way[step, 1]
    sizes[rings] = length
    rings += 1
    _exterior_first(closed, sizes[:rings], xy)
    return sizes[:rings]


@compiled
def shoelace(xy: NDArray[np.int32]) -> int:
    """Twice the area of a ring, int32 (vertex, 2), positive for exteriors."""
    twice = 0
    for vertex in range(len(xy)):
        after = vertex + 1 if vertex + 1 < len(xy) else 0
        twice += int(xy[vertex, 0]) * xy[after, 1] - int(xy[after, 0]) * xy[vertex, 1]
    return twice


@compiled
def _exterior_first(rings: NDArray[np.int32], sizes: NDArray[np.int64], xy: NDArray[np.int32]) -> None:
    """Write rings (vertex, 2) to `xy`, from the exterior on and round; and their sizes likewise, in place."""
    first, before, begin = 0, 0, 0
    for ring in range(len(sizes)):
        if shoelace(rings[begin : begin + sizes[ring]]) > 0:
            first, before = ring, begin
        begin += sizes[ring]
    for vertex in range(len(rings)):
        source = (vertex + before) % len(rings)
        xy[vertex, 0], xy[vertex, 1] = rings[source, 0], rings[source, 1]
    as_it_was = sizes.copy()
    for ring in range(len(sizes)):
        sizes[ring] = as_it_was[(ring + first) % len(sizes)]


@compiled
def _longer_pairs(values: NDArray[np.int32]) -> NDArray[np.int32]:
    longer = np.empty((2 * len(values) + 2, 2), values.dtype)
    for i in range(len(values)):
        longer[i, 0], longer[i, 1] = values[i, 0], values[i, 1]
    return longer


@compiled
def _slot(key_of: NDArray[np.int64], key: int) -> int:
    """Where a hash table, of a power of two slots, has a key (row of a vertex, then column) or room for it."""
    slot = ((key & 0xFFFFFFFF) * 73856093 ^ (key >> 32) * 19349663) & (len(key_of) - 1)
    while key_of[slot] not in (-1, key):
        slot = (slot + 1) & (len(key_of) - 1)
    return slot
