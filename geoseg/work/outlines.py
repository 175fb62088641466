"""Outlines of the objects of blocks, filed under the block in which each object begins."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.arrays import write_arrays
from geoseg.io.layers import feature_of
from geoseg.labels import NODATA_CLASS
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2
from geoseg.objects.label import components, grid_places, runs_of
from geoseg.objects.votes import Votes
from geoseg.tiling import Block, BlockPlan
from geoseg.vectorize.outlines import PATCH_PX, Outlines, outline, patches
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.simplify import Generalization
from geoseg.work.instances import LabelledObjects, read_segments
from geoseg.work.stage_files import StageFiles
from geoseg.work.whole import Gathering, walls_folder


@dataclass(frozen=True, slots=True)
class TraceBlocks:
    """Outline the objects of blocks that are large enough.

    Attributes:
        gathering: Where they lie, which objects are kept, and how outlines are made simpler.
        blocks: Lattice and blocks.
    """

    gathering: Gathering
    blocks: BlockPlan

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Nothing to prepare."""
        gathering = self.gathering
        run, grid, cleaning = gathering.run, gathering.grid, gathering.cleaning
        mosaic, files = run.mosaic, StageFiles(run, "outlines", gathering.depends)
        pixel_m2 = nominal_pixel_m2(grid)
        how = Generalization(cleaning.simplify_m / math.sqrt(pixel_m2), cleaning.smooth, cleaning.regularize)
        min_area_m2 = np.array(cleaning.min_area_m2)

        def outline_block(block: Block) -> dict[str, Any]:
            found = LabelledObjects.read(run, block, gathering.panoptic)
            class_id, whole = found.class_id, found.measures
            area_m2 = whole.ground * (pixel_m2 / GROUND_UNIT)
            kept = area_m2 >= min_area_m2[class_id]
            # An object counts where it begins.
            row, col = np.divmod(whole.first_pixel, grid.width)
            window = block.window
            begins = (row >= window.row) & (row < window.row_stop) & (col >= window.col) & (col < window.col_stop)
            begins &= found.piece.first_pixel == whole.first_pixel
            removed = ~kept & begins
            figures = {"removed": int(removed.sum()), "removed_m2": float(area_m2[removed].sum())}
            # Of an instance in several pieces the largest stays with it, the others if they are large enough.
            kept &= (found.part == 0) | (found.piece.ground * (pixel_m2 / GROUND_UNIT) >= min_area_m2[class_id])
            if not kept.any():
                files.commit(block.key, {}, {"objects": 0, "vertices": 0, **figures})
                return {"parts": 0}
            around = _around(block.window, grid)
            segments_hw, _ = read_segments(mosaic, gathering.thresholds, gathering.panoptic, around)
            labels_hw = components(segments_hw[block.window.slices_in(around)], gathering.keep)
            # What is too small is background, so that its neighbours are simplified without it.
            labels_hw *= np.concatenate(([False], kept))[labels_hw]
            in_parts = np.concatenate(([False], kept & (whole.sides > gathering.parts_above_sides)))
            class_of = np.concatenate(([NODATA_CLASS], class_id)).astype(np.uint8)
            label, first, rings, vertices = outline(
                labels_hw, segments_hw, block.window, around, how, class_of, in_parts
            )
            part = np.where(first >= 0, 1 + grid_places(first, window, grid.width), found.part[label - 1])
            outlines = _outlines(found, label, part, first >= 0, rings)
            votes = None
            if gathering.several_scenes:
                scene_hw = mosaic.read_scene(block.window)
                votes = Votes.count(
                    *self._voters(labels_hw, feature_of(found.id, found.part), in_parts, block.window), scene_hw
                )
            written = {}
            for owner, mine in self._owners(outlines):
                file = files.folder / owner / f"{block.key}.npz"
                of_scenes = {} if votes is None else votes.take(mine.feature).to_arrays()
                written[file] = write_arrays(file, mine.to_arrays() | of_scenes)
            # What is regularized is so by its pixels, whatever its neighbours share with it.
            walled = kept & np.isin(class_id, cleaning.regularize) & (found.part == 0)
            is_wall = np.concatenate(([False], walled)) & ~in_parts
            if not how.is_none and is_wall.any():
                here_hw = segments_hw[window.slices_in(around)]
                here_hw = np.where(is_wall[labels_hw], here_hw, here_hw.dtype.type(NODATA_CLASS))
                rings, place = trace(here_hw, window)
                label = labels_hw.reshape(-1)[place].astype(np.int64)
                whole_ones = np.zeros(len(label), np.int64)
                walls = _outlines(found, label, whole_ones, whole_ones > 0, rings)
                for owner, mine in self._owners(walls):
                    file = walls_folder(files, owner) / f"{block.key}.npz"
                    written[file] = write_arrays(file, mine.to_arrays())
            files.commit(block.key, written, {"objects": len(outlines), "vertices": vertices, **figures})
            return {"parts": len(outlines)}

        return outline_block

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
                features.append(1 + grid_places(parts.first_places(), patch, self.gathering.grid.width))
        return voters_hw, np.concatenate(features)

    def _owners(self, outlines: Outlines) -> list[tuple[str, Outlines]]:
        """Outlines by the key of the block in which their object begins; parts by that in which they lie."""
        row, col = np.divmod(outlines.feature - 1, self.gathering.grid.width)
        _, block_columns = self.blocks.shape
        height_px, width_px = self.blocks.block_px
        owner = row // height_px * block_columns + col // width_px
        return [
            (self.blocks.block(*divmod(int(number), block_columns)).key, outlines.take(owner == number))
            for number in np.unique(owner)
        ]


def _outlines(
    found: LabelledObjects,
    label: NDArray[np.int64],
    part: NDArray[np.int64],
    is_cut: NDArray[np.bool_],
    rings: Rings,
) -> Outlines:
    """Outlines (n,) of the objects with some labels (n,), from 1."""
    return Outlines(
        id=found.id[label - 1],
        part=part,
        is_cut=is_cut,
        class_id=found.class_id[label - 1],
        confidence=found.confidence[label - 1],
        rings=rings,
    )


def _around(window: Window, grid: Grid) -> Window:
    """A window and the pixels beside it, as far as the grid goes."""
    row, col = max(window.row - 1, 0), max(window.col - 1, 0)
    row_stop, col_stop = min(window.row_stop + 1, grid.height), min(window.col_stop + 1, grid.width)
    return Window(row, col, row_stop - row, col_stop - col)
