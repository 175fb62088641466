"""How often a run decodes the same blocks of its files: read amplification."""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from geoseg.grid import Window
from geoseg.io.gdal_environment import GDAL_CACHE_MIB
from geoseg.io.raster import SceneRef
from geoseg.io.region import Region
from geoseg.tiling import BlockPlan

_CORNERS = 3
"""Places along each side of a window of a warped scene that are asked for where they lie in its file."""


def read_amplification(region: Region, blocks: BlockPlan) -> float:
    """Bytes decoded over the bytes of all blocks that are needed, of all files.

    A worker goes down a column of blocks. What it decodes for one block is still in GDAL's cache for the next, as
    long as it fits there; what another column needs too is decoded again.

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
    decoded = 0.0
    needed: dict[tuple[int, int], set[int]] = defaultdict(set)
    sizes: dict[tuple[int, int], int] = {}
    for windows in columns.values():
        last: dict[tuple[int, int], set[int]] = {}
        for window in windows:
            meets = (starts < (window.row_stop, window.col_stop)) & (stops > (window.row, window.col))
            now: dict[tuple[int, int], set[int]] = {}
            for index in np.flatnonzero(meets.all(axis=1)).tolist():
                scene = region.scenes[index]
                common = scene.window.intersection(window)
                if common is None:
                    continue
                for number, part in enumerate(scene.parts):
                    key = index, number
                    local = Window(
                        common.row - scene.window.row, common.col - scene.window.col, common.height, common.width
                    )
                    now[key] = set(_file_blocks(part, local))
                    sizes[key] = _block_bytes(part)
                    needed[key] |= now[key]
            bytes_now = sum(sizes[key] * len(found) for key, found in now.items())
            kept = last if bytes_now <= GDAL_CACHE_MIB * 2**20 else {}
            decoded += sum(sizes[key] * len(found - kept.get(key, set())) for key, found in now.items())
            last = now
    total = sum(sizes[key] * len(found) for key, found in needed.items())
    return decoded / total if total else 1.0


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


def _block_bytes(part: SceneRef) -> int:
    height, width = part.block_shape
    return height * width * len(part.bands) * np.dtype(part.dtype).itemsize
