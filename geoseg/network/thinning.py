"""The skeleton of a mask, in a fixed number of rounds: each of its pixels depends on a bounded neighbourhood."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.compiled import compiled
from geoseg.network.rules import Rules


def skeleton(mask_hw: NDArray[np.bool_], rules: Rules) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """The centre-lines of what is narrow in a mask, one pixel wide, and how far each lies from the mask's edge.

    Small holes are filled first, and what is wider than a road is cut out but for a rim as wide as half a road, so
    that lines go around a square and still meet. Pixels further than `rules.skeleton_reach_px` from an edge of the
    array at which the mask goes on are those of the whole mask.

    Args:
        mask_hw: Boolean (row, column); beyond it there is nothing.
        rules: What is small and what is wide.

    Returns:
        Boolean (row, column), and the squared distance (row, column) in pixels to the nearest pixel that is not of
        the mask; what lies beyond the array is no such pixel.
    """
    filled_hw = mask_hw | _small_holes(mask_hw, rules)
    most = rules.half_width_px
    square_px = squared_distance(filled_hw, most)
    is_wide_hw = square_px > most * most
    if is_wide_hw.any():
        filled_hw &= ~is_wide_hw
        square_px = squared_distance(filled_hw, most)
    return thin(filled_hw, rules.thinning_rounds), square_px


def thin(mask_hw: NDArray[np.bool_], rounds: int) -> NDArray[np.bool_]:
    """A mask without its outer pixels, which go as long as that leaves it connected as it was.

    Guo and Hall (1989, Parallel thinning with two-subiteration algorithms, Communications of the ACM 32, algorithm
    A1): pixels go in parallel, in two steps a round, each of which looks at the eight pixels around. After `rounds`
    a pixel thus depends on those up to 2 x `rounds` away.

    Args:
        mask_hw: Boolean (row, column).
        rounds: How many at most; it ends when nothing changes.

    Returns:
        Boolean (row, column).
    """
    padded = np.pad(mask_hw, 1).astype(np.uint8)
    _thin(padded.reshape(-1), padded.shape[1], rounds, _TABLES)
    return padded[1:-1, 1:-1].astype(bool)


def squared_distance(mask_hw: NDArray[np.bool_], most_px: int) -> NDArray[np.int32]:
    """Squared distance of each pixel of a mask to the nearest pixel outside it, centre to centre.

    Args:
        mask_hw: Boolean (row, column); beyond the array nothing is known, and counts as the mask.
        most_px: Where the distance is more, (most_px + 1) squared is given.

    Returns:
        int32 (row, column), 0 outside the mask.
    """
    return _squared_distance(mask_hw, most_px)


def _small_holes(mask_hw: NDArray[np.bool_], rules: Rules) -> NDArray[np.bool_]:
    """The pixels of holes that are filled; those that the array's edge cuts are not known to be small."""
    holes_hw = np.zeros_like(mask_hw)
    if rules.hole_px == 0:
        return holes_hw
    # What is connected over corners keeps apart what is connected over sides.
    label_hw, count = ndimage.label(~mask_hw)
    height, width = mask_hw.shape
    sizes = np.bincount(label_hw.reshape(-1), minlength=count + 1)
    fills = np.zeros(count + 1, bool)
    small = np.flatnonzero(sizes <= rules.hole_px)
    boxes = ndimage.find_objects(label_hw)
    for label in small[small > 0].tolist():
        rows, cols = boxes[label - 1]
        inside = rows.start > 0 and cols.start > 0 and rows.stop < height and cols.stop < width
        longest = max(rows.stop - rows.start, cols.stop - cols.start)
        fills[label] = inside and longest <= rules.hole_side_px
    return fills[label_hw]


def _tables() -> NDArray[np.uint8]:
    """Whether a pixel goes, uint8 (2, 256): in each step, by its neighbours as bits, east first and clockwise."""
    tables = np.zeros((2, 256), np.uint8)
    for code in range(256):
        east, south_east, south, south_west, west, north_west, north, north_east = (
            bool(code >> bit & 1) for bit in range(8)
        )
        ring = (north, north_east, east, south_east, south, south_west, west, north_west, north)
        sides = list(pairwise(ring))
        crossings = sum(not side and (corner or ring[2 * i + 2]) for i, (side, corner) in enumerate(sides[::2]))
        one = sum(
            corner or side
            for side, corner in ((east, north_east), (north, north_west), (west, south_west), (south, south_east))
        )
        other = sum(
            side or corner
            for side, corner in ((east, south_east), (south, south_west), (west, north_west), (north, north_east))
        )
        if crossings == 1 and 2 <= min(one, other) <= 3:
            tables[0, code] = not ((north_east or north or not south_east) and east)
            tables[1, code] = not ((south_west or south or not north_west) and west)
    return tables


_TABLES = _tables()


@compiled
def _thin(mask: NDArray[np.uint8], width: int, rounds: int, tables: NDArray[np.uint8]) -> None:
    """Thin a mask in place, flat with an empty rim."""
    around = (1, width + 1, width, width - 1, -1, -width - 1, -width, -width + 1)
    pixels = np.flatnonzero(mask)
    goes = np.empty(len(pixels), np.int64)
    count = len(pixels)
    for _ in range(rounds):
        before = count
        for step in range(2):
            going = 0
            for k in range(count):
                place = pixels[k]
                code = 0
                for bit in range(8):
                    code |= mask[place + around[bit]] << bit
                if tables[step, code]:
                    goes[going] = place
                    going += 1
            for k in range(going):
                mask[goes[k]] = 0
            left = 0
            for k in range(count):
                if mask[pixels[k]]:
                    pixels[left] = pixels[k]
                    left += 1
            count = left
        if count == before:
            break


@compiled
def _squared_distance(mask_hw: NDArray[np.bool_], most_px: int) -> NDArray[np.int32]:
    """First down and up each column, then along each row as far as it can still be less (Saito, Toriwaki 1994)."""
    height, width = mask_hw.shape
    far = most_px + 1
    column = np.zeros((height, width), np.int32)
    run = np.full(width, far, np.int32)
    for row in range(height):
        for col in range(width):
            run[col] = min(run[col] + 1, far) if mask_hw[row, col] else 0
            column[row, col] = run[col]
    run[:] = far
    for row in range(height - 1, -1, -1):
        for col in range(width):
            run[col] = min(run[col] + 1, far) if mask_hw[row, col] else 0
            column[row, col] = min(column[row, col], run[col])
    square = np.zeros((height, width), np.int32)
    for row in range(height):
        for col in range(width):
            if mask_hw[row, col]:
                square[row, col] = _nearest(column[row], col, far)
    return square


@compiled
def _nearest(column: NDArray[np.int32], col: int, far: int) -> int:
    """The least squared distance, by the distances (n,) within the columns of a row."""
    best = min(column[col], far) ** 2
    step = 1
    while step < far and step * step < best:
        left = column[max(col - step, 0)] if col >= step else far
        right = column[min(col + step, len(column) - 1)] if col + step < len(column) else far
        side = min(left, right)
        best = min(best, side * side + step * step)
        step += 1
    return min(best, far * far)
