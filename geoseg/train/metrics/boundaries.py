"""How far the boundaries of two masks lie apart, pixel by pixel, and the same whatever window is looked at."""

import math

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled

_WITHIN = 1 + 1e-9
"""A distance counts as within a bound that it equals but for rounding."""


def boundary(mask_hw: NDArray[np.bool_], known_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask that have a known pixel outside of it among their four neighbours.

    Where nothing is known, and at the array's edges, no boundary is seen.

    Args:
        mask_hw: The mask (row, column).
        known_hw: Where it is known, (row, column); elsewhere the mask does not count.
    """
    inside_hw = mask_hw & known_hw
    outside_hw = known_hw & ~mask_hw
    beside_hw = np.zeros_like(inside_hw)
    beside_hw[1:] |= outside_hw[:-1]
    beside_hw[:-1] |= outside_hw[1:]
    beside_hw[:, 1:] |= outside_hw[:, :-1]
    beside_hw[:, :-1] |= outside_hw[:, 1:]
    return inside_hw & beside_hw


def halo_px(distance_m: float, pixel_m: tuple[float, float]) -> int:
    """How many pixels around a window decide which of its boundary pixels lie within a distance of another's."""
    return math.ceil(distance_m * _WITHIN / min(pixel_m)) + 1


def count_within(
    asked_hw: NDArray[np.bool_],
    other_hw: NDArray[np.bool_],
    pixel_m: tuple[float, float],
    distances_m: tuple[float, ...],
) -> NDArray[np.int64]:
    """How many pixels of one mask lie within distances of any pixel of another, from centre to centre.

    Args:
        asked_hw: Pixels to count (row, column).
        other_hw: What they are near to, or not (row, column).
        pixel_m: (height, width) of a pixel.
        distances_m: The distances.

    Returns:
        A count for each distance, int64 (n,).
    """
    rows, cols = np.nonzero(asked_hw)
    counts = np.zeros(len(distances_m), np.int64)
    if len(rows) == 0 or not other_hw.any():
        return counts
    reach_px = math.ceil(max(distances_m) * _WITHIN / pixel_m[1])
    squared_m2 = _nearest(other_hw, rows, cols, *pixel_m, reach_px)
    for i, distance_m in enumerate(distances_m):
        counts[i] = np.count_nonzero(squared_m2 <= (distance_m * _WITHIN) ** 2)
    return counts


def _nearest(
    other_hw: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    height_m: float,
    width_m: float,
    reach_px: int,
) -> NDArray[np.float64]:
    """Squared distance (n,) from pixels to the nearest that is true at most so many columns away.

    By columns first, then along rows (Saito and Toriwaki 1994, New algorithms for Euclidean distance
    transformation, section 3), but only for the pixels that are asked for: boundaries are thin.
    """
    return np.asarray(_along_rows(_down_columns(other_hw), rows, cols, height_m, width_m, reach_px))


@compiled
def _down_columns(other_hw: NDArray[np.bool_]) -> NDArray[np.int32]:
    height, width = other_hw.shape
    far = np.int32(2**30)
    rows_away = np.empty((height, width), np.int32)
    for col in range(width):
        rows_away[0, col] = 0 if other_hw[0, col] else far
    for row in range(1, height):
        for col in range(width):
            rows_away[row, col] = 0 if other_hw[row, col] else min(rows_away[row - 1, col] + 1, far)
    for row in range(height - 2, -1, -1):
        for col in range(width):
            rows_away[row, col] = min(rows_away[row, col], rows_away[row + 1, col] + 1)
    return rows_away


@compiled
def _along_rows(
    rows_away: NDArray[np.int32],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    height_m: float,
    width_m: float,
    reach_px: int,
) -> NDArray[np.float64]:
    width = rows_away.shape[1]
    nearest = np.empty(len(rows), np.float64)
    for i in range(len(rows)):
        row, col = rows[i], cols[i]
        best = np.inf
        for away in range(reach_px + 1):
            across = (away * width_m) ** 2
            if across >= best:
                break
            for at in (col - away, col + away):
                if 0 <= at < width:
                    best = min(best, across + (rows_away[row, at] * height_m) ** 2)
        nearest[i] = best
    return nearest
