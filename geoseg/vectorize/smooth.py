"""Smoothing of the staircase of pixels, so that neighbours that share an edge still share it afterwards."""

import numpy as np
from numpy.typing import NDArray

from geoseg.vectorize.rings import Rings

_CUT_PX = 0.5
"""How far from a corner it is cut: no edge is shorter than a pixel, so that no two cuts cross."""


def smooth(rings: Rings, keep: NDArray[np.bool_]) -> Rings:
    """Cut the corners between two outlines by half a pixel, as one step of corner cutting does.

    The steps of a slanted line, one pixel long, thereby become that line: it goes through the middles of the sides
    of pixels, where the classes meet, and not through the outer corners (Chaikin 1974, An algorithm for high-speed
    curve generation, with cuts at half a side). Corners stay where three or more outlines meet, or one meets
    nothing: at the edge of what is worked on, and towards pixels without data.

    Args:
        rings: Polygons of a partition, in whole pixels, with edges along rows and columns and a vertex wherever
            another polygon has one (`renode`).
        keep: bool (polygon,); all corners of these stay.

    Returns:
        The same polygons, float64, in halves of a pixel. Neighbours have the same vertices along what they share,
        and no edges cross: each cut stays within half a pixel of its corner.
    """
    if len(rings.xy) == 0:
        return rings
    free = _free(rings, keep)
    xy = rings.xy.astype(np.float64)
    following = rings.following
    preceding = np.empty_like(following)
    preceding[following] = np.arange(len(following))
    # A corner that is cut is twice there: half a pixel back, and half a pixel on.
    copies = np.where(free, 2, 1)
    corner = np.repeat(np.arange(len(xy)), copies)
    is_second = np.concatenate(([False], corner[1:] == corner[:-1]))
    towards = np.where(is_second, following[corner], preceding[corner])
    step = _CUT_PX * np.sign(xy[towards] - xy[corner])
    cut_xy = xy[corner] + np.where(free[corner, None], step, 0)
    ring = np.repeat(np.repeat(np.arange(len(rings.size)), rings.size), copies)
    size = np.bincount(ring, minlength=len(rings.size))
    # Of a side one pixel long both ends are cut in its middle.
    following = Rings(cut_xy, size, rings.count).following
    is_new = (cut_xy != cut_xy[following]).any(axis=1)
    return Rings(cut_xy[is_new], np.bincount(ring[is_new], minlength=len(size)), rings.count)


def _free(rings: Rings, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which vertices lie between exactly two outlines, which both may change there; bool (vertex,)."""
    xy = rings.xy.astype(np.int64)
    xy = xy - xy.min(axis=0)
    place = xy[:, 1] * (int(xy[:, 0].max()) + 1) + xy[:, 0]
    following = rings.following
    before = np.empty_like(place)
    before[following] = place
    after = place[following]
    ring_keeps = np.repeat(keep, rings.count)
    columns = (place, np.minimum(before, after), np.maximum(before, after), np.repeat(ring_keeps, rings.size))
    order = np.lexsort((columns[1], place))
    at, low, high, kept = (column[order] for column in columns)
    same_as_next = (at[:-1] == at[1:]) & (low[:-1] == low[1:]) & (high[:-1] == high[1:]) & ~kept[:-1] & ~kept[1:]
    # Two visits of the same place between the same neighbours, and no third visit.
    starts = np.concatenate(([True], at[1:] != at[:-1]))
    number = np.cumsum(starts) - 1
    visits = np.bincount(number)
    pairs = np.bincount(number[:-1], same_as_next, minlength=len(visits))
    free = np.empty(len(place), bool)
    free[order] = ((visits == 2) & (pairs == 1))[number]
    return free
