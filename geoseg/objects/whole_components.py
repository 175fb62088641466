"""4-connected components of a whole raster, of which no more than a square is held at a time."""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import Window
from geoseg.objects.label import components

_Line = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Of each pixel of a line its component, 0 for none, numbered on from the squares before; and its class."""


class WholeComponents:
    """Which component each pixel of a raster is of, whatever window is asked for.

    Two pixels are of one component where a way of 4-adjacent pixels of their class joins them, anywhere on the
    raster. Squares are labelled each by itself, what meets at their borders is joined once, and a square is
    labelled again when it is asked for: what is kept is 4 bytes for each component of each square.
    """

    def __init__(
        self,
        read: Callable[[Window], NDArray[np.uint8]],
        shape: tuple[int, int],
        keep: Collection[int],
        side_px: int = 512,
    ) -> None:
        """Look at the raster once.

        Args:
            read: Class ids (row, column) of a window.
            shape: (height, width) of the raster.
            keep: Ids of the classes whose components count.
            side_px: Side of the squares, which lie on a lattice from the first pixel on.
        """
        self._read, self._shape, self._keep, self._side_px = read, shape, tuple(keep), side_px
        height, width = shape
        self._columns = -(-width // side_px)
        first = [0]  # of each square, how many components the squares before it have
        pairs = [np.empty((2, 0), np.int64)]
        above: dict[int, _Line] = {}
        for row in range(0, height, side_px):
            left: _Line | None = None
            for col in range(0, width, side_px):
                window = Window(row, col, min(side_px, height - row), min(side_px, width - col))
                classes_hw = read(window)
                numbers_hw = components(classes_hw, self._keep).astype(np.int64)
                count = int(numbers_hw.max(initial=0))
                numbers_hw[numbers_hw > 0] += first[-1]
                first.append(first[-1] + count)
                if left is not None:
                    pairs.append(_meeting(left, (numbers_hw[:, 0], classes_hw[:, 0])))
                if row > 0:
                    pairs.append(_meeting(above[col], (numbers_hw[0], classes_hw[0])))
                left = numbers_hw[:, -1].copy(), classes_hw[:, -1].copy()
                above[col] = numbers_hw[-1].copy(), classes_hw[-1].copy()
        self._first = first
        one, other = np.concatenate(pairs, axis=1)
        graph = coo_array((np.ones(len(one), np.uint8), (one, other)), shape=(first[-1] + 1, first[-1] + 1))
        # Number 0 is no component, and stays alone; scipy numbers in the order of the first member.
        found, self._number = connected_components(graph, directed=False)
        self.count = int(found) - 1

    def square(self, window: Window) -> NDArray[np.int32]:
        """The component of each pixel (row, column) of a square of the lattice.

        Args:
            window: The square, smaller at the raster's far edges.

        Returns:
            From 1 to `count`, the same for all pixels of a component; 0 where there is none.
        """
        at = window.row // self._side_px * self._columns + window.col // self._side_px
        numbers_hw = components(self._read(window), self._keep)
        table = np.concatenate(([0], self._number[self._first[at] + 1 : self._first[at + 1] + 1]))
        return np.asarray(table[numbers_hw], np.int32)


def _meeting(one: _Line, other: _Line) -> NDArray[np.int64]:
    """The components of two adjacent lines that are the same, (2, n)."""
    (numbers, classes), (other_numbers, other_classes) = one, other
    same = (numbers > 0) & (other_numbers > 0) & (classes == other_classes)
    return np.unique(np.stack([numbers[same], other_numbers[same]]), axis=1)
