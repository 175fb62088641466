"""Tiles into one block: window weights that are positive everywhere, sums in a fixed order, one division."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

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


def weight_sums(
    lattice: Lattice, start: int, stop: int, size: int, taper_px: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sums of the weights along one axis, float32 (n,), at the pixels [start, stop) of an axis of `size` pixels.

    The weights of a tile are an outer product, so their sum over all tiles is the outer product of these sums.
    """
    sums = np.zeros(stop - start)
    count, _ = lattice.count(size, 1)
    for k in range(count):
        first = lattice.window(k, 0).row
        low, high = max(first, start), min(first + lattice.tile_px, stop)
        if low < high:
            sums[low - start : high - start] += taper_px[low - first : high - first]
    return sums.astype(np.float32)


class BlockBlend:
    """Weighted sums of the tile fields that touch a block, and of as much below it as those tiles reach.

    The sums run in the order in which tiles are added; give them in row-major order and the result depends
    on nothing else. What lies below a block goes on into the block below: its sums begin with the same tiles.

    Args:
        window: The block's pixels, and those below that its tiles reach.
        channels: Fields of a tile.
        taper_px: Weights along one axis, from `taper`.
        device: Where the fields are.
        above: What `below` of the block above gave, (channel, row, column), for the first rows of the window.
    """

    def __init__(
        self,
        window: Window,
        channels: int,
        taper_px: NDArray[np.float32],
        device: str = "cpu",
        above: Tensor | None = None,
    ) -> None:
        self._window = window
        self._weights_hw = torch.from_numpy(np.outer(taper_px, taper_px)).to(device)
        self._sum_chw = torch.zeros((channels, *window.shape), device=device)
        if above is not None:
            self._sum_chw[:, : above.shape[1]] = above

    def add(self, tile: Window, fields_chw: Tensor) -> None:
        """Add a tile's fields, float32 (channel, row, column) over exactly the tile's window."""
        common = self._window.intersection(tile)
        if common is None:
            return
        target, source = common.slices_in(self._window), common.slices_in(tile)
        self._sum_chw[(slice(None), *target)].addcmul_(fields_chw[(slice(None), *source)], self._weights_hw[source])

    def mean(self, rows: int, weight_h: NDArray[np.float32], weight_w: NDArray[np.float32]) -> Tensor:
        """The blended fields (channel, row, column) of the first rows; zero where the weights are.

        Args:
            rows: How many.
            weight_h: Sums of the weights of all tiles along the rows, from `weight_sums`.
            weight_w: Along the columns.
        """
        mean_chw = self._sum_chw[:, :rows]
        for weights, axis in ((weight_h, 1), (weight_w, 2)):
            inverse = np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0)
            shape = [1, 1, 1]
            shape[axis] = len(inverse)
            mean_chw = mean_chw * torch.from_numpy(inverse).to(mean_chw.device).reshape(shape)
        return mean_chw

    def below(self, rows: int) -> Tensor:
        """The sums (channel, row, column) below the first rows, in memory of their own."""
        return self._sum_chw[:, rows:].clone()
