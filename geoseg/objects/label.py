"""The objects of one block: 4-connected components of equal class, or of equal segment.

Segments tell objects of one class apart: they are the class where that says it all, and above 255 a number for each
object (`geoseg.objects.segments`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.io.mosaic import CHUNK_PX
from geoseg.labels import NODATA_CLASS
from geoseg.objects.ground import GROUND_UNIT
from geoseg.objects.measures import Measures


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """The pixels of the components of a block: in each row, stretches of one component.

    Attributes:
        width_px: Columns of the block.
        first: int64 (row + 1,); the first run of each row, and at the end how many runs there are.
        start: int32 (run,); the first column.
        stop: int32 (run,); the column after the last one.
        number: int32 (run,); the component, from 1 to n in raster order of their first pixels.
        sides: int64 (run,); sides of its pixels beside which something else or nothing lies, within a chunk.
        count: How many components there are.
    """

    width_px: int
    first: NDArray[np.int64]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    number: NDArray[np.int32]
    sides: NDArray[np.int64]
    count: int

    def paint(self) -> NDArray[np.int32]:
        """The component of each pixel, int32 (row, column); 0 where there is none."""
        return painted(self.to_arrays(), self.width_px)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What `paint` needs, by name, for `painted`."""
        return {"first": self.first, "start": self.start, "stop": self.stop, "number": self.number}

    def first_places(self) -> NDArray[np.int64]:
        """The place of each component's first pixel in raster order, row x columns + column, int64 (n,)."""
        # Numbers are in the order of first pixels: a component's first run is the first with its number or above.
        run = np.flatnonzero(np.diff(np.maximum.accumulate(self.number), prepend=0))
        row = np.searchsorted(self.first, run, side="right") - 1
        return np.asarray(row * self.width_px + self.start[run], np.int64)

    def row(self, row: int) -> NDArray[np.int32]:
        """The component of each pixel of a row, int32 (column,); 0 where there is none."""
        runs = slice(self.first[row], self.first[row + 1])
        change = np.zeros(self.width_px + 1, np.int32)
        change[self.start[runs]] += self.number[runs]
        change[self.stop[runs]] -= self.number[runs]
        return np.cumsum(change[:-1], dtype=np.int32)

    def side(self, *, last: bool) -> NDArray[np.int32]:
        """The component of each pixel of the first or the last column, int32 (row,); 0 where there is none."""
        run = self.first[1:] - 1 if last else self.first[:-1]
        # A row without runs has none of its own there.
        has_runs = self.first[1:] > self.first[:-1]
        found = np.zeros(len(run), np.int32)
        run = run[has_runs]
        reaches = self.stop[run] == self.width_px if last else self.start[run] == 0
        found[has_runs] = np.where(reaches, self.number[run], 0)
        return found


def painted(arrays: Mapping[str, NDArray[Any]], width_px: int) -> NDArray[np.int32]:
    """The component of each pixel, int32 (row, column); 0 where there is none.

    Args:
        arrays: Of `Runs.to_arrays`.
        width_px: Columns of the block.
    """
    # numba takes a moment to load, and most commands label nothing.
    from geoseg.objects.components import paint_runs  # noqa: PLC0415

    return paint_runs(arrays["first"], arrays["start"], arrays["stop"], arrays["number"], width_px)


@dataclass(frozen=True, slots=True, eq=False)
class BlockObjects:
    """The components of one block, as far as the block can see them.

    Attributes:
        window: The block's place on the grid.
        runs: The pixels of each component.
        segment: int64 (n,); entry k belongs to component k + 1, here and below.
        measures: A row for each.
    """

    window: Window
    runs: Runs
    segment: NDArray[np.int64]
    measures: Measures

    def __len__(self) -> int:
        return len(self.segment)


