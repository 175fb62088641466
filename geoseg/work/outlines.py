"""Outlines of the objects of blocks, filed under the block in which each object begins."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.grid import Grid, Window
from geoseg.io.arrays import write_arrays
from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.io.run_folder import RunFolder
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2
from geoseg.objects.label import components
from geoseg.objects.votes import Votes
from geoseg.tiling import Block, BlockPlan
from geoseg.vectorize.outlines import Outlines, outline
from geoseg.work.objects import whole_objects
from geoseg.work.stage_files import StageFiles


@dataclass(frozen=True, slots=True)
class TraceBlocks:
    """Outline the objects of blocks that are large enough.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        blocks: Lattice and blocks.
        keep: Ids of the classes that have a layer.
        min_area_m2: Objects with less ground area, over all blocks, count as background.
        simplify_m: Tolerance of the simplification on the ground; 0 leaves outlines untouched.
        depends: Hash of all that the outlines depend on.
        several_scenes: Whether the mosaic keeps which scene each pixel comes from.
    """

    run: RunFolder
    grid: Grid
    blocks: BlockPlan
    keep: tuple[int, ...]
    min_area_m2: float
    simplify_m: float
    depends: str
    several_scenes: bool = False

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic, files = self.run.mosaic, StageFiles(self.run, "outlines", self.depends)
        pixel_m2 = nominal_pixel_m2(self.grid)
        tolerance_px = self.simplify_m / math.sqrt(pixel_m2)

        def trace(block: Block) -> dict[str, Any]:
            class_id, whole = whole_objects(self.run, block)
            kept = whole.ground * (pixel_m2 / GROUND_UNIT) >= self.min_area_m2
            if not kept.any():
                files.commit(block.key, {}, {"objects": 0})
                return {"parts": 0}
            around = _around(block.window, self.grid)
            classes_hw = mosaic.read(0, "classes", around)
            labels_hw = components(classes_hw[block.window.slices_in(around)], self.keep)
            # What is too small is background, so that its neighbours are simplified without it.
            labels_hw *= np.concatenate(([False], kept))[labels_hw]
            label, polygons = outline(labels_hw, classes_hw, block.window, around, tolerance_px)
            object_id = whole.first_pixel[label - 1] + 1
            order = np.argsort(object_id, kind="stable")
            label = label[order]
            confidence = whole.confidence_sum[label - 1] / (whole.pixels[label - 1] * PROBABILITY_SCALE)
            outlines = Outlines(object_id[order], class_id[label - 1], confidence, polygons[order])
            votes = None
            if self.several_scenes:
                votes = Votes.count(labels_hw, mosaic.read_scene(block.window), whole.first_pixel + 1)
            written = {}
            for owner, mine in self._owners(outlines):
                file = files.folder / owner / f"{block.key}.npz"
                of_scenes = {} if votes is None else votes.take(mine.id).to_arrays()
                written[file] = write_arrays(file, mine.to_arrays() | of_scenes)
            files.commit(block.key, written, {"objects": len(outlines)})
            return {"parts": len(outlines)}

        return trace

    def _owners(self, outlines: Outlines) -> list[tuple[str, Outlines]]:
        """Outlines by the key of the block in which their object begins."""
        row, col = np.divmod(outlines.id - 1, self.grid.width)
        _, block_columns = self.blocks.shape
        height_px, width_px = self.blocks.block_px
        owner = row // height_px * block_columns + col // width_px
        return [
            (self.blocks.block(*divmod(int(number), block_columns)).key, outlines.take(owner == number))
            for number in np.unique(owner)
        ]


def _around(window: Window, grid: Grid) -> Window:
    """A window and the pixels beside it, as far as the grid goes."""
    row, col = max(window.row - 1, 0), max(window.col - 1, 0)
    row_stop, col_stop = min(window.row_stop + 1, grid.height), min(window.col_stop + 1, grid.width)
    return Window(row, col, row_stop - row, col_stop - col)
