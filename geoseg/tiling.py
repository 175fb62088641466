"""The lattice of tiles that a network sees, and the blocks of work that own the mosaic's chunks.

Two grids make tiling invisible. *Tiles* lie on a lattice anchored at the grid's pixel (0, 0), whatever the
blocks are. A *block* is whole chunks with one owner, which evaluates every tile that touches it, or has kept what
they gave for the block above: no block waits for another, and no block's size, order or worker can change a pixel.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.grid import Window


@dataclass(frozen=True, slots=True)
class Lattice:
    """Square tiles at regular steps from the grid's origin.

    Tile (i, j) is centred on the cell of `stride_px` x `stride_px` pixels at row i x stride, column j x stride,
    and reaches `margin_px` beyond it on each side, over its neighbours or, at the grid's edges, over mirrored
    pixels (the overlap-tile strategy of Ronneberger et al. 2015, section 2).

    Attributes:
        tile_px: Side of a tile.
        overlap_px: Pixels that neighbouring tiles share; even, and at most half a tile.
    """

    tile_px: int
    overlap_px: int

    def __post_init__(self) -> None:
        if self.tile_px < 1 or not 0 <= self.overlap_px <= self.tile_px // 2 or self.overlap_px % 2:
            raise GeosegError(
                f"expected a tile size and an even overlap of at most half of it, got --tile-size {self.tile_px} "
                f"--tile-overlap {self.overlap_px}"
            )

    @property
    def stride_px(self) -> int:
        """Pixels from one tile to the next."""
        return self.tile_px - self.overlap_px

    @property
    def margin_px(self) -> int:
        """Pixels of a tile outside its cell, on each side."""
        return self.overlap_px // 2

    def count(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tiles that a grid of height x width pixels needs."""
        return math.ceil(height / self.stride_px), math.ceil(width / self.stride_px)

    def touching(self, window: Window, height: int, width: int) -> Iterator["Tile"]:
        """The lattice's tiles that touch a window of a height x width grid, in row-major order."""
        tile_rows, tile_cols = self.count(height, width)
        for i in self.indices(window.row, window.row_stop, tile_rows):
            for j in self.indices(window.col, window.col_stop, tile_cols):
                yield Tile(i, j, self.window(i, j))

    def window(self, i: int, j: int) -> Window:
        """Pixels that tile (i, j) sees; may reach beyond the grid on every side."""
        row, col = i * self.stride_px - self.margin_px, j * self.stride_px - self.margin_px
        return Window(row, col, self.tile_px, self.tile_px)

    def indices(self, start: int, stop: int, count: int) -> range:
        """Which of `count` tiles along one axis touch its pixels [start, stop)."""
        # Tile k covers [k * stride - margin, (k + 1) * stride + margin).
        first = (start - self.margin_px) // self.stride_px
        last = (stop - 1 + self.margin_px) // self.stride_px
        return range(max(first, 0), min(last, count - 1) + 1)


@dataclass(frozen=True, slots=True)
class Tile:
    """One network input: its place on the lattice and the pixels it sees, which may lie beyond the grid."""

    i: int
    j: int
    window: Window


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """A unit of work: whole chunks of the mosaic, clipped at the grid's edges.

    Attributes:
        i: Block row.
        j: Block column.
        window: The pixels that the block's owner writes.
    """

    i: int
    j: int
    window: Window

    @property
    def key(self) -> str:
        """Name of the block in the ledger."""
        return f"{self.i:05d}-{self.j:05d}"


