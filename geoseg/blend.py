"""Tiles into one block: window weights that are positive everywhere, sums in a fixed order, one division."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.grid import Window
from geoseg.labels import Activation
from geoseg.tiling import Lattice

_STRIP_ROWS = 64


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


def axis_weights(lattice: Lattice, k: int, size: int, taper_px: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (tile_px,) of tile k along an axis of `size` pixels, divided by the sum of all tiles' weights there.

    A tile's weights are an outer product, and so is their sum over all tiles: with these no division is left.

    Returns:
        float32; zero where no tile has any weight.
    """
    start = lattice.window(k, 0).row
    sums = np.zeros(lattice.tile_px)
    count, _ = lattice.count(size, 1)
    for other in lattice.indices(max(start, 0), min(start + lattice.tile_px, size), count):
        shift = (other - k) * lattice.stride_px
        low, high = max(shift, 0), min(lattice.tile_px + shift, lattice.tile_px)
        sums[low:high] += taper_px[low - shift : high - shift]
    weights = np.divide(taper_px, sums, out=np.zeros_like(sums), where=sums > 0)
    return weights.astype(np.float32)


class BlockBlend:
    """The weighted mean of the tile fields that touch a block, and of as much below it as those tiles reach.

    The sums run in the order in which tiles are added; give them in row-major order and the result depends
    on nothing else. What lies below a block goes on into the block below: its sums begin with the same tiles.

    Args:
        window: The block's pixels, and those below that its tiles reach.
        channels: Fields of a tile.
        device: Where the fields are.
        above: What `below` of the block above gave, (channel, row, column), for the first rows of the window.
        memory: Where to keep the sums, (n,) float32, at least as many as there are; None for new memory. They are
            the largest array of a worker, and fresh pages for it cost more time than the sums themselves.
        activation: What makes probabilities of logits.
    """

    def __init__(
        self,
        window: Window,
        channels: int,
        device: str = "cpu",
        above: Tensor | None = None,
        memory: Tensor | None = None,
        activation: Activation = "softmax",
    ) -> None:
        self._window = window
        self._device = device
        self._activation = activation
        shape = (channels, *window.shape)
        self._mean_chw = (
            torch.empty(shape, device=device) if memory is None else memory[: math.prod(shape)].view(shape)
        )
        begun = 0 if above is None else above.shape[1]
        if above is not None:
            self._mean_chw[:, :begun] = above
        self._mean_chw[:, begun:] = 0

    def add(
        self, tile: Window, logits_chw: Tensor, weight_h: NDArray[np.float32], weight_w: NDArray[np.float32]
    ) -> None:
        """Add a tile's probabilities, from its logits.

        Args:
            tile: The tile's window.
            logits_chw: float32 (channel, row, column) over exactly that window.
            weight_h: Along the tile's rows, from `axis_weights`.
            weight_w: Along its columns.
        """
        common = self._window.intersection(tile)
        if common is None:
            return
        (rows, cols), (tile_rows, tile_cols) = common.slices_in(self._window), common.slices_in(tile)
        weights_h = torch.from_numpy(weight_h[tile_rows]).to(self._device)
        weights_w = torch.from_numpy(weight_w[tile_cols]).to(self._device)
        target_chw, source_chw = self._mean_chw[:, rows, cols], logits_chw[:, tile_rows, tile_cols]
        # As many rows at a time as stay in a processor's cache from one step to the next.
        step = _STRIP_ROWS if self._device == "cpu" else common.height
        for row in range(0, common.height, step):
            strip = slice(row, row + step)
            logits_strip_chw = source_chw[:, strip].contiguous()
            match self._activation:
                case "softmax":
                    probability_chw = logits_strip_chw.softmax(dim=0)
                case "sigmoid":
                    probability_chw = logits_strip_chw.sigmoid()
            target_chw[:, strip].addcmul_(probability_chw, torch.outer(weights_h[strip], weights_w))

    def mean(self, rows: int) -> Tensor:
        """The blended fields (channel, row, column) of the first rows; zero where no tile has any weight."""
        return self._mean_chw[:, :rows]

    def below(self, rows: int) -> Tensor:
        """The sums (channel, row, column) below the first rows, in memory of their own."""
        return self._mean_chw[:, rows:].clone()
