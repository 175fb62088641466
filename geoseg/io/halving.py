"""Overviews: of each 2 x 2 pixels one."""

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS


def majority_of_four(classes_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The commonest class of each 2 x 2 pixels; among equals the first in raster order; nodata only alone.

    Args:
        classes_hw: (row, column), 255 = nodata; odd sides are continued with nodata.

    Returns:
        Half the size, rounded up.
    """
    quads = _quads(classes_hw)
    counts = np.zeros(quads.shape, np.uint8)
    for first in range(4):
        counts[first] = (quads == quads[first]).sum(axis=0, dtype=np.uint8)
        counts[first][quads[first] == NODATA_CLASS] = 0
    winner = counts.argmax(axis=0)
    return np.take_along_axis(quads, winner[None], axis=0)[0]


def mean_of_four(confidence_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The mean (row, column) of the valid among each 2 x 2 pixels, rounded to nearest; 255 where none is."""
    quads = _quads(confidence_hw)
    valid = quads != NODATA_CLASS
    count = valid.sum(axis=0, dtype=np.uint16)
    total = np.where(valid, quads, 0).sum(axis=0, dtype=np.uint16)
    mean = (2 * total + count) // np.maximum(2 * count, 1)
    return np.where(count > 0, mean, NODATA_CLASS).astype(np.uint8)


def _quads(values_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = values_hw.shape
    padded = np.pad(values_hw, ((0, height % 2), (0, width % 2)), constant_values=NODATA_CLASS)
    return np.stack([padded[0::2, 0::2], padded[0::2, 1::2], padded[1::2, 0::2], padded[1::2, 1::2]])
