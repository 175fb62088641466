"""Objects that are an array in memory, where a run has them in a mosaic."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.tiling import Block


@dataclass
class Field:
    """As `RunObjects`."""

    ids_hw: NDArray[np.uint64]
    things: frozenset[int]
    is_mixed: bool = False

    def read(self, window: Window) -> NDArray[np.uint64]:
        return self.ids_hw[window.row : window.row_stop, window.col : window.col_stop]

    def begin(self, block: Block) -> NDArray[np.uint64]:
        own_hw = 1 + np.arange(self.ids_hw.size, dtype=np.uint64).reshape(self.ids_hw.shape)
        at = block.window.slices_in(Window(0, 0, *self.ids_hw.shape))
        return self.ids_hw[at][self.ids_hw[at] == own_hw[at]]


def by_first_pixel(groups_hw: NDArray[Any]) -> NDArray[np.uint64]:
    """Ids of objects: 1 + place of the first pixel of each group but 0."""
    _, first, index = np.unique(groups_hw, return_index=True, return_inverse=True)
    return np.where(groups_hw == 0, 0, 1 + first[index].reshape(groups_hw.shape)).astype(np.uint64)
