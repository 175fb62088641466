"""What a run decodes of its files: how often the same blocks (read amplification), and how much at a time."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np

from geoseg.grid import Window
from geoseg.io.region import Region
from geoseg.io.scene_ref import SceneRef
from geoseg.tiling import BlockPlan

_CORNERS = 3
"""Places along each side of a window of a warped scene that are asked for where they lie in its file."""

_LEAST_MIB = 16
"""For headers, overviews and what is written."""

_SPARE = 1.25
"""GDAL keeps books about each block, and reads a few beside those that are counted here."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What a run decodes of its files; all files' blocks are decoded whole.

    Attributes:
        needed_bytes: Of all blocks of the files that hold a pixel that is needed, once each.
        steps: For each block of work, down the columns: bytes of the files' blocks that it needs, and of those
            among them that the one above it did not need.
    """

    needed_bytes: int
    steps: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, region: Region, blocks: BlockPlan) -> Self:
        """Those of a region.

        Args:
            region: The scenes on their grid.
            blocks: Lattice and blocks.
        """
        columns: dict[int, list[Window]] = defaultdict(list)
        for block in blocks:
            tiles = blocks.tiles(block)
            row, col = tiles[0].window.row, tiles[0].window.col
            hull = Window(row, col, tiles[-1].window.row_stop - row, tiles[-1].window.col_stop - col)
            inside = hull.intersection(region.grid.window)
            if inside is not None:
                columns[block.j].append(inside)
        starts = np.array([(scene.window.row, scene.window.col) for scene in region.scenes])
        stops = np.array([(scene.window.row_stop, scene.window.col_stop) for scene in region.scenes])
        steps = []
        needed: dict[tuple[int, int], set[int]] = defaultdict(set)
        sizes = {
            (index, number): part.block_bytes
            for index, scene in enumerate(region.scenes)
            for number, part in enumerate(scene.parts)
        }
        for windows in columns.values():
            last: dict[tuple[int, int], set[int]] = {}
            for window in windows:
                meets = (starts < (window.row_stop, window.col_stop)) & (stops > (window.row, window.col))
                now = {}
                for index in np.flatnonzero(meets.all(axis=1)).tolist():
                    scene = region.scenes[index]
                    common = scene.window.intersection(window)
                    if common is None:
                        continue
                    row, col = common.row - scene.window.row, common.col - scene.window.col
                    for number, part in enumerate(scene.parts):
                        key = index, number
                        now[key] = set(_file_blocks(part, Window(row, col, common.height, common.width)))
                        needed[key] |= now[key]
                whole = sum(sizes[key] * len(found) for key, found in now.items())
                fresh = sum(sizes[key] * len(found - last.get(key, set())) for key, found in now.items())
                steps.append((whole, fresh))
                last = now
        return cls(sum(sizes[key] * len(found) for key, found in needed.items()), tuple(steps))

    def cache_mib(self, most_mib: int) -> int:
        """What GDAL should keep of decoded blocks: all that a block of work and the next one need, if that may be.

        A block's pixels are gone over more than once: for its mask, for its pixels, for those that it shares with
        the block below, and for where they come from, when the next one has been read already.

        Args:
            most_mib: No more than this.
        """
        following = [*(fresh for _, fresh in self.steps[1:]), 0]
        most = max((whole + fresh for (whole, _), fresh in zip(self.steps, following, strict=True)), default=0)
        wanted = _LEAST_MIB + math.ceil(_SPARE * most / 2**20)
        return min(wanted, max(most_mib, _LEAST_MIB))

    def amplification(self, cache_mib: int) -> float:
        """Bytes decoded over the bytes of all blocks that are needed, of all files.

        A worker goes down a column of blocks. What it decodes for one block is still in GDAL's cache for the
        next, as long as it fits there; what another column needs too is decoded again.

        Args:
            cache_mib: What GDAL keeps.
        """
        decoded = sum(fresh if whole <= cache_mib * 2**20 else whole for whole, fresh in self.steps)
        return decoded / self.needed_bytes if self.needed_bytes else 1.0


def _file_blocks(part: SceneRef, window: Window) -> Iterable[int]:
    """Numbers of the blocks of a file that a window of its pixels on the grid is read from."""
    height, width = part.block_shape
    rows, cols = _extent(part, window)
    across = -(-part.source_width // width)
    for row in range(int(rows[0]) // height, int(max(rows[1] - 1, rows[0])) // height + 1):
        for col in range(int(cols[0]) // width, int(max(cols[1] - 1, cols[0])) // width + 1):
            yield row * across + col


def _extent(part: SceneRef, window: Window) -> tuple[tuple[float, float], tuple[float, float]]:
    """First and last row and column of the file that a window needs."""
    if part.warp is None:
        scale_y, scale_x = part.scale_yx
        found = [
            (window.row * scale_y, window.row_stop * scale_y),
            (window.col * scale_x, window.col_stop * scale_x),
        ]
        sizes = part.source_height, part.source_width
        if part.flip_yx[0]:
            found[0] = sizes[0] - found[0][1], sizes[0] - found[0][0]
        if part.flip_yx[1]:
            found[1] = sizes[1] - found[1][1], sizes[1] - found[1][0]
    else:
        edges_row = np.unique(np.linspace(window.row, window.row_stop - 1, _CORNERS).astype(int)).tolist()
        edges_col = np.unique(np.linspace(window.col, window.col_stop - 1, _CORNERS).astype(int)).tolist()
        places = [part.warp.places(Window(row, col, 1, 1)) for row in edges_row for col in edges_col]
        rows, cols = (np.concatenate([place[axis].ravel() for place in places]) for axis in (0, 1))
        found = [(float(rows.min()), float(rows.max()) + 1), (float(cols.min()), float(cols.max()) + 1)]
    (top, bottom), (left, right) = found
    height, width = part.source_height, part.source_width
    return (min(max(top, 0), height - 1), min(bottom, height)), (min(max(left, 0), width - 1), min(right, width))
