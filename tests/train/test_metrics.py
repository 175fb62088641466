import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS
from geoseg.train.metrics import Confusion


def maps(seed: int, classes: int, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    target_hw = rng.integers(0, classes, shape).astype(np.uint8)
    target_hw[rng.random(shape) < 0.3] = NODATA_CLASS
    return target_hw, rng.integers(0, classes, shape).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.integers(1, 6), st.integers(1, 6))
def test_figures_equal_sets_of_pixels(seed: int, classes: int, height: int, width: int) -> None:
    target_hw, predicted_hw = maps(seed, classes, (height, width))
    confusion = Confusion.of(target_hw, predicted_hw, classes)
    known = [at for at, label in np.ndenumerate(target_hw) if label != NODATA_CLASS]
    ious: list[float | None] = []
    for label in range(classes):
        true = {at for at in known if target_hw[at] == label}
        predicted = {at for at in known if predicted_hw[at] == label}
        ious.append(len(true & predicted) / len(true | predicted) if true | predicted else None)
    assert confusion.iou() == tuple(ious)
    there = [iou for iou in ious if iou is not None]
    assert confusion.miou() == (pytest.approx(sum(there) / len(there)) if there else None)
    right = sum(bool(target_hw[at] == predicted_hw[at]) for at in known)
    assert confusion.accuracy() == (right / len(known) if known else None)
    assert confusion.pixels == len(known)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 7))
def test_windows_add_up_to_the_whole(seed: int, row: int, col: int) -> None:
    target_hw, predicted_hw = maps(seed, 4, (8, 8))
    parts = Confusion.zero(4)
    for rows in (slice(0, row), slice(row, 8)):
        for cols in (slice(0, col), slice(col, 8)):
            parts += Confusion.of(target_hw[rows, cols], predicted_hw[rows, cols], 4)
    whole = Confusion.of(target_hw, predicted_hw, 4)
    assert np.array_equal(parts.counts, whole.counts)


def test_counts_beyond_32_bits_stay_exact() -> None:
    many = Confusion(np.array([[2**40 + 1, 0], [0, 1]], np.int64))
    assert (many + many).pixels == 2**41 + 4


def test_a_class_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="ids below 2"):
        Confusion.of(np.array([[2]], np.uint8), np.array([[0]], np.uint8), 2)
    with pytest.raises(ValueError, match="ids below 2"):
        Confusion.of(np.array([[0]], np.uint8), np.array([[2]], np.uint8), 2)


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        Confusion.of(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)
