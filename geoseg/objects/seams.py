"""Objects across blocks: components that meet at a seam are one object.

Only the pixels on block borders are looked at, so that time and memory grow with the length of the seams and
not with the raster.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import Window
from geoseg.objects.label import BlockObjects


@dataclass(frozen=True, slots=True, eq=False)
class BlockBorders:
    """What a block's neighbours need to know of it.

    Attributes:
        window: The block's place on the grid.
        top_w: int32 (column,); labels along the first row, 0 where there is no object.
        bottom_w: int32 (column,); along the last row.
        left_h: int32 (row,); along the first column.
        right_h: int32 (row,); along the last column.
        label: int32 (n,); the labels on those four lines, sorted, each once.
        class_id: uint8 (n,); the class of each.
        first_pixel: int64 (n,); the first pixel of each within the block, as in `BlockObjects`.
    """

    window: Window
    top_w: NDArray[np.int32]
    bottom_w: NDArray[np.int32]
    left_h: NDArray[np.int32]
    right_h: NDArray[np.int32]
    label: NDArray[np.int32]
    class_id: NDArray[np.uint8]
    first_pixel: NDArray[np.int64]

    @classmethod
    def of(cls, objects: BlockObjects) -> Self:
        """The borders of a labelled block."""
        labels_hw = objects.labels_hw
        # Copies, so that the borders do not keep the whole block in memory.
        top_w, bottom_w = labels_hw[0].copy(), labels_hw[-1].copy()
        left_h, right_h = labels_hw[:, 0].copy(), labels_hw[:, -1].copy()
        label = np.unique(np.concatenate((top_w, bottom_w, left_h, right_h)))
        label = label[label > 0]
        return cls(
            window=objects.window,
            top_w=top_w,
            bottom_w=bottom_w,
            left_h=left_h,
            right_h=right_h,
            label=label,
            class_id=objects.class_id[label - 1],
            first_pixel=objects.first_pixel[label - 1],
        )


def join(blocks: Sequence[BlockBorders]) -> list[NDArray[np.int64]]:
    """Find the object of every border component.

    Two components are one object when a pixel of one is 4-adjacent to a pixel of the other across a border
    and the classes are equal. An object's id is 1 + its first pixel in raster order on the grid, which
    depends neither on the blocks nor on their order. A component that touches no border is an object by
    itself, with id 1 + its own first pixel.

    Args:
        blocks: Disjoint blocks in any order; blocks without any data may be missing.

    Returns:
        For each block, in the order given, the ids int64 (n,) of its `BlockBorders.label`.

    Raises:
        ValueError: A block is given twice.
    """
    if len({block.window for block in blocks}) != len(blocks):
        raise ValueError("expected each block once, got one of them twice")
    if not blocks:
        return []
    sizes = [len(block.label) for block in blocks]
    starts = np.concatenate(([0], np.cumsum(sizes)))
    count = int(starts[-1])
    if count == 0:
        return [np.empty(0, np.int64) for _ in blocks]
    class_id = np.concatenate([block.class_id for block in blocks])
    first_pixel = np.concatenate([block.first_pixel for block in blocks])

    above, below = _pairs_across_rows(blocks, starts)
    left, right = _pairs_across_columns(blocks, starts)
    one, other = np.concatenate((above, left)), np.concatenate((below, right))
    same = class_id[one] == class_id[other]
    one, other = one[same], other[same]
    graph = coo_array((np.ones(len(one), np.uint8), (one, other)), shape=(count, count))
    objects, member_of = connected_components(graph, directed=False)

    object_first = np.full(objects, np.iinfo(np.int64).max)
    np.minimum.at(object_first, member_of, first_pixel)
    return np.split(object_first[member_of] + 1, starts[1:-1])


def _pairs_across_rows(
    blocks: Sequence[BlockBorders], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nodes of labelled pixels that lie above one another across a border, each int64 (pair,)."""
    stride = max(block.window.col_stop for block in blocks) + 1
    above, below = [], []
    for block, start in zip(blocks, starts, strict=False):
        window = block.window
        cols = np.arange(window.col, window.col_stop, dtype=np.int64)
        # Both lines are keyed by the pixel below the border.
        above.append(_keyed(window.row_stop * stride + cols, block.bottom_w, block, int(start)))
        below.append(_keyed(window.row * stride + cols, block.top_w, block, int(start)))
    return _match(np.hstack(above), np.hstack(below))


def _pairs_across_columns(
    blocks: Sequence[BlockBorders], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nodes of labelled pixels that lie side by side across a border, each int64 (pair,)."""
    # One more than the columns: the pixel right of the last column must not be the next row's first.
    stride = max(block.window.col_stop for block in blocks) + 1
    left, right = [], []
    for block, start in zip(blocks, starts, strict=False):
        window = block.window
        row_keys = np.arange(window.row, window.row_stop, dtype=np.int64) * stride
        left.append(_keyed(row_keys + window.col_stop, block.right_h, block, int(start)))
        right.append(_keyed(row_keys + window.col, block.left_h, block, int(start)))
    return _match(np.hstack(left), np.hstack(right))


def _keyed(
    pixel_key: NDArray[np.int64], line: NDArray[np.int32], block: BlockBorders, start: int
) -> NDArray[np.int64]:
    """Pixel key and graph node of the labelled pixels of a line, int64 (2, pixel)."""
    labelled = line > 0
    node = start + np.searchsorted(block.label, line[labelled])
    return np.stack((pixel_key[labelled], node.astype(np.int64)))


def _match(one: NDArray[np.int64], other: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nodes of the pixels whose key occurs on both sides; a key occurs once a side in disjoint blocks."""
    _, at_one, at_other = np.intersect1d(one[0], other[0], assume_unique=True, return_indices=True)
    return one[1, at_one], other[1, at_other]