@dataclass(frozen=True, slots=True)
class BlockPlan:
    """The blocks of a grid that scenes may hold data in, in row-major order.

    Attributes:
        height: Rows of the grid.
        width: Columns of the grid.
        lattice: The tiles.
        chunk_px: Side of a chunk of the mosaic.
        block_px: (height, width) of a block, multiples of `chunk_px`.
        covered: Windows within the grid outside of which there is no data; None where there may be everywhere.
    """

    height: int
    width: int
    lattice: Lattice
    chunk_px: int
    block_px: tuple[int, int]
    covered: tuple[Window, ...] | None = None

    def __post_init__(self) -> None:
        if self.chunk_px < 1 or any(side < self.chunk_px or side % self.chunk_px for side in self.block_px):
            raise GeosegError(
                f"expected --block-size to be a multiple of the chunk size of {self.chunk_px} px, "
                f"got {' x '.join(str(side) for side in dict.fromkeys(self.block_px))}"
            )

    def __len__(self) -> int:
        rows, cols = self.shape
        return rows * cols if self.covered is None else len(self._covered_blocks(self.covered))

    def __iter__(self) -> Iterator[Block]:
        rows, cols = self.shape
        if self.covered is None:
            return (self.block(i, j) for i in range(rows) for j in range(cols))
        numbers = self._covered_blocks(self.covered).tolist()
        return (self.block(number // cols, number % cols) for number in numbers)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return math.ceil(self.height / self.block_px[0]), math.ceil(self.width / self.block_px[1])

    def block(self, i: int, j: int) -> Block:
        """The block at row i, column j."""
        row, col = i * self.block_px[0], j * self.block_px[1]
        height, width = min(self.block_px[0], self.height - row), min(self.block_px[1], self.width - col)
        return Block(i, j, Window(row, col, height, width))

    def tiles(self, block: Block) -> tuple[Tile, ...]:
        """Every tile that touches the block, in row-major order: what its pixels depend on."""
        return tuple(self.lattice.touching(block.window, self.height, self.width))

    @property
    def tiles_needed(self) -> int:
        """Distinct tiles that may hold data."""
        rows, cols = self.lattice.count(self.height, self.width)
        return rows * cols if self.covered is None else len(self._covered_tiles(self.covered))

    @property
    def tiles_evaluated(self) -> int:
        """Tiles over all columns of blocks: those that touch two columns count twice.

        Within a column what a block shares with the one above it is kept, as long as one worker does both.
        """
        rows, cols = self.lattice.count(self.height, self.width)
        side = self.block_px[1]
        if self.covered is None:
            starts = range(0, self.width, side)
            return rows * sum(len(self.lattice.indices(at, min(at + side, self.width), cols)) for at in starts)
        blocks, (block_rows, block_cols) = self._covered_blocks(self.covered), self.shape
        tiles = self._covered_tiles(self.covered)
        first, last = self._touched(tiles // cols, self.block_px[0], block_rows)
        left, right = self._touched(tiles % cols, side, block_cols)
        evaluated = np.zeros(0, np.int64)
        for across in range(int((right - left).max()) + 1):
            column = left + across
            for down in range(int((last - first).max()) + 1):
                there = (column <= right) & (first + down <= last)
                there &= np.isin((first + down) * block_cols + column, blocks)
                evaluated = np.union1d(evaluated, (tiles * block_cols + column)[there])
        return len(evaluated)

    def _covered_blocks(self, covered: tuple[Window, ...]) -> NDArray[np.int64]:
        """Numbers (n,) of the blocks that windows touch, in row-major order."""
        (height, width), (_, cols) = self.block_px, self.shape
        rectangles = (
            (
                range(window.row // height, (window.row_stop - 1) // height + 1),
                range(window.col // width, (window.col_stop - 1) // width + 1),
            )
            for window in covered
        )
        return _numbers(rectangles, cols)

    def _covered_tiles(self, covered: tuple[Window, ...]) -> NDArray[np.int64]:
        """Numbers (n,) of the tiles that windows touch, in row-major order."""
        rows, cols = self.lattice.count(self.height, self.width)
        indices = self.lattice.indices
        rectangles = (
            (indices(window.row, window.row_stop, rows), indices(window.col, window.col_stop, cols))
            for window in covered
        )
        return _numbers(rectangles, cols)

    def _touched(
        self, tiles: NDArray[np.int64], side: int, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last (n,) of `count` blocks of a side that tiles at places along an axis touch."""
        start = tiles * self.lattice.stride_px - self.lattice.margin_px
        last = (start + self.lattice.tile_px - 1) // side
        return np.maximum(start // side, 0), np.minimum(last, count - 1)


def _numbers(ranges: Iterable[tuple[range, range]], cols: int) -> NDArray[np.int64]:
    """Row x cols + column (n,) of all places in rectangles of rows and columns, each once, sorted."""
    parts = [np.add.outer(np.asarray(rows) * cols, np.asarray(columns)).ravel() for rows, columns in ranges]
    return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))


def mirrored(start: int, stop: int, size: int) -> NDArray[np.int64]:
    """The pixels of an axis of `size` pixels that stand at positions [start, stop), mirrored beyond both ends.

    The mirror lies on the outermost pixel's outer edge, so that pixel itself is repeated (numpy's "symmetric")
    and an axis of one pixel works.

    Returns:
        int64 (n,), n being stop - start.
    """
    position = np.arange(start, stop) % (2 * size)
    return np.where(position < size, position, 2 * size - 1 - position)
