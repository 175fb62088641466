from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.objects.label import label_block

classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([0, 1, 2, 255]),
)


def confidence_of(classes_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (np.arange(classes_hw.size, dtype=np.int64).reshape(classes_hw.shape) * 37 % 255).astype(np.uint8)


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays)
@example(np.full((3, 4), 255, np.uint8))
@example(np.zeros((1, 1), np.uint8))
@example(np.array([[0, 1], [0, 0], [1, 0]], np.uint8))
def test_components_are_those_of_scipy_with_their_measures(classes_hw: NDArray[np.uint8]) -> None:
    confidence_hw = confidence_of(classes_hw)
    window = Window(5, 3, *classes_hw.shape)
    ground_hw = (confidence_hw.astype(np.int32) * 99991 + 1).astype(np.int32)
    objects = label_block(classes_hw, confidence_hw, window, 100, (2, 0), ground_hw)

    expected = []
    for class_id in (0, 2):
        component_hw, count = ndimage.label(classes_hw == class_id)
        for component in range(1, count + 1):
            at = np.flatnonzero(component_hw == component)
            row, col = np.unravel_index(at, classes_hw.shape)
            first = (row[0] + 5) * 100 + col[0] + 3
            confidence_sum = confidence_hw.reshape(-1)[at].sum(dtype=np.int64)
            ground = ground_hw.reshape(-1)[at].sum(dtype=np.int64)
            expected.append((first, class_id, len(at), confidence_sum, ground, at.tolist()))
    found = [
        (
            objects.measures.first_pixel[i],
            objects.segment[i],
            objects.measures.pixels[i],
            objects.measures.confidence_sum[i],
            objects.measures.ground[i],
            np.flatnonzero(objects.runs.paint() == i + 1).tolist(),
        )
        for i in range(len(objects))
    ]
    assert found == sorted(expected)


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays)
def test_labels_count_up_in_raster_order(classes_hw: NDArray[np.uint8]) -> None:
    objects = label_block(
        classes_hw, confidence_of(classes_hw), Window(0, 0, *classes_hw.shape), classes_hw.shape[1], (0, 1, 2)
    )
    assert (np.diff(objects.measures.first_pixel) > 0).all()
    assert np.array_equal(objects.runs.paint() > 0, classes_hw != 255)


def test_first_pixels_of_a_huge_grid_do_not_overflow() -> None:
    width = 3_000_000_000
    window = Window(2_999_999_999, width - 1, 1, 1)
    objects = label_block(np.zeros((1, 1), np.uint8), np.zeros((1, 1), np.uint8), window, width, [0])
    assert objects.measures.first_pixel.tolist() == [width * width - 1]


def with_nodata() -> None:
    label_block(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), Window(0, 0, 2, 2), 2, [255])


def with_another_shape() -> None:
    label_block(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), Window(0, 0, 2, 2), 2, [0])


def right_of_the_grid() -> None:
    label_block(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), Window(0, 1, 2, 2), 2, [0])


@pytest.mark.parametrize("call", [with_nodata, with_another_shape, right_of_the_grid])
def test_what_cannot_be_labelled_is_refused(call: Callable[[], None]) -> None:
    with pytest.raises(ValueError, match=r"expected|never|ends"):
        call()
