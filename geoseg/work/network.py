"""The network of roads, block by block: mask, skeleton, pieces of lines, and whole lines where they begin."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.arrays import read_arrays, read_each, write_arrays
from geoseg.io.layers import Lines, Nodes
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.place import sorted_files
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS
from geoseg.network.edges import BlockPieces, edges_of
from geoseg.network.lines import lines_from_arrays, nodes_from_arrays, place_lines, place_nodes, to_arrays
from geoseg.network.pieces import Pieces, Skeleton, pieces_of
from geoseg.network.rules import Rules
from geoseg.network.thinning import skeleton
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2
from geoseg.objects.grouping import Panoptic
from geoseg.objects.label import components
from geoseg.objects.thresholds import Thresholds
from geoseg.squares import Squares
from geoseg.tiling import Block, BlockPlan
from geoseg.work.instances import LabelledObjects, read_segments
from geoseg.work.stage_files import StageFiles

_SQUARES_KEPT = 64
"""Chunks whose pixels are at hand where lines are joined."""

_KEPT_BLOCKS = 16
"""Blocks whose pieces are at hand while lines are followed through them."""


@dataclass(frozen=True, slots=True)
class NetworkBlocks:
    """The blocks of a network, and the files that its stages leave for them.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        blocks: Lattice and blocks.
        depends: Hash of all that the network depends on.
    """

    run: RunFolder
    grid: Grid
    blocks: BlockPlan
    depends: str

    @property
    def rules(self) -> Rules:
        """What is taken for a road on this grid."""
        return Rules.of(self.grid)

    def files(self, stage: str) -> StageFiles:
        """The files of a stage."""
        return StageFiles(self.run, stage, self.depends)

    def leave(self, stage: str, key: str, arrays: dict[str, NDArray[Any]], count: int) -> None:
        """Write what a stage found in a block, and its marker; nothing is no file."""
        files = self.files(stage)
        file = files.folder / f"{key}.npz"
        files.commit(key, {file: write_arrays(file, arrays)} if count else {}, {"found": count})

    def left(self, stage: str, block: Block) -> dict[str, NDArray[Any]] | None:
        """What a stage left for a block; None where that is nothing."""
        file = self.files(stage).folder / f"{block.key}.npz"
        try:
            return read_arrays(file)
        except FileNotFoundError:
            return None

    def near(self, window: Window) -> Iterator[Block]:
        """The blocks that a window touches."""
        height, width = self.blocks.block_px
        for i in range(window.row // height, (window.row_stop - 1) // height + 1):
            for j in range(window.col // width, (window.col_stop - 1) // width + 1):
                yield self.blocks.block(i, j)

    def around(self, window: Window, reach_px: int) -> Window:
        """A window and what lies around it, as far as the grid goes."""
        row, col = max(window.row - reach_px, 0), max(window.col - reach_px, 0)
        row_stop = min(window.row_stop + reach_px, self.grid.height)
        col_stop = min(window.col_stop + reach_px, self.grid.width)
        return Window(row, col, row_stop - row, col_stop - col)


@dataclass(frozen=True, slots=True)
class MaskBlocks:
    """Keep which pixels of blocks are of a road that is large enough to have an outline.

    Attributes:
        of: The blocks and their files.
        class_id: The class of roads.
        keep: Ids of the classes that have a layer.
        thresholds: How probable they must be.
        min_area_m2: Objects with less ground area, over all blocks, count as background.
        panoptic: How objects are told apart that touch; None where what touches is one.
    """

    of: NetworkBlocks
    class_id: int
    keep: tuple[int, ...]
    thresholds: Thresholds
    min_area_m2: float
    panoptic: Panoptic | None = None

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        run, unit_m2 = self.of.run, nominal_pixel_m2(self.of.grid) / GROUND_UNIT

        def keep(block: Block) -> dict[str, Any]:
            found = LabelledObjects.read(run, block, self.panoptic)
            kept = (found.measures.ground * unit_m2 >= self.min_area_m2) & (found.class_id == self.class_id)
            if not kept.any():
                self.of.leave("roads", block.key, {}, 0)
                return {}
            segments_hw, _ = read_segments(run.mosaic, self.thresholds, self.panoptic, block.window)
            labels_hw = components(segments_hw, self.keep)
            mask_hw = np.concatenate(([False], kept))[labels_hw]
            self.of.leave("roads", block.key, {"bits": np.packbits(mask_hw)}, int(mask_hw.sum()))
            return {}

        return keep


@dataclass(frozen=True, slots=True)
class ThinBlocks:
    """Thin the masks of roads.

    Attributes:
        of: The blocks and their files.
    """

    of: NetworkBlocks

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        rules, grid = self.of.rules, self.of.grid

        def thin(block: Block) -> dict[str, Any]:
            if self.of.left("roads", block) is None:
                # Thinning adds no pixel to a mask, but fills holes within one.
                self.of.leave("skeleton", block.key, {}, 0)
                return {}
            around = self.of.around(block.window, rules.skeleton_reach_px)
            mask_hw = np.zeros(around.shape, bool)
            for other in self.of.near(around):
                left = self.of.left("roads", other)
                shared = other.window.intersection(around)
                if left is not None and shared is not None:
                    bits = np.unpackbits(left["bits"], count=other.window.height * other.window.width)
                    mask_hw[shared.slices_in(around)] = bits.reshape(other.window.shape)[
                        shared.slices_in(other.window)
                    ]
            at = block.window.slices_in(around)
            on_hw, square_px = skeleton(mask_hw, rules)
            found = Skeleton.of(on_hw[at], square_px[at], block.window, grid.width)
            self.of.leave("skeleton", block.key, {"place": found.place, "square": found.square}, len(found.place))
            return {}

        return thin


@dataclass(frozen=True, slots=True)
class CutBlocks:
    """Make pieces of lines of skeletons.

    Attributes:
        of: The blocks and their files.
    """

    of: NetworkBlocks

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Keep pixels at hand, also from block to block."""
        rules, grid, mosaic = self.of.rules, self.of.grid, self.of.run.mosaic
        classes = Squares(partial(mosaic.read, 0, "classes"), grid.window.shape, CHUNK_PX, _SQUARES_KEPT)

        def is_data(window: Window) -> NDArray[np.bool_]:
            return classes.read(window) != NODATA_CLASS

        def cut(block: Block) -> dict[str, Any]:
            around = self.of.around(block.window, rules.graph_reach_px)
            there = [
                left for other in self.of.near(around) if (left := self.of.left("skeleton", other)) is not None
            ]
            if not there:
                self.of.leave("pieces", block.key, {}, 0)
                return {"parts": 0}
            together = Skeleton(*(np.concatenate([left[name] for left in there]) for name in ("place", "square")))
            pieces = pieces_of(together, block.window, around, grid, rules, is_data)
            self.of.leave("pieces", block.key, pieces.to_arrays(), len(pieces) + len(pieces.nodes))
            return {"parts": len(pieces)}

        return cut


