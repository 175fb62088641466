"""Where the pixels of each class are, by cells: so that windows can be drawn around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.train.scenes import LabelledScene

_CELL_PX = 256
_MOST_CELLS = 16384
"""Cells that are looked at, 2^30 pixels; of more ground, as many evenly spread."""


@dataclass(frozen=True, slots=True, eq=False)
class ClassIndex:
    """Counts of pixels by cell and class.

    Attributes:
        cells: Scene number and window of each cell (n,).
        pixels_nk: int64 (cell, class), labelled pixels of the class.
    """

    cells: tuple[tuple[int, Window], ...]
    pixels_nk: NDArray[np.int64]

    @classmethod
    def of(cls, scenes: Sequence[LabelledScene], classes: int) -> Self:
        """Look at the labels of open scenes once, cell by cell.

        Args:
            scenes: Of which `labels` gives coded labels.
            classes: How many classes there are.

        Raises:
            SceneError: Labels cannot be read.
        """
        cells = [(number, cell) for number, scene in enumerate(scenes) for cell in _cells(scene)]
        if len(cells) > _MOST_CELLS:
            cells = [cells[i * len(cells) // _MOST_CELLS] for i in range(_MOST_CELLS)]
        pixels_nk = np.zeros((len(cells), classes), np.int64)
        for row, (number, cell) in enumerate(cells):
            counts = np.bincount(scenes[number].labels(cell).ravel(), minlength=256)
            pixels_nk[row] = counts[:classes]
        return cls(tuple(cells), pixels_nk)

    @property
    def pixels_k(self) -> NDArray[np.int64]:
        """Pixels of each class (class,) in all cells."""
        return np.asarray(self.pixels_nk.sum(0))


def _cells(scene: LabelledScene) -> list[Window]:
    """The cells of a scene that meet its region, in raster order."""
    found = []
    for row in range(0, scene.grid.height, _CELL_PX):
        for col in range(0, scene.grid.width, _CELL_PX):
            cell = Window(row, col, _CELL_PX, _CELL_PX).intersection(scene.grid.window)
            assert cell is not None  # it begins on the grid
            if scene.pixels.intersects(shapely.box(cell.col, cell.row, cell.col_stop, cell.row_stop)):
                found.append(cell)
    return found
