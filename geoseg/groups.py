"""Groups of windows that lie near one another: where what is covered of a large grid lies in clusters."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import Window

WHOLE_PX = 2**28
"""A grid of so many pixels is one raster and one picture, wherever its data lies."""

APART = 16
"""A larger grid falls into groups where it has more than so many times the pixels of their boxes."""


@dataclass(frozen=True, slots=True)
class Group:
    """Windows that belong together.

    Attributes:
        box: The smallest window that holds them all.
        windows: In row-major order, at least one.
    """

    box: Window
    windows: tuple[Window, ...]

    @property
    def covered_px(self) -> int:
        """Pixels of the windows."""
        return sum(window.height * window.width for window in self.windows)


def grouped(windows: Iterable[Window]) -> tuple[Group, ...]:
    """The finest grouping in which windows that touch, also diagonally, share a group, and no two boxes overlap.

    There is only one: two groups whose boxes overlap are in one group of every coarser grouping that will do.

    Args:
        windows: Windows that do not overlap, in any order.

    Returns:
        Groups in the row-major order of the first window of each.
    """
    ordered = sorted(windows)
    edges = np.array([(w.row, w.col, w.row_stop, w.col_stop) for w in ordered], np.int64).reshape(-1, 4)
    group_of = _joined(edges, 0)
    while True:
        boxes = _boxes(edges, group_of)
        # Windows hold pixels, and boxes that only touch have none in common.
        of_box = _joined(boxes, 0.25)
        if len(np.unique(of_box)) == len(boxes):
            break
        group_of = of_box[group_of]
    # By the first window, which comes first in the row-major order.
    _, first = np.unique(group_of, return_index=True)
    members = np.split(np.argsort(group_of, kind="stable"), np.cumsum(np.bincount(group_of))[:-1])
    return tuple(
        Group(_window(boxes[number]), tuple(ordered[member] for member in members[number]))
        for number in np.argsort(first)
    )


def groups_apart(windows: Iterable[Window], height: int, width: int) -> tuple[Group, ...] | None:
    """The groups of windows where a grid is so large, and they cover so little of it, that each is for itself.

    Args:
        windows: What is covered.
        height: Rows of the grid.
        width: Columns.

    Returns:
        See `grouped`; None where the grid is shown and written as a whole.
    """
    whole_px = height * width
    if whole_px <= WHOLE_PX:
        return None
    groups = grouped(windows)
    boxes_px = sum(group.box.height * group.box.width for group in groups)
    return groups if whole_px > APART * boxes_px else None


def box_of(windows: Iterable[Window]) -> Window:
    """The smallest window that holds all of some, at least one."""
    edges = np.array([(w.row, w.col, w.row_stop, w.col_stop) for w in windows], np.int64)
    return _window(_boxes(edges, np.zeros(len(edges), np.int64))[0])


def _joined(edges: NDArray[np.int64], inset: float) -> NDArray[np.int64]:
    """Numbers of groups, int64 (n,), of rectangles (n, row-col-row_stop-col_stop) that meet, each made smaller."""
    if not len(edges):
        return np.empty(0, np.int64)
    # Numbers of pixels, and quarters of them, are exact in floats.
    row, col, row_stop, col_stop = edges.T.astype(np.float64)
    boxes = shapely.box(col + inset, row + inset, col_stop - inset, row_stop - inset)
    one, other = shapely.STRtree(boxes).query(boxes)
    graph = coo_array((np.ones(len(one), np.uint8), (one, other)), shape=(len(edges), len(edges)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _boxes(edges: NDArray[np.int64], group_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """The bounds of each group, int64 (group, row-col-row_stop-col_stop)."""
    count = int(group_of.max(initial=-1)) + 1
    start = np.full((count, 2), np.iinfo(np.int64).max)
    stop = np.zeros((count, 2), np.int64)
    np.minimum.at(start, group_of, edges[:, :2])
    np.maximum.at(stop, group_of, edges[:, 2:])
    return np.hstack((start, stop))


def _window(edges: NDArray[np.int64]) -> Window:
    row, col, row_stop, col_stop = edges.tolist()
    return Window(row, col, row_stop - row, col_stop - col)
