"""Rings put together from stretches of others: compiled loops. x = column and y = row, rows running down."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled, with_room
from geoseg.vectorize.tracing import cut_where_met, shoelace


@compiled
def copy_rings(
    xy: NDArray[Any], start: NDArray[np.int64], size: NDArray[np.int64], ring: NDArray[np.int64]
) -> NDArray[Any]:
    """The vertices of some rings.

    Args:
        xy: (vertex, 2), of all rings.
        start: int64 (r,); the first vertex of each.
        size: int64 (r,); vertices of each.
        ring: int64 (m,); numbers of those that are wanted, in order.

    Returns:
        (vertex, 2).
    """
    count = 0
    for number in ring:
        count += size[number]
    copied = np.empty((count, 2), xy.dtype)
    done = 0
    for number in ring:
        for vertex in range(start[number], start[number] + size[number]):
            copied[done, 0], copied[done, 1] = xy[vertex, 0], xy[vertex, 1]
            done += 1
    return copied


@compiled
def close_rings(xy: NDArray[Any], size: NDArray[np.int64]) -> NDArray[np.float64]:
    """The vertices of rings with the first one once more at the end of each.

    Args:
        xy: (vertex, 2), ring by ring.
        size: int64 (r,); vertices of each.

    Returns:
        float64 (vertex, 2).
    """
    closed = np.empty((len(xy) + len(size), 2))
    done = begin = 0
    for ring in range(len(size)):
        for vertex in range(begin, begin + size[ring]):
            closed[done, 0], closed[done, 1] = xy[vertex, 0], xy[vertex, 1]
            done += 1
        closed[done, 0], closed[done, 1] = xy[begin, 0], xy[begin, 1]
        done += 1
        begin += size[ring]
    return closed


@compiled
def holes(xy: NDArray[np.int32], size: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each ring runs the way of a hole, boolean (r,): its shoelace sum is negative.

    Args:
        xy: int32 (vertex, 2), ring by ring.
        size: int64 (r,); vertices of each.
    """
    found = np.empty(len(size), np.bool_)
    begin = 0
    for ring in range(len(size)):
        found[ring] = shoelace(xy[begin : begin + size[ring]]) < 0
        begin += size[ring]
    return found


@compiled
def split_at_borders(
    xy: NDArray[np.int32], size: NDArray[np.int64], block_height: int, block_width: int
) -> tuple[
    NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]
]:
    """Where rings run along the borders of blocks, and the stretches in between.

    Args:
        xy: int32 (vertex, 2), ring by ring, edges along rows and columns.
        size: int64 (r,); vertices of each.
        block_height: Rows of a block; borders are at its multiples.
        block_width: Columns.

    Returns:
        Whether each ring has an edge on a border, boolean (r,); the first and second vertex of each such edge,
        int64 (e,) each; the first and last vertex of each stretch, int64 (s,) each; and how many edges it has,
        int64 (s,).
    """
    is_cut = np.zeros(len(size), np.bool_)
    on_border = np.empty(len(xy), np.bool_)
    edges, stretches = 0, 0
    begin = 0
    for ring in range(len(size)):
        end = begin + size[ring]
        before = end - 1
        for after in range(begin, end):
            along_row = xy[before, 1] == xy[after, 1]
            on_border[before] = xy[before, 1] % block_height == 0 if along_row else xy[before, 0] % block_width == 0
            edges += on_border[before]
            is_cut[ring] |= on_border[before]
            before = after
        before = end - 1
        for vertex in range(begin, end):
            stretches += on_border[before] and not on_border[vertex]
            before = vertex
        begin = end
    edge, edge_to = np.empty(edges, np.int64), np.empty(edges, np.int64)
    first, last, count = np.empty(stretches, np.int64), np.empty(stretches, np.int64), np.empty(stretches, np.int64)
    edges = stretches = 0
    begin = 0
    for ring in range(len(size)):
        end = begin + size[ring]
        if is_cut[ring]:
            before = end - 1
            for vertex in range(begin, end):
                if on_border[vertex]:
                    edge[edges], edge_to[edges] = vertex, vertex + 1 if vertex + 1 < end else begin
                    edges += 1
                elif on_border[before]:
                    at, steps = vertex, 0
                    while not on_border[at]:
                        at = at + 1 if at + 1 < end else begin
                        steps += 1
                    first[stretches], last[stretches], count[stretches] = vertex, at, steps
                    stretches += 1
                before = vertex
        begin = end
    return is_cut, edge, edge_to, first, last, count


