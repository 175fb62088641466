"""Whole objects from the outlines of their parts in blocks, exactly: what two parts share goes, the rest is linked.

Parts meet along the borders of blocks only. So only edges there are looked at: where two of one object run against
each other they cancel. What is left of them, and the stretches of outlines between them, are linked where they
meet. All is in whole pixels, with x = column and y = row.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.vectorize.linking import cut_rings, cycles, holes, split_at_borders, write_stretches
from geoseg.vectorize.rings import Rings


def join(rings: Rings, object_id: NDArray[np.int64], block_px: tuple[int, int]) -> tuple[NDArray[np.int64], Rings]:
    """Join the parts of each object.

    Args:
        rings: Polygons (m,) in pixel coordinates, int32, in any order, as `trace_rings` follows them: a vertex at
            each corner and nowhere else, their own pixels on the right hand. Each lies in one block.
        object_id: int64 (m,); of which object each is a part.
        block_px: (height, width) of the blocks, which begin at multiples of these.

    Returns:
        The ids in increasing order, int64 (n,), and the polygon of each, as tracing the whole raster gives it, up
        to where its rings start.

    Raises:
        ValueError: The parts of an object do not hang together.
    """
    ids, object_of_part, parts_of = np.unique(object_id, return_inverse=True, return_counts=True)
    object_of_ring = np.repeat(object_of_part, rings.count)
    is_apart = parts_of[object_of_ring] > 1
    joined, object_of_joined = _join(rings.take(np.flatnonzero(is_apart)), object_of_ring[is_apart], block_px)
    is_hole = holes(joined.xy, joined.size)
    exteriors = np.bincount(object_of_joined[~is_hole], minlength=len(ids))
    torn = (exteriors != 1) & (parts_of > 1)
    if torn.any():
        raise ValueError(f"the parts of object {ids[np.argmax(torn)]} do not share edges")
    # Of an object in one part the rings are in order.
    every = Rings.concatenate((rings, joined))
    whole = np.flatnonzero(~is_apart)
    ring = np.concatenate((whole, len(rings.size) + np.arange(len(joined.size))))
    of_object = np.concatenate((object_of_ring[whole], object_of_joined))
    order = np.lexsort((np.concatenate((np.zeros(len(whole), np.bool_), is_hole)), of_object))
    ordered = every.take(ring[order])
    return ids, Rings(ordered.xy, ordered.size, np.bincount(of_object, minlength=len(ids)))


@dataclass(frozen=True, slots=True, eq=False)
class _Stretches:
    """Pieces of outlines from one point on the borders of blocks to another.

    Attributes:
        of_object: int64 (n,); of which object.
        begin: int64 (n, 2); x and y.
        end: int64 (n, 2).
        leaves: int64 (n,); the way at the beginning: 0 east, 1 south, 2 west, 3 north.
        arrives: int64 (n,); the way at the end.
        vertex: int64 (n,); number of its first vertex, where it is one of a ring, else -1.
        inner: int64 (n,); vertices between its beginning and its end.
    """

    of_object: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    leaves: NDArray[np.int64]
    arrives: NDArray[np.int64]
    vertex: NDArray[np.int64]
    inner: NDArray[np.int64]

    @classmethod
    def straight(cls, of_object: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64]) -> Self:
        """Straight lines (n,)."""
        way, none = _way(begin, end), np.full(len(begin), -1)
        return cls(of_object, begin, end, way, way, none, np.zeros(len(begin), np.int64))

    @classmethod
    def concatenate(cls, several: "tuple[_Stretches, ...]") -> Self:
        """All of them."""
        return cls(*(np.concatenate([getattr(one, name) for one in several]) for name in cls.__slots__))


def _join(
    rings: Rings, object_of_ring: NDArray[np.int64], block_px: tuple[int, int]
) -> tuple[Rings, NDArray[np.int64]]:
    """The rings of whole objects, and the object of each (r,)."""
    is_cut, edge, edge_to, first, last, count = split_at_borders(rings.xy, rings.size, *block_px)
    untouched = np.flatnonzero(~is_cut)
    begin, end = _points(rings, edge), _points(rings, edge_to)
    of_object = object_of_ring[_ring_of(rings, edge)]
    is_row = begin[:, 1] == end[:, 1]
    borders = [
        _uncancelled(of_object[along], begin[along], end[along], axis)
        for axis, along in ((0, is_row), (1, ~is_row))
    ]
    ring = _ring_of(rings, first)
    start, size = rings.start[ring], rings.size[ring]
    between = _Stretches(
        of_object=object_of_ring[ring],
        begin=_points(rings, first),
        end=_points(rings, last),
        leaves=_way(_points(rings, first), _points(rings, start + (first - start + 1) % size)),
        arrives=_way(_points(rings, start + (last - start - 1) % size), _points(rings, last)),
        vertex=first,
        inner=count - 1,
    )
    stretches = _Stretches.concatenate((*borders, between))
    order, size = cycles(_links(stretches))
    linked, object_of_linked = _assembled(stretches, order, size, rings, block_px)
    return (
        Rings.concatenate((rings.take(untouched), linked)),
        np.concatenate((object_of_ring[untouched], object_of_linked)),
    )


def _uncancelled(
    of_object: NDArray[np.int64], begin: NDArray[np.int64], end: NDArray[np.int64], axis: int
) -> _Stretches:
    """What is left of edges along one axis, where those of one object that run against each other cancel."""
    line, start, stop = begin[:, 1 - axis], begin[:, axis], end[:, axis]
    way = np.sign(stop - start)
    # Along each line of each object, edges that lead on add 1 from their lesser to their greater end, those that
    # lead back take 1 away: the sum so far says which way the outline runs.
    ends = np.concatenate((np.minimum(start, stop), np.maximum(start, stop)))
    keys = np.stack((np.tile(of_object, 2), np.tile(line, 2), ends))
    order = np.lexsort(keys[::-1])
    keys, change = keys[:, order], np.concatenate((way, -way))[order]
    first = np.flatnonzero(np.append(True, (keys[:, 1:] != keys[:, :-1]).any(axis=0))[: keys.shape[1]])
    change = np.add.reduceat(change, first) if len(first) else change
    keys, change = keys[:, first[change != 0]], change[change != 0]
    way = np.cumsum(change)[:-1] if len(change) else change
    runs = np.flatnonzero(way)
    here, there = keys[2, runs], keys[2, runs + 1]
    begin, end = np.empty((len(runs), 2), np.int64), np.empty((len(runs), 2), np.int64)
    begin[:, 1 - axis] = end[:, 1 - axis] = keys[1, runs]
    begin[:, axis], end[:, axis] = np.where(way[runs] > 0, (here, there), (there, here))
    return _Stretches.straight(keys[0, runs], begin, end)


def _points(rings: Rings, vertex: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where vertices are, x and y, int64 (n, 2)."""
    return np.asarray(rings.xy[vertex], np.int64)