@dataclass(frozen=True, slots=True)
class JoinBlocks:
    """Make features of the lines that begin in a block, and of its nodes.

    Attributes:
        of: The blocks and their files.
        class_id: The class of roads.
    """

    of: NetworkBlocks
    class_id: int

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Keep pieces at hand, also from block to block."""
        grid, blocks = self.of.grid, self.of.blocks
        (height, width), (_, columns) = blocks.block_px, blocks.shape

        def block_of(place: int) -> int:
            row, col = divmod(place, grid.width)
            return row // height * columns + col // width

        @lru_cache(_KEPT_BLOCKS)
        def pieces(number: int) -> BlockPieces:
            return BlockPieces(self._pieces(blocks.block(*divmod(number, columns))))

        def join(block: Block) -> dict[str, Any]:
            number = block.i * columns + block.j
            edges = list(edges_of(number, grid.width, block_of, pieces))
            own = pieces(number).pieces
            is_used = own.nodes_degree > 0
            rings = [edge for edge in edges if edge.closed]
            ring = np.array([edge.place[0] for edge in rings], np.int64)
            ring_xy = np.column_stack((ring % grid.width, ring // grid.width)) + 0.5
            lines = place_lines(edges, grid, self.class_id)
            nodes = place_nodes(
                np.concatenate((own.nodes[is_used], ring + 1)),
                np.concatenate((own.nodes_xy[is_used], ring_xy)),
                np.concatenate((own.nodes_degree[is_used], np.full(len(ring), 2))),
                grid,
            )
            arrays = {
                **{f"lines_{name}": column for name, column in to_arrays(lines).items()},
                **{f"nodes_{name}": column for name, column in to_arrays(nodes).items()},
            }
            self.of.leave("network", block.key, arrays, len(lines) + len(nodes))
            return {"features": len(lines) + len(nodes)}

        return join

    def _pieces(self, block: Block) -> Pieces:
        left = self.of.left("pieces", block)
        return Pieces.none() if left is None else Pieces.from_arrays(left)


def pieces_keys(run: RunFolder, depends: str) -> list[str]:
    """Keys of the blocks with pieces of lines, of which each has its part of the network."""
    return [
        key for key, marker in run.ledger("pieces").records() if marker["depends"] == depends and marker["found"]
    ]


def lines_of(run: RunFolder, depends: str) -> Iterator[Lines]:
    """The lines of a network by their ids, those of a row of blocks at a time."""
    for arrays in _rows(run, depends, "lines_"):
        lines = Lines.concatenate([lines_from_arrays(part) for part in arrays])
        yield lines.at(np.argsort(lines.id))


def nodes_of(run: RunFolder, depends: str) -> Iterator[Nodes]:
    """The nodes of a network by their ids, those of a row of blocks at a time."""
    for arrays in _rows(run, depends, "nodes_"):
        nodes = Nodes.concatenate([nodes_from_arrays(part) for part in arrays])
        yield nodes.at(np.argsort(nodes.id))


def _rows(run: RunFolder, depends: str, prefix: str) -> Iterator[list[dict[str, NDArray[Any]]]]:
    # An id follows from a place in raster order, and a block's key begins with its row.
    files = sorted_files(StageFiles(run, "network", depends).folder, "*.npz")
    for _, row in groupby(files, lambda file: file.stem.partition("-")[0]):
        yield [
            {name.removeprefix(prefix): column for name, column in arrays.items() if name.startswith(prefix)}
            for arrays in read_each(list(row))
        ]
