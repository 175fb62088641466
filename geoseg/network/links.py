"""Which pixels of a skeleton follow one another: a walk over pixels, compiled.

Skeletons are flat here, uint8 with an empty rim. Directions are 0 to 7, east first and clockwise.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled

Place = int | np.signedinteger[Any]
"""Index of a pixel in a flat array."""


def steps(width_px: int) -> NDArray[np.int64]:
    """How far the next pixel in each direction is in a flat array, int64 (8,).

    Args:
        width_px: Columns of the array.
    """
    row = width_px
    return np.array([1, row + 1, row, row - 1, -1, -row - 1, -row, -row + 1])


@compiled
def is_linked(on: NDArray[np.uint8], place: Place, direction: int, step: NDArray[np.int64]) -> bool:
    """Whether a pixel of a skeleton is followed by another in a direction.

    Over a corner it is only where no pixel of the skeleton lies beside both, so that no two links make a detour of
    a third (m-adjacency: Gonzalez and Woods 2008, Digital image processing, section 2.5.2).

    Args:
        on: Skeleton, flat (n,), with an empty rim.
        place: Index of a pixel of it.
        direction: 0 to 7.
        step: `steps` (8,) of the array.
    """
    if not on[place + step[direction]]:
        return False
    if direction % 2 == 0:
        return True
    return not on[place + step[direction - 1]] and not on[place + step[(direction + 1) % 8]]


@compiled
def degree(on: NDArray[np.uint8], place: Place, step: NDArray[np.int64]) -> int:
    """How many pixels follow a pixel of a skeleton.

    Args:
        on: Skeleton, flat (n,), with an empty rim.
        place: Index of a pixel of it.
        step: `steps` (8,) of the array.
    """
    count = 0
    for direction in range(8):
        if is_linked(on, place, direction, step):
            count += 1
    return count


@compiled
def follow(on: NDArray[np.uint8], before: Place, place: Place, step: NDArray[np.int64]) -> Place:
    """The first pixel that follows another and is not the one before; -1 where none is.

    Args:
        on: Skeleton, flat (n,), with an empty rim.
        before: Index of the pixel that was left, or -1.
        place: Index of the pixel that was reached.
        step: `steps` (8,) of the array.
    """
    for direction in range(8):
        if is_linked(on, place, direction, step) and place + step[direction] != before:
            return place + step[direction]
    return -1
