from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.objects.label import BlockObjects, label_block
from geoseg.objects.seams import BlockBorders, join

classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 1, 255]),
)
KEEP = (0, 1)


def cut(shape: tuple[int, ...], block_height: int, block_width: int) -> list[Window]:
    height, width = shape
    return [
        Window(row, col, min(block_height, height - row), min(block_width, width - col))
        for row in range(0, height, block_height)
        for col in range(0, width, block_width)
    ]


def label(classes_hw: NDArray[np.uint8], window: Window) -> BlockObjects:
    part_hw = classes_hw[window.slices_in(Window(0, 0, *classes_hw.shape))]
    return label_block(part_hw, np.zeros_like(part_hw), window, classes_hw.shape[1], KEEP)


def ids_by_joining(classes_hw: NDArray[np.uint8], windows: list[Window]) -> NDArray[np.int64]:
    """The object id of every pixel, 0 for none."""
    ids_hw = np.zeros(classes_hw.shape, np.int64)
    blocks = [label(classes_hw, window) for window in windows]
    borders = [BlockBorders.of(block) for block in blocks]
    for block, border, border_id in zip(blocks, borders, join(borders), strict=True):
        id_of_label = np.concatenate(([0], block.first_pixel + 1))
        id_of_label[border.label] = border_id
        ids_hw[block.window.slices_in(Window(0, 0, *classes_hw.shape))] = id_of_label[block.labels_hw]
    return ids_hw


def ids_by_scipy(classes_hw: NDArray[np.uint8]) -> NDArray[np.int64]:
    ids_hw = np.zeros(classes_hw.shape, np.int64)
    for class_id in KEEP:
        component_hw, count = ndimage.label(classes_hw == class_id)
        for component in range(1, count + 1):
            mask_hw = component_hw == component
            ids_hw[mask_hw] = 1 + np.flatnonzero(mask_hw)[0]
    return ids_hw


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays, st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_ids_are_those_of_the_whole_raster_in_any_order_of_blocks(
    classes_hw: NDArray[np.uint8], block_height: int, block_width: int, random: Random
) -> None:
    windows = cut(classes_hw.shape, block_height, block_width)
    random.shuffle(windows)
    assert np.array_equal(ids_by_joining(classes_hw, windows), ids_by_scipy(classes_hw))


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays, st.integers(1, 4))
def test_blocks_without_data_may_be_missing(classes_hw: NDArray[np.uint8], side: int) -> None:
    classes_hw[:side, :side] = 255
    windows = [w for w in cut(classes_hw.shape, side, side) if (w.row, w.col) != (0, 0)]
    assert np.array_equal(ids_by_joining(classes_hw, windows), ids_by_scipy(classes_hw))


def test_blocks_need_not_form_rows_and_columns() -> None:
    classes_hw = np.zeros((5, 6), np.uint8)
    classes_hw[2, 1:5] = 1
    windows = [Window(0, 0, 2, 4), Window(0, 4, 4, 2), Window(2, 0, 3, 3), Window(2, 3, 2, 1), Window(4, 3, 1, 3)]
    assert np.array_equal(ids_by_joining(classes_hw, windows), ids_by_scipy(classes_hw))


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next() -> None:
    classes_hw = np.array([[255, 0], [0, 255]], np.uint8)
    ids_hw = ids_by_joining(classes_hw, cut((2, 2), 2, 1))
    assert ids_hw.tolist() == [[0, 2], [3, 0]]


def test_nothing_joined_is_nothing() -> None:
    assert join([]) == []
    empty = BlockBorders.of(label(np.full((2, 2), 255, np.uint8), Window(0, 0, 2, 2)))
    assert [ids.tolist() for ids in join([empty])] == [[]]


def test_a_block_given_twice_is_refused() -> None:
    border = BlockBorders.of(label(np.zeros((2, 2), np.uint8), Window(0, 0, 2, 2)))
    with pytest.raises(ValueError, match="twice"):
        join([border, border])
