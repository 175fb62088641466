"""Run lengths against pycocotools, whose format they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from pycocotools import mask as coco_tools

from geoseg.datasets.rle import coco_mask, counts_of, mask_of
from geoseg.errors import SceneError

masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(masks)
@settings(max_examples=20)
def test_texts_of_runs_are_unpacked_as_pycocotools_packs_them(mask_hw: NDArray[np.bool_]) -> None:
    packed = coco_tools.encode(np.asfortranarray(mask_hw.astype(np.uint8)))
    shape = mask_hw.shape[0], mask_hw.shape[1]
    np.testing.assert_array_equal(coco_mask(packed["size"], packed["counts"].decode(), shape, "x"), mask_hw)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=12))
def test_runs_of_any_length_come_back(runs: list[int]) -> None:
    # One column: what pycocotools packs of it is the list itself.
    packed = coco_tools.frPyObjects({"size": [sum(runs), 1], "counts": runs}, sum(runs), 1)
    assert counts_of(packed["counts"].decode(), "x") == runs


@pytest.mark.parametrize("runs", [[3], [3, 2], [5, -1, 2], [2, 2, 3], []])
def test_runs_that_do_not_make_up_the_mask_are_refused(runs: list[int]) -> None:
    with pytest.raises(SceneError, match="make up 6 px"):
        mask_of(runs, (2, 3), "x")


@pytest.mark.parametrize("text", ["/", "p", "\u00e9", "P", "o" * 30, "0 1"])
def test_texts_that_are_no_runs_are_refused(text: str) -> None:
    with pytest.raises(SceneError, match="x: "):
        counts_of(text, "x")


def test_only_masks_of_the_images_size_are_unpacked() -> None:
    with pytest.raises(SceneError, match=r"expected a mask of \[4, 5\]"):
        coco_mask([10**9, 10**9], [10**18], (4, 5), "x")
