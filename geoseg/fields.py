"""A block's pixels in, fields out: the network over the tiles that touch a block, blended and quantised."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.blend import BlockBlend, axis_weights, blended_channels, taper
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.mosaic import NO_OFFSET, OFFSET_STEPS, PROBABILITY_SCALE
from geoseg.labels import NODATA_CLASS, Activation
from geoseg.pixels import BlockPixels, PixelSource
from geoseg.predict import Predictor
from geoseg.tiling import Block, BlockPlan, Lattice, Tile


@dataclass(frozen=True, slots=True)
class CentreFields:
    """Where the objects of a block have their centres, as it is stored.

    Attributes:
        heat_hw: How much each pixel is a centre, 0 to 1, x 254; 255 = nodata.
        offset_ahw: int16 (axis, row, column), rows before columns on the first axis: the way from each pixel to its
            object's centre, in sixteenths of a pixel, so right to 1/32 px along each axis up to 2,047 px; -32768
            where there is no data or the winning class is no thing.
    """

    heat_hw: NDArray[np.uint8]
    offset_ahw: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class BlockFields:
    """What is stored of a block.

    Attributes:
        classes_hw: Winning class, 255 = nodata.
        confidence_hw: Probability of the winning class x 254, 255 = nodata.
        probability_chw: Probability of every class x 254, 255 = nodata; of no class where it was not asked for.
        centres: What tells objects apart; None of a network that does not.
        tiles: Tiles that held data and were evaluated.
        cached: Tiles that held data and had been evaluated for the block above.
    """

    classes_hw: NDArray[np.uint8]
    confidence_hw: NDArray[np.uint8]
    probability_chw: NDArray[np.uint8]
    centres: CentreFields | None = None
    tiles: int = 0
    cached: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Below:
    """What the tiles of a block gave for the block below it.

    Attributes:
        block: The block below.
        sum_chw: Weighted sums (channel, row, column) of the rows from its first one to where the tiles end.
        valid_hw: Where those rows hold data.
        tiles: The tiles that were evaluated and reach those rows.
    """

    block: Block
    sum_chw: Tensor
    valid_hw: NDArray[np.bool_]
    tiles: tuple[Tile, ...]


class BlockPredictor:
    """Predicts blocks from all tiles that touch them; what a block shares with the one above is evaluated once.

    A tile without data is not evaluated: it holds no pixel that needs it, whichever block asks. Blocks come one
    at a time: they share the memory for their sums.

    Args:
        plan: Lattice and blocks.
        predictor: The network.
        classes: How many classes it tells apart.
        probability: Whether the probabilities of all classes are wanted.
        weights: How the pixels of a tile count along each axis; positive everywhere.
        activation: What makes probabilities of the network's answers.
        things: The classes whose objects the network tells apart; None for classes alone, of whatever network.
    """

    def __init__(
        self,
        plan: BlockPlan,
        predictor: Predictor,
        classes: int,
        *,
        probability: bool = True,
        weights: Callable[[Lattice], NDArray[np.float32]] = taper,
        activation: Activation = "softmax",
        things: tuple[int, ...] | None = None,
    ) -> None:
        self._plan = plan
        self._predictor = predictor
        self._classes = classes
        self._probability = probability
        self._activation: Activation = activation
        self._things = things
        self._taper_px = weights(plan.lattice)
        self._memory = torch.empty(0, device=predictor.device)

    def predict(self, pixels: BlockPixels, above: Below | None) -> tuple[BlockFields | None, Below | None]:
        """Predict one block.

        Args:
            pixels: The pixels of the tiles of the block, or of those that the block above does not share.
            above: What the tiles of the block above gave; None only if the pixels are those of all tiles.

        Returns:
            The block's fields, or None if it holds no data; and what its tiles give for the block below, or None if
            there is nothing to keep.

        Raises:
            ModelError: The network's answer is not finite.
            ValueError: `above` is not what the pixels go with.
        """
        block, window = pixels.block, pixels.block.window
        if (above is None) != pixels.whole or (above is not None and above.block != block):
            raise ValueError(f"expected what the block above {block.key} gave, got another block's or none")
        reach = max(tile.window.row_stop for tile in self._plan.tiles(block))
        area = Window(window.row, window.col, min(reach, self._plan.height) - window.row, window.width)
        valid_hw = self._valid(pixels, above, area)
        if not valid_hw[: window.height].any():
            return None, None
        start_chw = None if above is None else above.sum_chw
        device, needed = (
            self._predictor.device,
            blended_channels(self._classes, self._things) * area.height * area.width,
        )
        if self._memory.numel() < needed:
            self._memory = torch.empty(needed, device=device)
        blend = BlockBlend(area, self._classes, device, start_chw, self._memory, self._activation, self._things)
        with torch.inference_mode():
            for start in range(0, len(pixels.tiles), self._predictor.batch):
                group = pixels.tiles[start : start + self._predictor.batch]
                logits_nchw = self._predictor.logits(pixels.batch(group, self._predictor.batch))
                for tile, logits_chw in zip(group, logits_nchw, strict=False):
                    blend.add(tile.window, logits_chw, *self._weights(tile))
        mean_chw, plan = blend.mean(window.height), self._plan
        cached = () if above is None else above.tiles
        found = quantise(mean_chw, valid_hw[: window.height], probability=self._probability)
        if self._things is not None:
            is_thing_hw = np.isin(found.classes_hw, self._things)
            centres = quantise_centres(*blend.centres(window.height), valid_hw[: window.height], is_thing_hw)
            found = replace(found, centres=centres)
        below = None
        if area.height > window.height:
            reaching = tuple(tile for tile in (*cached, *pixels.tiles) if tile.window.row_stop > window.row_stop)
            below = Below(
                plan.block(block.i + 1, block.j),
                blend.below(window.height),
                valid_hw[window.height :].copy(),
                reaching,
            )
        return replace(found, tiles=len(pixels.tiles), cached=len(cached)), below

    def _weights(self, tile: Tile) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        lattice, plan = self._plan.lattice, self._plan
        weight_h = axis_weights(lattice, tile.i, plan.height, self._taper_px)
        return weight_h, axis_weights(lattice, tile.j, plan.width, self._taper_px)

    def _valid(self, pixels: BlockPixels, above: Below | None, area: Window) -> NDArray[np.bool_]:
        """Where an area holds data, from what was read and what the block above knew."""
        valid_hw = np.zeros(area.shape, np.bool_)
        if above is not None:
            valid_hw[: len(above.valid_hw)] = above.valid_hw
        common = None if pixels.hull is None else pixels.hull.intersection(area)
        if common is not None:
            valid_hw[common.slices_in(area)] |= pixels.valid(area)
        return valid_hw


def predict_block(
    source: PixelSource,
    imagery: Imagery,
    plan: BlockPlan,
    block: Block,
    predictor: Predictor,
    classes: int,
    activation: Activation = "softmax",
    *,
    probability: bool = True,
) -> BlockFields | None:
    """Predict one block by itself.

    Args:
        source: The scene on the plan's grid.
        imagery: What the network expects.
        plan: Lattice and blocks.
        block: The block.
        predictor: The network.
        classes: How many classes it tells apart.
        activation: What makes probabilities of its answers.
        probability: Whether the probabilities of all classes are wanted.

    Returns:
        The block's fields, or None if it holds no data.

    Raises:
        ModelError: The network's answer is not finite.
    """
    pixels = BlockPixels.read(source, imagery, plan, block, whole=True)
    blockwise = BlockPredictor(plan, predictor, classes, probability=probability, activation=activation)
    return blockwise.predict(pixels, None)[0]


def quantise(probability_chw: Tensor, valid_hw: NDArray[np.bool_], *, probability: bool = True) -> BlockFields:
    """Classes, confidence and probabilities as they are stored; equal probabilities go to the lower class id.

    Args:
        probability_chw: Blended probabilities (channel, row, column), float32.
        valid_hw: Where there is data.
        probability: Whether the probabilities of all classes are wanted.
    """
    nodata_hw = torch.from_numpy(np.where(valid_hw, np.uint8(0), np.uint8(NODATA_CLASS))).to(probability_chw.device)
    highest_hw = probability_chw[0].clone()
    winner_hw = torch.zeros_like(nodata_hw)
    for class_id, band_hw in enumerate(probability_chw[1:], 1):
        # Of all that were higher than those before, the last has the greatest id.
        higher_hw = (band_hw > highest_hw).view(torch.uint8)
        torch.maximum(winner_hw, higher_hw * class_id, out=winner_hw)
        torch.maximum(highest_hw, band_hw, out=highest_hw)
    # A class at a time: temporaries of all classes would be the largest arrays of a worker.
    bands = [_scaled(band_hw, nodata_hw) for band_hw in probability_chw] if probability else []
    return BlockFields(
        torch.maximum(winner_hw, nodata_hw).cpu().numpy(),
        _scaled(highest_hw, nodata_hw),
        np.stack(bands) if bands else np.empty((0, *valid_hw.shape), np.uint8),
    )


def quantise_centres(
    heat_hw: Tensor, offset_ahw: Tensor, valid_hw: NDArray[np.bool_], is_thing_hw: NDArray[np.bool_]
) -> CentreFields:
    """Heat and offsets as they are stored: of pixels of no thing no offset, which would be noise to compress.

    Args:
        heat_hw: Blended heat (row, column), 0 to 1.
        offset_ahw: Blended offsets (axis, row, column) in pixels.
        valid_hw: Where there is data.
        is_thing_hw: Where there is data and the winning class is a thing.
    """
    nodata_hw = torch.from_numpy(np.where(valid_hw, np.uint8(0), np.uint8(NODATA_CLASS))).to(heat_hw.device)
    most = -NO_OFFSET - 1
    steps_ahw = (offset_ahw * OFFSET_STEPS).round_().clamp_(-most, most).to(torch.int16).cpu().numpy()
    return CentreFields(_scaled(heat_hw, nodata_hw), np.where(is_thing_hw, steps_ahw, np.int16(NO_OFFSET)))


def _scaled(probability_hw: Tensor, nodata_hw: Tensor) -> NDArray[np.uint8]:
    scaled_hw = (probability_hw.clamp(0, 1) * PROBABILITY_SCALE).round_().to(torch.uint8)
    stored_hw: NDArray[np.uint8] = torch.maximum(scaled_hw, nodata_hw).cpu().numpy()
    return stored_hw
