"""The pixels that the tiles of a block see: read once, normalized, and mirrored beyond the grid's edges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.tiling import Block, BlockPlan, Tile, mirrored

STRIP_PX = 256
"""Rows that are read at a time; files keep theirs in blocks of about as many."""


class PixelSource(Protocol):
    """Where a block's pixels come from (a `geoseg.io.raster.SceneReader`, or a fake in a test)."""

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """image_chw and valid_hw of a window within the grid."""
        ...

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """valid_hw of a window within the grid."""
        ...

    def holds(self, window: Window) -> bool:
        """Whether a window, which may reach beyond the grid, may hold data; tells without reading."""
        ...


class Wanted(Protocol):
    """Which pixels of the grid are to be mapped (a `geoseg.io.aoi.Aoi`); the network sees the others too."""

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """True (row, column) where a pixel of a window within the grid is wanted."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class BlockPixels:
    """Pixels of a block and around it.

    Attributes:
        block: The block.
        whole: Whether they are those of all tiles that touch the block; else of those only that do not touch the
            block above.
        tiles: Those of the tiles that hold wanted data, in row-major order.
        hull: The pixels of the grid that the tiles see, mirrored or not; None where nothing was read.
        normalized_hwc: Pixels of the hull (row, column, band), zero where there is no data; of no band where no
            tile holds data.
        valid_hw: Where the hull holds data that is wanted.
        grid_shape: (height, width) of the grid in pixels.
    """

    block: Block
    whole: bool
    tiles: tuple[Tile, ...]
    hull: Window | None
    normalized_hwc: Tensor
    valid_hw: NDArray[np.bool_]
    grid_shape: tuple[int, int]

    @classmethod
    def read(
        cls,
        source: PixelSource,
        imagery: Imagery,
        plan: BlockPlan,
        block: Block,
        *,
        whole: bool,
        wanted: Wanted | None = None,
    ) -> Self:
        """Read what a block needs, each pixel once: overlapping reads would decode the same ones several times.

        Args:
            source: The scene on the plan's grid.
            imagery: What the network expects.
            plan: Lattice and blocks.
            block: The block.
            whole: Whether all its tiles are to be evaluated, or only those that do not touch the block above.
            wanted: Which pixels are to be mapped; None for all.
        """

        def of_interest(window: Window, valid_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return valid_hw if wanted is None else valid_hw & wanted.mask(window)

        no_image, grid_shape = torch.empty(0, 0, 0), (plan.height, plan.width)
        nothing = cls(block, whole, (), None, no_image, np.zeros((0, 0), np.bool_), grid_shape)
        tiles = tuple(tile for tile in plan.tiles(block) if source.holds(tile.window))
        if whole:
            if not tiles or not of_interest(block.window, source.read_valid(block.window)).any():
                return nothing
        else:
            done = max(tile.i for tile in plan.tiles(plan.block(block.i - 1, block.j)))
            tiles = tuple(tile for tile in tiles if tile.i > done)
            if not tiles:
                return nothing
        rows = mirrored(min(t.window.row for t in tiles), max(t.window.row_stop for t in tiles), plan.height)
        cols = mirrored(min(t.window.col for t in tiles), max(t.window.col_stop for t in tiles), plan.width)
        row, col = int(rows.min()), int(cols.min())
        hull = Window(row, col, int(rows.max()) + 1 - row, int(cols.max()) + 1 - col)
        if not whole:
            valid_hw = of_interest(hull, source.read_valid(hull))
            if not valid_hw.any():
                return cls(block, whole, (), hull, no_image, valid_hw, grid_shape)
        # Bands last: what a tile sees then lies in long runs, in the order in which networks take it.
        normalized_hwc = torch.empty((*hull.shape, len(imagery.bands)))
        valid_hw = np.empty(hull.shape, np.bool_)
        # In strips, since a pixel takes several times its room while it is read.
        for top in range(hull.row, hull.row_stop, STRIP_PX):
            strip = Window(top, hull.col, min(STRIP_PX, hull.row_stop - top), hull.width)
            at = strip.slices_in(hull)
            image_chw, valid_hw[at] = source.read(strip)
            normalized_hwc[at] = torch.from_numpy(imagery.normalize(image_chw, valid_hw[at])).permute(1, 2, 0)
        found = cls(block, whole, tiles, hull, normalized_hwc, of_interest(hull, valid_hw), grid_shape)
        return replace(found, tiles=tuple(tile for tile in tiles if found.valid(tile.window).any()))

    def beyond(self, plan: BlockPlan) -> "BlockPixels":
        """The same, for those of the tiles only that do not touch the block above."""
        done = max(tile.i for tile in plan.tiles(plan.block(self.block.i - 1, self.block.j)))
        return replace(self, whole=False, tiles=tuple(tile for tile in self.tiles if tile.i > done))

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Where the part of a window that lies in the hull holds data, boolean (row, column)."""
        common = None if self.hull is None else self.hull.intersection(window)
        if common is None or self.hull is None:
            return np.zeros((0, 0), np.bool_)
        return self.valid_hw[common.slices_in(self.hull)]

    def batch(self, tiles: Sequence[Tile], size: int) -> Tensor:
        """What tiles see, as a full batch (tile, band, row, column) in channels-last order, zero behind them.

        Args:
            tiles: Some of this object's tiles, at most `size`.
            size: Tiles of a batch.
        """
        if self.hull is None:
            raise ValueError("nothing was read")
        side = (tiles[0].window.height, tiles[0].window.width)
        bands = self.normalized_hwc.shape[2]
        batch_nhwc = torch.zeros((size, *side, bands)) if len(tiles) < size else torch.empty((size, *side, bands))
        for number, tile in enumerate(tiles):
            window = tile.window
            if self.hull.intersection(window) == window:
                batch_nhwc[number] = self.normalized_hwc[window.slices_in(self.hull)]
                continue
            rows = mirrored(window.row, window.row_stop, self.grid_shape[0]) - self.hull.row
            cols = mirrored(window.col, window.col_stop, self.grid_shape[1]) - self.hull.col
            of_rows = self.normalized_hwc.index_select(0, torch.from_numpy(rows))
            batch_nhwc[number] = of_rows.index_select(1, torch.from_numpy(cols))
        return batch_nhwc.permute(0, 3, 1, 2)
