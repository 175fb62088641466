"""Which object each pixel is of, as rasters of dense numbers, for tools that do not count to 2^64.

The number of an object is its place, from 1 on, among all objects of the run, in the order of ids. As an id is 1 +
row x width + column of the object's first pixel, the number of an object of the layers stands in that pixel.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window
from geoseg.io.cog import write_number_cog
from geoseg.objects.segment_runs import KeyRuns
from geoseg.progress import stage_progress
from geoseg.tiling import Block
from geoseg.work.object_index import indexed
from geoseg.work.run_objects import RunObjects

MOST_NUMBER = 2**32 - 1
"""The largest number of a pixel."""


def write_object_rasters(
    rasters: Sequence[tuple[Path, Window]],
    grid: Grid,
    blocks: Sequence[Block],
    objects: RunObjects,
    run_id: str,
    most: int = MOST_NUMBER,
) -> int:
    """Write windows of a grid as COGs of uint32, 0 where there is no object.

    Args:
        rasters: The files to write, in folders that are there, and what of the grid each holds.
        grid: The grid.
        blocks: Those that hold data, in row-major order.
        objects: The objects.
        run_id: The run's plan hash, kept as a tag.
        most: The largest number of a pixel.

    Returns:
        How many objects there are.

    Raises:
        GeosegError: There are more than numbers, or there can be none.
        RunFolderError: The mosaic's objects are damaged.
        StoppedError: The disk is full.
    """
    if not objects.things:
        raise GeosegError(
            "expected a run with a layer of a class of kind thing, whose objects could be numbered, got one of "
            "stuff alone: --format cog gives its classes"
        )
    if not rasters:
        return 0
    windows = [*(block.window for block in blocks), *(window for _, window in rasters)]
    with (
        stage_progress("instances", sum(window.height * window.width for window in windows)) as advance,
        TemporaryDirectory(prefix=".objects.", suffix=".partial", dir=rasters[0][0].parent) as scratch,
    ):
        index = indexed(Path(scratch), objects, blocks, advance)
        if len(index) > most:
            raise GeosegError(
                f"expected at most {most} objects, which is what 32 bits number, got {len(index)}: map parts of "
                "the region with --aoi, and export these"
            )

        def numbers(window: Window) -> NDArray[np.uint32]:
            runs = KeyRuns.of(objects.read(window))
            number = np.zeros(len(runs.keys), np.uint32)
            number[runs.keys > 0] = index.places(runs.keys[runs.keys > 0]) + 1
            advance(window.height * window.width)
            return runs.paint(number)

        for path, window in rasters:
            inside = (block.window.intersection(window) for block in blocks)
            covered = [part for part in inside if part is not None]
            write_number_cog(path, grid, window, covered, numbers, run_id, "object")
        return len(index)
