"""Outlines of the objects of blocks, filed under the block in which each object begins."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.arrays import write_arrays
from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.io.run_folder import RunFolder
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2
from geoseg.objects.label import components, grid_places, runs_of
from geoseg.objects.thresholds import Thresholds
from geoseg.objects.votes import Votes
from geoseg.tiling import Block, BlockPlan
from geoseg.vectorize.outlines import PARTS_ABOVE_SIDES, PATCH_PX, Outlines, outline, patches
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
        thresholds: How probable they must be.
        min_area_m2: Objects with less ground area, over all blocks, count as background.
        simplify_m: Tolerance of the simplification on the ground; 0 leaves outlines untouched.
        depends: Hash of all that the outlines depend on.
        several_scenes: Whether the mosaic keeps which scene each pixel comes from.
        parts_above_sides: Objects with a longer outline (`Measures.sides`) become features in parts.
    """

    run: RunFolder
    grid: Grid
    blocks: BlockPlan
    keep: tuple[int, ...]
    thresholds: Thresholds
    min_area_m2: float
    simplify_m: float
    depends: str
    several_scenes: bool = False
    parts_above_sides: int = PARTS_ABOVE_SIDES

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
            classes_hw = self.thresholds.read(mosaic, around)
            labels_hw = components(classes_hw[block.window.slices_in(around)], self.keep)
            # What is too small is background, so that its neighbours are simplified without it.
            labels_hw *= np.concatenate(([False], kept))[labels_hw]
            in_parts = np.concatenate(([False], kept & (whole.sides > self.parts_above_sides)))
            label, first, rings = outline(labels_hw, classes_hw, block.window, around, tolerance_px, in_parts)
            part = 1 + grid_places(first, block.window, self.grid.width)
            outlines = Outlines(
                id=whole.first_pixel[label - 1] + 1,
                part=np.where(first >= 0, part, 0),
                class_id=class_id[label - 1],
                confidence=whole.confidence_sum[label - 1] / (whole.pixels[label - 1] * PROBABILITY_SCALE),
                rings=rings,
            )
            votes = None
            if self.several_scenes:
                scene_hw = mosaic.read_scene(block.window)
                votes = Votes.count(
                    *self._voters(labels_hw, whole.first_pixel + 1, in_parts, block.window), scene_hw
                )
            written = {}
            for owner, mine in self._owners(outlines):
                file = files.folder / owner / f"{block.key}.npz"
                of_scenes = {} if votes is None else votes.take(mine.feature).to_arrays()
                written[file] = write_arrays(file, mine.to_arrays() | of_scenes)
            files.commit(block.key, written, {"objects": len(outlines)})
            return {"parts": len(outlines)}

        return trace

    def _voters(
        self, labels_hw: NDArray[np.int32], ids: NDArray[np.int64], in_parts: NDArray[np.bool_], window: Window
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Labels (row, column), one for each part of an object too, and the feature of each label (n,)."""
        if not in_parts.any():
            return labels_hw, ids
        voters_hw, features = np.where(in_parts[labels_hw], 0, labels_hw), [ids]
        for patch in patches(window, PATCH_PX):
            at = patch.slices_in(window)
            is_part_hw = in_parts[labels_hw[at]]
            # Two parts of two objects may lie side by side.
            for label in np.unique(labels_hw[at][is_part_hw]):
                parts = runs_of((labels_hw[at] != label).astype(np.uint8), [0])
                count = sum(map(len, features))
                parts_hw = parts.paint()
                voters_hw[at] += np.where(parts_hw > 0, parts_hw + count, 0)
                features.append(1 + grid_places(parts.first_places(), patch, self.grid.width))
        return voters_hw, np.concatenate(features)

    def _owners(self, outlines: Outlines) -> list[tuple[str, Outlines]]:
        """Outlines by the key of the block in which their object begins; parts by that in which they lie."""
        row, col = np.divmod(outlines.feature - 1, self.grid.width)
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