@compiled
def cycles(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The cycles of a permutation.

    Args:
        following: int64 (n,); what comes after each.

    Returns:
        All n in the order of their cycles, int64 (n,), and how many each has, int64 (c,).
    """
    order, size = np.empty(len(following), np.int64), np.empty(len(following), np.int64)
    seen = np.zeros(len(following), np.bool_)
    done = found = 0
    for first in range(len(following)):
        if seen[first]:
            continue
        begin, at = done, first
        while not seen[at]:
            seen[at] = True
            order[done] = at
            done += 1
            at = following[at]
        size[found] = done - begin
        found += 1
    return order, size[:found].copy()


@compiled
def write_stretches(
    xy: NDArray[np.int32],
    ring_start: NDArray[np.int64],
    ring_size: NDArray[np.int64],
    begin: NDArray[np.int64],
    vertex: NDArray[np.int64],
    inner: NDArray[np.int64],
    turns: NDArray[np.bool_],
    order: NDArray[np.int64],
) -> NDArray[np.int32]:
    """The vertices of stretches of rings, one after the other, each without its end.

    Args:
        xy: int32 (vertex, 2), of the rings.
        ring_start: int64 (n,); first vertex of the ring that each stretch comes from.
        ring_size: int64 (n,); vertices of that ring.
        begin: int64 (n, 2); where each begins.
        vertex: int64 (n,); number of the vertex that it begins at.
        inner: int64 (n,); how many of the vertices after that it passes before its end.
        turns: Whether an outline turns where each begins, boolean (n,); else its beginning is left out.
        order: int64 (m,); numbers of stretches.

    Returns:
        int32 (vertex, 2).
    """
    count = 0
    for number in order:
        count += inner[number] + turns[number]
    written = np.empty((count, 2), np.int32)
    done = 0
    for number in order:
        if turns[number]:
            written[done, 0], written[done, 1] = begin[number, 0], begin[number, 1]
            done += 1
        at = vertex[number]
        for _ in range(inner[number]):
            at += 1
            if at == ring_start[number] + ring_size[number]:
                at = ring_start[number]
            written[done, 0], written[done, 1] = xy[at, 0], xy[at, 1]
            done += 1
    return written


@compiled
def cut_rings(
    xy: NDArray[np.int32], size: NDArray[np.int64], block_height: int, block_width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut rings where they come back to a vertex, in place; see `cut_where_met`.

    That can be where they turn right, around a pixel that has only a corner in common with another one, and on the
    borders of blocks.

    Args:
        xy: int32 (vertex, 2), ring by ring.
        size: int64 (r,); vertices of each ring.
        block_height: Rows of a block; borders are at its multiples.
        block_width: Columns.

    Returns:
        The vertices of each ring that there is now, int64 (s,), and which it was cut from, int64 (s,).
    """
    sizes, cut_from = np.empty(len(size), np.int64), np.empty(len(size), np.int64)
    meets = np.empty(len(xy), np.uint8)
    found, begin = 0, 0
    for ring in range(len(size)):
        end = begin + size[ring]
        corners = 0
        before = end - 1
        for vertex in range(begin, end):
            after = vertex + 1 if vertex + 1 < end else begin
            x, y = int(xy[vertex, 0]), int(xy[vertex, 1])
            right = (x - xy[before, 0]) * (xy[after, 1] - y) - (y - xy[before, 1]) * (xy[after, 0] - x) > 0
            meets[vertex] = right or x % block_width == 0 or y % block_height == 0
            corners += meets[vertex]
            before = vertex
        cut = cut_where_met(xy[begin:end], meets[begin:end], corners)
        sizes, cut_from = with_room(sizes, found + len(cut)), with_room(cut_from, found + len(cut))
        for number in range(len(cut)):
            sizes[found + number], cut_from[found + number] = cut[number], ring
        found += len(cut)
        begin = end
    return sizes[:found].copy(), cut_from[:found].copy()
