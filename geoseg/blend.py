"""Tiles into one block: window weights that are positive everywhere, sums in a fixed order, one division."""

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.tiling import Lattice


def taper(lattice: Lattice) -> NDArray[np.float32]:
    """Weights (tile_px,) of a tile along one axis; the window is their outer product.

    One over the tile's own middle; across the overlap a raised cosine sampled at pixel centres, which is
    positive at the outermost pixel and, with the neighbour's, sums to one (a Tukey window, Harris 1978).
    At the grid's edges no neighbour answers and the division by the sum of weights makes the window flat
    there.

    Returns:
        float32, each in (0, 1].
    """
    overlap = lattice.overlap_px
    ramp = 0.5 - 0.5 * np.cos(np.pi * (np.arange(overlap) + 0.5) / max(overlap, 1))
    weights = np.ones(lattice.tile_px)
    weights[:overlap] = ramp
    weights[lattice.tile_px - overlap :] = ramp[::-1]
    return weights.astype(np.float32)


class BlockBlend:
    """Weighted mean of the tile fields that touch a block.

    The sums run in the order in which tiles are added; give them in row-major order and the result depends
    on nothing else.

    Args:
        window: The block's pixels.
        channels: Fields of a tile.
        taper_px: Weights along one axis, from `taper`.
    """

    def __init__(self, window: Window, channels: int, taper_px: NDArray[np.float32]) -> None:
        self._window = window
        self._weights_hw = np.outer(taper_px, taper_px)
        self._sum_chw = np.zeros((channels, *window.shape), np.float32)
        self._weight_hw = np.zeros(window.shape, np.float32)

    def add(self, tile: Window, fields_chw: NDArray[np.float32]) -> None:
        """Add a tile's fields, (channel, row, column) over exactly the tile's window."""
        common = self._window.intersection(tile)
        if common is None:
            return
        target, source = common.slices_in(self._window), common.slices_in(tile)
        weights_hw = self._weights_hw[source]
        self._sum_chw[(slice(None), *target)] += weights_hw * fields_chw[(slice(None), *source)]
        self._weight_hw[target] += weights_hw

    def mean(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The blended fields (channel, row, column), zero where no tile was added, and where one was."""
        covered_hw = self._weight_hw > 0
        np.divide(self._sum_chw, self._weight_hw, out=self._sum_chw, where=covered_hw)
        return self._sum_chw, covered_hw
