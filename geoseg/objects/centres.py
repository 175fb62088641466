"""Which object each pixel of a thing belongs to: centres out of a heat map, and a vote of each pixel for one.

After Cheng et al. 2020, Panoptic-DeepLab, section 3.2 (instance grouping): a centre is a local maximum of the heat,
and a pixel belongs to the centre that is nearest to where its offset leads. Here both are bounded: no offset counts
for more than its reach, and no centre is chosen from further than the capture radius. So a pixel's centre depends
on what lies within `Grouping.halo_px` of it alone, and is the same whatever part of a field is looked at.
"""

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled
from geoseg.grid import Window
from geoseg.io.mosaic import OFFSET_STEPS
from geoseg.objects.grouping import Grouping

OFFSET_AXES = 2
"""Along rows, then along columns."""

NO_CENTRE = 0
"""The key of a pixel of a thing that no centre captures."""

NO_THING = -1
"""The key of a pixel that is of no thing."""


def centre_keys(
    heat_hw: NDArray[np.uint8],
    offset_ahw: NDArray[np.int16],
    is_thing_hw: NDArray[np.bool_],
    seen: Window,
    core: Window,
    grid_width: int,
    grouping: Grouping,
) -> NDArray[np.int64]:
    """The centre that each pixel of a window belongs to.

    Args:
        heat_hw: How likely each pixel (row, column) is a centre x 254; 255 where there is no data, which is no
            centre.
        offset_ahw: From each pixel of the core to its object's centre, in sixteenths of a pixel, (axis, row,
            column), rows before columns on the first axis; whatever lies where there is no thing.
        is_thing_hw: Whether each pixel (row, column) of the core is of a thing.
        seen: The window on the grid that the heat covers: the core with `Grouping.halo_px` around it, as far as the
            grid goes.
        core: The window on the grid that is asked for, within it.
        grid_width: Columns of the grid.
        grouping: The rules.

    Returns:
        int64 (row, column) over the core: 1 + row x grid_width + column of the centre's pixel on the grid,
        `NO_CENTRE`, or `NO_THING`.

    Raises:
        ValueError: The arrays are not of their windows, or the core does not lie in what is seen.
    """
    if (
        heat_hw.shape != seen.shape
        or is_thing_hw.shape != core.shape
        or offset_ahw.shape != (OFFSET_AXES, *core.shape)
    ):
        raise ValueError(
            f"expected heat of {seen.shape} pixels, things and offsets of {core.shape}, got {heat_hw.shape}, "
            f"{is_thing_hw.shape} and {offset_ahw.shape}"
        )
    if seen.intersection(core) != core:
        raise ValueError(f"expected a core within {seen}, got {core}")
    row_n, col_n = _centres(np.ascontiguousarray(heat_hw), grouping.least_heat, grouping.suppress_px)
    cell_px = max(grouping.capture_px, 1)
    rows, cols = -(-seen.height // cell_px), -(-seen.width // cell_px)
    cell_n = (row_n // cell_px) * cols + col_n // cell_px
    order_n = np.argsort(cell_n, kind="stable")  # of a cell in raster order, as they were found
    first_c = np.searchsorted(cell_n[order_n], np.arange(rows * cols + 1))
    at_row, at_col = core.slices_in(seen)
    chosen_hw = _choose(
        np.ascontiguousarray(offset_ahw),
        np.ascontiguousarray(is_thing_hw),
        row_n[order_n],
        col_n[order_n],
        first_c,
        cell_px,
        cols,
        grouping.reach_px,
        grouping.capture_px,
        at_row.start,
        at_col.start,
    )
    keys_n = 1 + (row_n[order_n] + seen.row) * grid_width + col_n[order_n] + seen.col
    table = np.concatenate((keys_n, [NO_THING, NO_CENTRE]))  # indices -2 and -1 lead to the last two
    return np.asarray(table[chosen_hw], np.int64)


@compiled
def _centres(
    heat_hw: NDArray[np.uint8], least_heat: int, suppress_px: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the centres, int64 (n,) each, in raster order; what lies beyond the array is cold."""
    height, width = heat_hw.shape
    rows, cols = np.empty(1024, np.int64), np.empty(1024, np.int64)
    count = 0
    for row in range(height):
        for col in range(width):
            heat = heat_hw[row, col]
            if heat < least_heat or heat == 255:
                continue
            if _is_hottest(heat_hw, row, col, suppress_px):
                if count == len(rows):
                    rows = np.concatenate((rows, np.empty(count, np.int64)))
                    cols = np.concatenate((cols, np.empty(count, np.int64)))
                rows[count], cols[count] = row, col
                count += 1
    return rows[:count].copy(), cols[:count].copy()


@compiled
def _is_hottest(heat_hw: NDArray[np.uint8], row: int, col: int, suppress_px: int) -> bool:
    """Whether no pixel around is hotter, and none before it in raster order as hot."""
    heat = heat_hw[row, col]
    for other_row in range(max(row - suppress_px, 0), min(row + suppress_px + 1, heat_hw.shape[0])):
        for other_col in range(max(col - suppress_px, 0), min(col + suppress_px + 1, heat_hw.shape[1])):
            other = heat_hw[other_row, other_col]
            if other == 255 or other < heat:
                continue
            if other > heat or other_row < row or (other_row == row and other_col < col):
                return False
    return True


@compiled
def _clipped(value: int, most: int) -> int:
    return int(min(max(value, -most), most))


@compiled
def _choose(
    offset_ahw: NDArray[np.int16],
    is_thing_hw: NDArray[np.bool_],
    row_n: NDArray[np.int64],
    col_n: NDArray[np.int64],
    first_c: NDArray[np.int64],
    cell_px: int,
    cells: int,
    reach_px: int,
    capture_px: int,
    row_start: int,
    col_start: int,
) -> NDArray[np.int64]:
    """The index of the chosen centre of each pixel (row, column) of a part; -1 of none, -2 where there is no thing.

    The part begins at row_start and col_start of the window that centres are counted in. Centres are sorted by the
    square cell that they lie in: the candidates lie in the cells around the vote.
    """
    step = OFFSET_STEPS
    reach, within = reach_px * step, capture_px * step
    cell_rows = (len(first_c) - 1) // cells
    height, width = is_thing_hw.shape
    chosen_hw = np.empty((height, width), np.int64)
    for row in range(height):
        for col in range(width):
            if not is_thing_hw[row, col]:
                chosen_hw[row, col] = -2
                continue
            to_row = (row + row_start) * step + _clipped(offset_ahw[0, row, col], reach)
            to_col = (col + col_start) * step + _clipped(offset_ahw[1, row, col], reach)
            best, least = np.int64(-1), np.int64(within * within)
            best_row, best_col = np.int64(0), np.int64(0)
            top = max((to_row - within) // step // cell_px, 0)
            bottom = min((to_row + within) // step // cell_px, cell_rows - 1)
            left = max((to_col - within) // step // cell_px, 0)
            right = min((to_col + within) // step // cell_px, cells - 1)
            for cell_row in range(top, bottom + 1):
                for cell_col in range(left, right + 1):
                    cell = cell_row * cells + cell_col
                    for n in range(first_c[cell], first_c[cell + 1]):
                        down, right_of = row_n[n] * step - to_row, col_n[n] * step - to_col
                        squared = down * down + right_of * right_of
                        if squared > least:
                            continue
                        earlier = row_n[n] < best_row or (row_n[n] == best_row and col_n[n] < best_col)
                        if best < 0 or squared < least or earlier:
                            best, least, best_row, best_col = np.int64(n), squared, row_n[n], col_n[n]
            chosen_hw[row, col] = best
    return chosen_hw
