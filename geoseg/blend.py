"""Tiles into one block: window weights that are positive everywhere, sums in a fixed order, one division."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.grid import Window
from geoseg.labels import Activation
from geoseg.tiling import Lattice

_STRIP_ROWS = 64

_INSTANCE_FIELDS = 3
"""Heat, and the offset along rows and along columns."""

_LEAST_WEIGHT = 1e-6
"""What the offsets of a pixel weigh at least: what is nearly no thing has none that counts."""


def blended_channels(classes: int, things: Sequence[int] | None) -> int:
    """How many fields are blended: of each class, and of instances if there are any.

    Args:
        classes: How many classes there are.
        things: As of `BlockBlend`.
    """
    return classes + (0 if things is None else _INSTANCE_FIELDS)


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

    What a network says of instances is blended like its classes: the heat as it is, cut to 0..1; an offset as far
    as it means anything, which is as far as its pixel is of a thing, so that it weighs as much as the tile gives
    the thing classes there. `centres` divides by what they weigh together: the blended probability of a thing.

    Args:
        window: The block's pixels, and those below that its tiles reach.
        classes: How many classes the network tells apart, its first channels.
        device: Where the fields are.
        above: What `below` of the block above gave, (channel, row, column), for the first rows of the window.
        memory: Where to keep the sums, (n,) float32, at least as many as there are; None for new memory. They are
            the largest array of a worker, and fresh pages for it cost more time than the sums themselves.
        activation: What makes probabilities of logits.
        things: The classes whose objects the network's further channels tell apart (heat, offset along rows, along
            columns); None where only classes are wanted.
    """

    def __init__(
        self,
        window: Window,
        classes: int,
        device: str = "cpu",
        above: Tensor | None = None,
        memory: Tensor | None = None,
        activation: Activation = "softmax",
        things: Sequence[int] | None = None,
    ) -> None:
        self._window = window
        self._device = device
        self._activation = activation
        self._classes = classes
        self._things = None if things is None else torch.tensor(things, device=device)
        shape = (blended_channels(classes, things), *window.shape)
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
        """Add a tile's probabilities, from its logits, and what it says of instances.

        Args:
            tile: The tile's window.
            logits_chw: float32 (channel, row, column) over exactly that window; channels that are not wanted may
                follow.
            weight_h: Along the tile's rows, from `axis_weights`.
            weight_w: Along its columns.
        """
        common = self._window.intersection(tile)
        if common is None:
            return
        (rows, cols), (tile_rows, tile_cols) = common.slices_in(self._window), common.slices_in(tile)
        weights_h = torch.from_numpy(weight_h[tile_rows]).to(self._device)
        weights_w = torch.from_numpy(weight_w[tile_cols]).to(self._device)
        target_chw = self._mean_chw[:, rows, cols]
        source_chw = logits_chw[: len(target_chw), tile_rows, tile_cols]
        # As many rows at a time as stay in a processor's cache from one step to the next.
        step = _STRIP_ROWS if self._device == "cpu" else common.height
        for row in range(0, common.height, step):
            strip = slice(row, row + step)
            fields_chw = self._fields(source_chw[:, strip].contiguous())
            target_chw[:, strip].addcmul_(fields_chw, torch.outer(weights_h[strip], weights_w))

    def _fields(self, logits_chw: Tensor) -> Tensor:
        """What of a tile's answer (channel, row, column) is added up."""
        match self._activation:
            case "softmax":
                probability_chw = logits_chw[: self._classes].softmax(dim=0)
            case "sigmoid":
                probability_chw = logits_chw[: self._classes].sigmoid()
        if self._things is None:
            return probability_chw
        heat_chw, offset_ahw = logits_chw[self._classes : -2].clamp(0, 1), logits_chw[-2:]
        thing_hw = probability_chw[self._things].sum(0)
        return torch.cat([probability_chw, heat_chw, offset_ahw * thing_hw])

    def mean(self, rows: int) -> Tensor:
        """The blended probabilities (class, row, column) of the first rows; zero where no tile has any weight."""
        return self._mean_chw[: self._classes, :rows]

    def centres(self, rows: int) -> tuple[Tensor, Tensor]:
        """The blended heat (row, column) of the first rows, and offsets in pixels (axis, row, column).

        Raises:
            ValueError: Only classes are blended.
        """
        if self._things is None:
            raise ValueError("expected a blend of instances, got one of classes alone")
        heat_hw, offset_ahw = self._mean_chw[self._classes, :rows], self._mean_chw[-2:, :rows]
        thing_hw = self.mean(rows)[self._things].sum(0)
        return heat_hw, offset_ahw / thing_hw.clamp(min=_LEAST_WEIGHT)

    def below(self, rows: int) -> Tensor:
        """The sums (channel, row, column) below the first rows, in memory of their own."""
        return self._mean_chw[:, rows:].clone()
