"""Overviews of the mosaic, window by window from the level below."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.io.halving import majority_of_four, mean_of_four
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS

_WINDOW_PX = 2 * CHUNK_PX


@dataclass(frozen=True, slots=True)
class ReduceBlocks:
    """Write one level of overviews from the level below.

    Attributes:
        run: The RUN folder.
        level: The level to write, from 1.
        depends: Hash of the full-resolution arrays.
    """

    run: RunFolder
    level: int
    depends: str

    def open(self) -> Callable[[Window], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic, ledger = self.run.mosaic, self.run.ledger("overviews")
        below_height, below_width = mosaic.level_shapes()[self.level - 1]

        def reduce(window: Window) -> dict[str, Any]:
            row, col = 2 * window.row, 2 * window.col
            source = Window(
                row,
                col,
                min(2 * window.height, below_height - row),
                min(2 * window.width, below_width - col),
            )
            classes_hw = mosaic.read(self.level - 1, "classes", source)
            confidence_hw = mosaic.read(self.level - 1, "confidence", source)
            small_hw = np.full((2, *window.shape), NODATA_CLASS, np.uint8)
            held = _held(classes_hw)
            if held is not None:
                rows, cols = held
                at = slice(rows.start // 2, -(-rows.stop // 2)), slice(cols.start // 2, -(-cols.stop // 2))
                small_hw[0, *at] = majority_of_four(classes_hw[held])
                small_hw[1, *at] = mean_of_four(confidence_hw[held])
            mosaic.write(self.level, "classes", window, small_hw[0])
            mosaic.write(self.level, "confidence", window, small_hw[1])
            chunks = mosaic.chunk_hashes(self.level, ("classes", "confidence"), window)
            ledger.commit(level_key(self.level, window), {"depends": self.depends, "chunks": chunks})
            return {}

        return reduce


def _held(classes_hw: NDArray[np.uint8]) -> tuple[slice, slice] | None:
    """The rows and columns, from even ones, that hold data; None where there is none."""
    valid_hw = classes_hw != NODATA_CLASS
    rows, cols = np.flatnonzero(valid_hw.any(axis=1)), np.flatnonzero(valid_hw.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]) // 2 * 2, int(rows[-1]) + 1), slice(int(cols[0]) // 2 * 2, int(cols[-1]) + 1)


def level_key(level: int, window: Window) -> str:
    """Name of a window of an overview in the ledger."""
    return f"{level}-{window.row}-{window.col}"


def level_windows(level: int, height: int, width: int, covered: Iterable[Window]) -> list[Window]:
    """Windows of whole chunks of an overview that see some of what is covered, in row-major order.

    The others need not be written: what is not stored is nodata.

    Args:
        level: From 1.
        height: Rows of that level.
        width: Columns.
        covered: Windows of the full resolution that hold data.
    """
    # A window of the level, in pixels of the full resolution.
    side = _WINDOW_PX << level
    places = {
        (i, j)
        for window in covered
        for i in range(window.row // side, (window.row_stop - 1) // side + 1)
        for j in range(window.col // side, (window.col_stop - 1) // side + 1)
    }
    return [
        Window(row, col, min(_WINDOW_PX, height - row), min(_WINDOW_PX, width - col))
        for row, col in ((i * _WINDOW_PX, j * _WINDOW_PX) for i, j in sorted(places))
    ]
