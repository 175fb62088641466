"""Overviews of the mosaic, window by window from the level below."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.grid import Window
from geoseg.io.mosaic import majority_of_four, mean_of_four
from geoseg.io.run_folder import RunFolder


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
            mosaic.write(self.level, "classes", window, majority_of_four(classes_hw))
            mosaic.write(self.level, "confidence", window, mean_of_four(confidence_hw))
            chunks = mosaic.chunk_hashes(self.level, ("classes", "confidence"), window)
            ledger.commit(level_key(self.level, window), {"depends": self.depends, "chunks": chunks})
            return {}

        return reduce


def level_key(level: int, window: Window) -> str:
    """Name of a window of an overview in the ledger."""
    return f"{level}-{window.row}-{window.col}"


def level_windows(height: int, width: int, side: int) -> list[Window]:
    """Windows of `side` px that cover an overview of height x width pixels, in row-major order."""
    return [
        Window(int(row), int(col), min(side, height - int(row)), min(side, width - int(col)))
        for row in np.arange(0, height, side)
        for col in np.arange(0, width, side)
    ]