def label_block(
    segments_hw: NDArray[np.integer[Any]],
    confidence_hw: NDArray[np.uint8],
    window: Window,
    grid_width: int,
    keep: Collection[int],
    ground_hw: NDArray[np.int32] | None = None,
    chunk_px: int = CHUNK_PX,
) -> BlockObjects:
    """Label and measure the 4-connected components of each kept class in a block, and those of segments.

    Args:
        segments_hw: Class ids, uint8 (row, column), 255 where there is no data; or segments, int64 (row, column).
        confidence_hw: Probability of the winning class x 254, uint8 (row, column).
        window: The block's place on the grid.
        grid_width: Columns of the whole grid.
        keep: Ids of the classes to label.
        ground_hw: Ground area of each pixel, int32 (row, column), see `pixel_ground`; None counts each as the
            nominal pixel.
        chunk_px: Side of the mosaic's chunks, at which the block begins.

    Raises:
        ValueError: The arrays do not have the window's shape, the window lies right of the grid, or nodata is
            asked for as a class.
    """
    if not segments_hw.shape == confidence_hw.shape == window.shape:
        raise ValueError(
            f"expected arrays of {window.shape} pixels, got {segments_hw.shape} and {confidence_hw.shape}"
        )
    if window.col_stop > grid_width:
        raise ValueError(f"the window ends at column {window.col_stop}, the grid at {grid_width}")
    from geoseg.objects.components import measure_runs  # noqa: PLC0415  # as above

    runs = runs_of(segments_hw, keep, chunk_px)
    if ground_hw is None:
        ground_hw = np.full(window.shape, GROUND_UNIT, np.int32)
    pixels, confidence_sum, ground = measure_runs(
        runs.first,
        runs.start,
        runs.stop,
        runs.number,
        runs.count,
        np.ascontiguousarray(confidence_hw),
        np.ascontiguousarray(ground_hw),
    )
    # Sums of integers below 2^53 are exact in bincount's floats.
    sides = np.bincount(runs.number, weights=runs.sides, minlength=runs.count + 1)[1:].astype(np.int64)
    first = runs.first_places()
    measures = Measures(grid_places(first, window, grid_width), pixels, confidence_sum, ground, sides)
    segment = segments_hw[np.divmod(first, window.width)].astype(np.int64)
    return BlockObjects(window, runs, segment, measures)


def grid_places(place: NDArray[np.int64], window: Window, grid_width: int) -> NDArray[np.int64]:
    """Where pixels of a window lie on the grid, row x grid width + column, int64 (n,).

    Args:
        place: int64 (n,); row x columns + column in the window.
        window: On the grid.
        grid_width: Columns of the whole grid.
    """
    row, col = np.divmod(place, window.width)
    return (row + window.row) * grid_width + col + window.col


def runs_of(segments_hw: NDArray[np.integer[Any]], keep: Collection[int], chunk_px: int = CHUNK_PX) -> Runs:
    """Number the 4-connected components of each kept class, and those of segments.

    Args:
        segments_hw: Class ids, uint8 (row, column), 255 where there is no data; or segments, int64 (row, column).
        keep: Ids of the classes to label.
        chunk_px: Side of the mosaic's chunks, at which the pixels begin.

    Raises:
        ValueError: Nodata is asked for as a class.
    """
    if NODATA_CLASS in keep:
        raise ValueError(f"{NODATA_CLASS} means no data and is never an object")
    from geoseg.objects.components import find_runs  # noqa: PLC0415  # as above

    is_kept = np.zeros(NODATA_CLASS + 2, np.bool_)
    is_kept[[*keep, NODATA_CLASS + 1]] = True
    return Runs(segments_hw.shape[1], *find_runs(np.ascontiguousarray(segments_hw), is_kept, chunk_px))


def components(segments_hw: NDArray[np.integer[Any]], keep: Collection[int]) -> NDArray[np.int32]:
    """The number of the 4-connected component of each pixel of a kept class or a segment.

    Args:
        segments_hw: As of `runs_of`.
        keep: Ids of the classes to label.

    Returns:
        int32 (row, column); 0 where there is none, else 1 to n in raster order of the components' first pixels.

    Raises:
        ValueError: Nodata is asked for as a class.
    """
    return runs_of(segments_hw, keep).paint()
