"""Connected components of equal value, as runs of pixels: compiled loops.

A value is a class, or stands for one object of a class. A run is what of a row has one value without a gap. There
are far fewer runs than pixels: each pixel is looked at once, eight at a time, and all else is done with runs.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled, with_room

_GREATER = 256
"""Where a table of classes says what holds for greater values."""


@compiled
def find_runs(
    values_hw: NDArray[np.integer[Any]], is_kept: NDArray[np.bool_], chunk_px: int
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64], int]:
    """The runs of kept values, and the 4-connected component of each.

    Runs of a row get the number of a run above that they touch, or a new one; numbers that meet are joined by
    union-find (He, Chao and Suzuki 2008, A run-based two-scan labeling algorithm).

    Args:
        values_hw: Of any integer type, from 0 (row, column).
        is_kept: Whether each of 256 classes is numbered, and at the end whether greater values are, boolean (257,).
        chunk_px: Side of the chunks, from the first pixel on, that sides of pixels are counted in.

    Returns:
        The number of the first run of each row, and of all runs at the end, int64 (row + 1,); of each run its first
        column, int32 (run,), the column after its last one, int32 (run,), and its component, int32 (run,), from 1
        to n in raster order of the components' first pixels; how many sides of its pixels another component or
        nothing lies beside, within a chunk, int64 (run,); and n.
    """
    height, width = values_hw.shape
    first = np.zeros(height + 1, np.int64)
    start, stop, value = np.empty(1024, np.int32), np.empty(1024, np.int32), np.empty(1024, values_hw.dtype)
    changes_w = np.zeros((width + 7) // 8 * 8 + 8, np.uint8)
    changes_w[width] = 1
    for row in range(height):
        _changes(values_hw[row], changes_w)
        most = first[row] + width
        start, stop, value = with_room(start, most), with_room(stop, most), with_room(value, most)
        first[row + 1] = _runs(values_hw[row], is_kept, changes_w, start, stop, value, first[row])
    runs = first[height]
    number, sides = np.zeros(runs, np.int32), np.empty(runs, np.int64)
    # A lesser number that each one is the same as, or itself; numbers grow in raster order.
    same = np.zeros(1024, np.int32)
    count = 0
    for row in range(height):
        for run in range(first[row], first[row + 1]):
            sides[run] = (start[run] % chunk_px != 0) + (stop[run] % chunk_px != 0 and stop[run] < width)
        if row > 0:
            _touch(row, first, start, stop, value, number, sides, same, row % chunk_px != 0)
        for run in range(first[row], first[row + 1]):
            if number[run] == 0:
                count += 1
                same = with_room(same, count + 1)
                number[run] = same[count] = count
    found = _settle(same, count)
    for run in range(runs):
        number[run] = same[number[run]]
    return first, start[:runs].copy(), stop[:runs].copy(), number, sides, found


@compiled
def _changes(values_w: NDArray[np.integer[Any]], changes_w: NDArray[np.uint8]) -> None:
    """Where a row's value is not that of the pixel before; by itself, since many are then done at once."""
    changes_w[0] = 1
    for col in range(1, len(values_w)):
        changes_w[col] = values_w[col] != values_w[col - 1]


@compiled
def _runs(
    values_w: NDArray[np.integer[Any]],
    is_kept: NDArray[np.bool_],
    changes_w: NDArray[np.uint8],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
    value: NDArray[np.integer[Any]],
    runs: int,
) -> int:
    """Add the runs of a row to those before, for which there is room; returns how many there are now."""
    words = changes_w.view(np.uint64)
    begin = -1
    for word in range(len(words)):
        if words[word] == 0:
            continue
        for col in range(word * 8, word * 8 + 8):
            if changes_w[col] == 0:
                continue
            if begin >= 0 and is_kept[min(values_w[begin], _GREATER)]:
                start[runs], stop[runs], value[runs] = begin, col, values_w[begin]
                runs += 1
            begin = col
    return runs


@compiled
def _touch(
    row: int,
    first: NDArray[np.int64],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
    value: NDArray[np.integer[Any]],
    number: NDArray[np.int32],
    sides: NDArray[np.int64],
    same: NDArray[np.int32],
    has_side: bool,
) -> None:
    """Number the runs of a row that touch runs above, in place, and join the numbers of those."""
    above = first[row - 1]
    if has_side:
        for run in range(first[row - 1], first[row + 1]):
            sides[run] += stop[run] - start[run]
    for run in range(first[row], first[row + 1]):
        while above < first[row] and stop[above] <= start[run]:
            above += 1
        other = above
        while other < first[row] and start[other] < stop[run]:
            if value[other] == value[run]:
                shared = min(stop[run], stop[other]) - max(start[run], start[other])
                sides[run] -= shared * has_side
                sides[other] -= shared * has_side
                root = _root(same, number[other])
                mine = root if number[run] == 0 else int(number[run])
                same[max(mine, root)] = number[run] = min(mine, root)
            other += 1


@compiled
def _root(same: NDArray[np.int32], number: int) -> int:
    """The least number that one is the same as; on the way there it is shortened."""
    root = int(number)
    while same[root] != root:
        same[root] = same[same[root]]
        root = int(same[root])
    return root


@compiled
def _settle(same: NDArray[np.int32], count: int) -> int:
    """Number anew without gaps, in place; returns how many there are."""
    found = 0
    for number in range(1, count + 1):
        if same[number] == number:
            found += 1
            same[number] = found
        else:  # it comes after what it is the same as, which has its final number already
            same[number] = same[same[number]]
    return found


@compiled
def paint_runs(
    first: NDArray[np.int64],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
    number: NDArray[np.int32],
    width: int,
) -> NDArray[np.int32]:
    """The component of each pixel, int32 (row, column), 0 where there is none; see `find_runs`."""
    numbers_hw = np.zeros((len(first) - 1, width), np.int32)
    for row in range(len(first) - 1):
        for run in range(first[row], first[row + 1]):
            for col in range(start[run], stop[run]):
                numbers_hw[row, col] = number[run]
    return numbers_hw


@compiled
def measure_runs(
    first: NDArray[np.int64],
    start: NDArray[np.int32],
    stop: NDArray[np.int32],
    number: NDArray[np.int32],
    count: int,
    confidence_hw: NDArray[np.uint8],
    ground_hw: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sums over the pixels of components; see `find_runs`.

    Args:
        first: int64 (row + 1,).
        start: int32 (run,).
        stop: int32 (run,).
        number: int32 (run,).
        count: How many components there are.
        confidence_hw: uint8 (row, column).
        ground_hw: int32 (row, column).

    Returns:
        Of each component its pixels, int64 (n,), and the sums of confidence, int64 (n,), and ground, int64 (n,).
    """
    pixels = np.zeros(count, np.int64)
    confidence, ground = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for row in range(len(first) - 1):
        for run in range(first[row], first[row + 1]):
            of_confidence, of_ground = np.int64(0), np.int64(0)
            for col in range(start[run], stop[run]):
                of_confidence += confidence_hw[row, col]
                of_ground += ground_hw[row, col]
            component = number[run] - 1
            pixels[component] += stop[run] - start[run]
            confidence[component] += of_confidence
            ground[component] += of_ground
    return pixels, confidence, ground
