"""Connected components of classes that are seen window by window: one that lies in several has one id."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import Window
from geoseg.objects.label import grid_places, runs_of

_Line = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Along a side of a window, the id of each pixel, 0 for none, and its class."""


class WindowComponents:
    """The 4-connected components of equal class over a grid.

    Windows are those of a regular lattice, in any order and each once; what meets across their sides is remembered,
    and a side is forgotten as soon as its other side was seen.

    Args:
        keep: Ids of the classes whose components are objects.
        grid_width: Columns of the grid.
    """

    def __init__(self, keep: tuple[int, ...], grid_width: int) -> None:
        self._keep, self._grid_width = keep, grid_width
        self._sides: dict[tuple[bool, int, int], _Line | None] = {}
        self._one, self._other = [np.empty(0, np.int64)], [np.empty(0, np.int64)]

    def add(self, classes_hw: NDArray[np.uint8], window: Window) -> NDArray[np.int64]:
        """See a window.

        Args:
            classes_hw: Class ids (row, column), 255 for none.
            window: Its place on the grid.

        Returns:
            The component of each pixel (row, column), 0 for none: its id as far as this window sees.
        """
        runs = runs_of(classes_hw, self._keep)
        ids = np.concatenate(([0], 1 + grid_places(runs.first_places(), window, self._grid_width)))
        ids_hw = ids[runs.paint()]
        self._meet((False, window.row, window.col), ids_hw[0], classes_hw[0])
        self._meet((False, window.row_stop, window.col), ids_hw[-1], classes_hw[-1])
        self._meet((True, window.row, window.col), ids_hw[:, 0], classes_hw[:, 0])
        self._meet((True, window.row, window.col_stop), ids_hw[:, -1], classes_hw[:, -1])
        return np.asarray(ids_hw, np.int64)

    def whole(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids (n,) over all windows of components that `add` gave other ids (n,).

        They are 1 + row x grid width + column of the first pixel in raster order that was seen of each.
        """
        one, other = np.concatenate(self._one), np.concatenate(self._other)
        cut, number = np.unique(np.concatenate((one, other)), return_inverse=True)
        edges = (np.ones(len(one), np.uint8), (number[: len(one)], number[len(one) :]))
        graph = coo_array(edges, shape=(len(cut), len(cut)))
        count, group = connected_components(graph, directed=False) if len(cut) else (0, np.empty(0, np.int64))
        least = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(least, group, cut)
        at = np.searchsorted(cut, ids)
        is_cut = np.append(cut, -1)[at] == ids
        found = ids.copy()
        found[is_cut] = least[group[at[is_cut]]]
        return found

    def _meet(self, side: tuple[bool, int, int], ids: NDArray[np.int64], classes: NDArray[np.uint8]) -> None:
        """Join what lies along a side (across columns or not, row, column) with what was seen beyond it."""
        if side not in self._sides:
            self._sides[side] = (ids.copy(), classes.copy()) if ids.any() else None
            return
        beyond = self._sides.pop(side)
        if beyond is None:
            return
        their_ids, their_classes = beyond
        touch = (ids > 0) & (their_ids > 0) & (classes == their_classes)
        pairs = np.unique(np.stack((ids[touch], their_ids[touch])), axis=1)
        self._one.append(pairs[0])
        self._other.append(pairs[1])
