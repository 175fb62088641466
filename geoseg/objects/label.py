"""The objects of one block: 4-connected components of equal class."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.objects.ground import GROUND_UNIT
from geoseg.objects.measures import Measures


@dataclass(frozen=True, slots=True, eq=False)
class BlockObjects:
    """The components of one block, as far as the block can see them.

    Attributes:
        window: The block's place on the grid.
        labels_hw: int32 (row, column); 0 where there is no object, else 1 to n in raster order of the
            components' first pixels.
        class_id: uint8 (n,); entry k belongs to label k + 1, here and below.
        measures: A row for each.
    """

    window: Window
    labels_hw: NDArray[np.int32]
    class_id: NDArray[np.uint8]
    measures: Measures

    def __len__(self) -> int:
        return len(self.class_id)


def label_block(
    classes_hw: NDArray[np.uint8],
    confidence_hw: NDArray[np.uint8],
    window: Window,
    grid_width: int,
    keep: Collection[int],
    ground_hw: NDArray[np.int32] | None = None,
) -> BlockObjects:
    """Label and measure the 4-connected components of each kept class in a block.

    Args:
        classes_hw: Class ids, uint8 (row, column), 255 where there is no data.
        confidence_hw: Probability of the winning class x 254, uint8 (row, column).
        window: The block's place on the grid.
        grid_width: Columns of the whole grid.
        keep: Ids of the classes to label.
        ground_hw: Ground area of each pixel, int32 (row, column), see `pixel_ground`; None counts each as the
            nominal pixel.

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
    labels_hw = components(classes_hw, keep)

    # Everything is summed over runs of equal label, of which there are far fewer than pixels. A component's
    # first pixel always starts a run, so that runs may go on over the ends of rows.
    flat = labels_hw.reshape(-1)
    run_start = _run_starts(flat)
    bins = flat[run_start]
    run_pixels = np.diff(run_start, append=flat.size)
    run_confidence = np.add.reduceat(confidence_hw.reshape(-1), run_start, dtype=np.int64)
    run_ground = run_pixels * GROUND_UNIT
    if ground_hw is not None:
        run_ground = np.add.reduceat(ground_hw.reshape(-1), run_start, dtype=np.int64)
    label, first_run = np.unique(bins, return_index=True)
    first = run_start[first_run[label > 0]].astype(np.int64)
    size = len(first) + 1
    # Sums of integers below 2^53 are exact in bincount's floats.
    pixels, confidence_sum, ground = (
        np.bincount(bins, weights=of_run, minlength=size)[1:].astype(np.int64)
        for of_run in (run_pixels, run_confidence, run_ground)
    )
    row, col = np.divmod(first, window.width)
    first_pixel = (window.row + row) * grid_width + window.col + col
    class_id = classes_hw.reshape(-1)[first]
    return BlockObjects(window, labels_hw, class_id, Measures(first_pixel, pixels, confidence_sum, ground))


def components(classes_hw: NDArray[np.uint8], keep: Collection[int]) -> NDArray[np.int32]:
    """Number the 4-connected components of each kept class.

    Args:
        classes_hw: Class ids, uint8 (row, column), 255 where there is no data.
        keep: Ids of the classes to label.

    Returns:
        int32 (row, column); 0 where there is none, else 1 to n in raster order of the components' first pixels.

    Raises:
        ValueError: Nodata is asked for as a class.
    """
    if NODATA_CLASS in keep:
        raise ValueError(f"{NODATA_CLASS} means no data and is never an object")
    labels_hw = np.zeros(classes_hw.shape, np.int32)
    component_hw = np.empty(classes_hw.shape, np.int32)
    count = 0
    for class_id in sorted(set(keep)):
        mask_hw = classes_hw == class_id
        # With an output array scipy returns the count alone, and no second array per class.
        found = int(ndimage.label(mask_hw, output=component_hw))
        np.add(component_hw, count, out=labels_hw, where=mask_hw)
        count += found
    flat = labels_hw.reshape(-1)
    label, first_run = np.unique(flat[_run_starts(flat)], return_index=True)
    label, first_run = label[label > 0], first_run[label > 0]
    renumbered = np.zeros(count + 1, np.int32)
    renumbered[label[np.argsort(first_run)]] = np.arange(1, len(label) + 1, dtype=np.int32)
    np.take(renumbered, flat, out=flat)
    return labels_hw


def _run_starts(flat: NDArray[np.int32]) -> NDArray[np.intp]:
    """Where runs of equal values begin."""
    return np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