def _ring_of(rings: Rings, vertex: NDArray[np.int64]) -> NDArray[np.int64]:
    """The ring of each vertex, int64 (n,)."""
    return np.searchsorted(rings.start, vertex, side="right") - 1


def _links(stretches: _Stretches) -> NDArray[np.int64]:
    """The stretch that follows each, (n,).

    Raises:
        ValueError: One leads nowhere.
    """

    def in_order(place: NDArray[np.int64], way: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.lexsort((way, place[:, 0], place[:, 1], stretches.of_object))

    # Where two pixels of an object have only a corner in common, two stretches arrive and two leave. The outline
    # turns left there: what lies between the pixels on either side is not one and the same hole.
    leaving = in_order(stretches.begin, stretches.leaves)
    arriving = in_order(stretches.end, stretches.arrives)
    here = np.column_stack((stretches.of_object, stretches.begin))[leaving]
    there = np.column_stack((stretches.of_object, stretches.end))[arriving]
    if (here != there).any():
        raise ValueError("the parts of an object do not fit together")
    twice = np.flatnonzero((here[1:] == here[:-1]).all(axis=1)) if len(here) else np.empty(0, np.int64)
    crossed = twice[(stretches.leaves[leaving[twice]] + 1) % 4 != stretches.arrives[arriving[twice]]]
    leaving[crossed], leaving[crossed + 1] = leaving[crossed + 1], leaving[crossed]
    following = np.empty(len(leaving), np.int64)
    following[arriving] = leaving
    return following


def _assembled(
    stretches: _Stretches,
    order: NDArray[np.int64],
    size: NDArray[np.int64],
    rings: Rings,
    block_px: tuple[int, int],
) -> tuple[Rings, NDArray[np.int64]]:
    """Rings from stretches in order, `size` (r,) of them each, and their objects."""
    if len(order) == 0:
        return rings.take(order), order
    start = np.cumsum(size) - size
    before = np.roll(order, 1)
    before[start] = order[start + size - 1]
    # No vertex in the middle of a straight line.
    turns = np.empty(len(order), np.bool_)
    turns[order] = stretches.arrives[before] != stretches.leaves[order]
    of_ring = _ring_of(rings, stretches.vertex)
    xy = write_stretches(
        rings.xy,
        rings.start[of_ring],
        rings.size[of_ring],
        stretches.begin,
        stretches.vertex,
        stretches.inner,
        turns,
        order,
    )
    vertices = np.add.reduceat(turns[order] + stretches.inner[order], start)
    # Within a block too two parts may have had a corner in common, which the ring then comes back to.
    size, of_joined = cut_rings(xy, vertices, *block_px)
    linked = Rings(xy, size, np.ones(len(size), np.int64))
    return linked, stretches.of_object[order[start]][of_joined]


def _way(begin: NDArray[Any], end: NDArray[Any]) -> NDArray[np.int64]:
    """Which way edges lead, (n,): 0 east, 1 south, 2 west, 3 north."""
    x, y = np.sign(end - begin).T.astype(np.int64)
    return np.where(y == 0, 1 - x, 2 - y)
