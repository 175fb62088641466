"""Pixels of a grid by squares, made when they are asked for and kept for a while: small windows cost little."""

from collections.abc import Callable
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window

_ValueT = TypeVar("_ValueT", bound=np.generic)


class Squares(Generic[_ValueT]):
    """What is read or drawn over a grid, in squares that begin at its origin.

    Args:
        make: The pixels of a window of the grid, (row, column); they may not depend on the window.
        shape: (height, width) of the grid.
        side_px: Side of the squares.
        most: How many squares are kept.
    """

    def __init__(
        self, make: Callable[[Window], NDArray[_ValueT]], shape: tuple[int, int], side_px: int, most: int
    ) -> None:
        self._whole = Window(0, 0, *shape)
        self._side_px = side_px
        self._square = lru_cache(most)(make)

    def read(self, window: Window) -> NDArray[_ValueT]:
        """The pixels of a window of the grid, (row, column); not to be written to."""
        side = self._side_px
        rows, cols = (
            range(start // side, (stop - 1) // side + 1)
            for start, stop in ((window.row, window.row_stop), (window.col, window.col_stop))
        )
        if len(rows) == len(cols) == 1:
            return self._part(rows[0], cols[0], window)
        return np.concatenate([np.concatenate([self._part(i, j, window) for j in cols], axis=1) for i in rows])

    def _part(self, i: int, j: int, window: Window) -> NDArray[_ValueT]:
        side = self._side_px
        square = Window(i * side, j * side, side, side).intersection(self._whole)
        assert square is not None  # the window lies on the grid
        common = square.intersection(window)
        assert common is not None  # rows and columns are those that the window meets
        return self._square(square)[common.slices_in(square)]
