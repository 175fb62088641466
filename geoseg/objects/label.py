"""The objects of one block: 4-connected components of equal class."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True, eq=False)
class BlockObjects:
    """The components of one block, as far as the block can see them.

    Attributes:
        window: The block's place on the grid.
        labels_hw: int32 (row, column); 0 where there is no object, else 1 to n in raster order of the
            components' first pixels.
        class_id: uint8 (n,); entry k belongs to label k + 1, here and below.
        first_pixel: int64 (n,); row x grid width + column, on the grid, of the first pixel in raster order.
        pixels: int64 (n,); size in pixels.
        confidence_sum: int64 (n,); sum of the pixels' confidence values (probability x 254).
    """

    window: Window
    labels_hw: NDArray[np.int32]
    class_id: NDArray[np.uint8]
    first_pixel: NDArray[np.int64]
    pixels: NDArray[np.int64]
    confidence_sum: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.class_id)


def label_block(
    classes_hw: NDArray[np.uint8],
    confidence_hw: NDArray[np.uint8],
    window: Window,
    grid_width: int,
    keep: Collection[int],
) -> BlockObjects:
    """Label the 4-connected components of each kept class in a block.

    Args:
        classes_hw: Class ids, uint8 (row, column), 255 where there is no data.
        confidence_hw: Probability of the winning class x 254, uint8 (row, column).
        window: The block's place on the grid.
        grid_width: Columns of the whole grid.
        keep: Ids of the classes to label.

    Raises:
        ValueError: The arrays do not have the window's shape, the window lies right of the grid, or nodata is
            asked for as a class.
    """
    if not classes_hw.shape == confidence_hw.shape == window.shape:
        raise ValueError(
            f"expected arrays of {window.shape} pixels, got {classes_hw.shape} and {confidence_hw.shape}"
        )
    if window.col_stop > grid_width:
        raise ValueError(f"the window ends at column {window.col_stop}, the grid at {grid_width}")
    if NODATA_CLASS in keep:
        raise ValueError(f"{NODATA_CLASS} means no data and is never an object")

    labels_hw = np.zeros(window.shape, np.int32)
    component_hw = np.empty(window.shape, np.int32)
    count = 0
    for class_id in sorted(set(keep)):
        mask_hw = classes_hw == class_id
        # With an output array scipy returns the count alone, and no second array per class.
        found = int(ndimage.label(mask_hw, output=component_hw))
        np.add(component_hw, count, out=labels_hw, where=mask_hw)
        count += found
    return _measure(labels_hw, classes_hw, confidence_hw, window, grid_width)


def _measure(
    labels_hw: NDArray[np.int32],
    classes_hw: NDArray[np.uint8],
    confidence_hw: NDArray[np.uint8],
    window: Window,
    grid_width: int,
) -> BlockObjects:
    """Renumber labels 1 to n in raster order (in place) and measure each component.

    Everything is summed over runs of equal label, of which there are far fewer than pixels. A component's
    first pixel always starts a run, so that runs may go on over the ends of rows.
    """
    flat = labels_hw.reshape(-1)
    run_start = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    run_label = flat[run_start]
    run_pixels = np.diff(run_start, append=flat.size)
    run_confidence = np.add.reduceat(confidence_hw.reshape(-1), run_start, dtype=np.int64)

    label, first_run = np.unique(run_label, return_index=True)
    label, first_run = label[label > 0], first_run[label > 0]
    order = np.argsort(first_run)
    first = run_start[first_run[order]]
    renumbered = np.zeros(int(label.max(initial=0)) + 1, np.int32)
    renumbered[label[order]] = np.arange(1, len(label) + 1, dtype=np.int32)
    np.take(renumbered, flat, out=flat)

    # Sums of integers below 2^53 are exact in bincount's floats.
    bins, size = renumbered[run_label], len(label) + 1
    pixels = np.bincount(bins, weights=run_pixels, minlength=size)[1:].astype(np.int64)
    confidence_sum = np.bincount(bins, weights=run_confidence, minlength=size)[1:].astype(np.int64)
    row, col = np.divmod(first.astype(np.int64), window.width)
    return BlockObjects(
        window=window,
        labels_hw=labels_hw,
        class_id=classes_hw.reshape(-1)[first],
        first_pixel=(window.row + row) * grid_width + window.col + col,
        pixels=pixels,
        confidence_sum=confidence_sum,
    )
