"""Skeletons against scikit-image and scipy, and how far each pixel of one reaches."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from skimage import morphology

from geoseg.network.rules import Rules
from geoseg.network.thinning import skeleton, squared_distance, thin

oracle: Any = morphology.thin  # without types

RULES = Rules(half_width_px=4, hole_px=5, spur_px=2.0, gap_px=4)


def blobs(seed: int, height: int = 90, width: int = 110) -> NDArray[np.bool_]:
    """A mask of blobs of any width, some of them wider than a road."""
    rng = np.random.default_rng(seed)
    return ndimage.gaussian_filter(rng.normal(size=(height, width)), rng.uniform(0.7, 4)) > rng.uniform(-0.02, 0.02)


def count(mask_hw: NDArray[np.bool_], structure: NDArray[np.float64] | None) -> int:
    return int(ndimage.label(mask_hw, structure)[1])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), rounds=st.sampled_from([1, 2, 5, 60]))
def test_thinning_is_that_of_scikit_image(seed: int, rounds: int) -> None:
    mask_hw = blobs(seed)
    assert (thin(mask_hw, rounds) == oracle(mask_hw, max_num_iter=rounds)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), most_px=st.integers(1, 12))
def test_distances_are_those_of_scipy_up_to_a_bound(seed: int, most_px: int) -> None:
    mask_hw = blobs(seed)
    exact = np.rint(ndimage.distance_transform_edt(mask_hw) ** 2)
    assert (squared_distance(mask_hw, most_px) == np.minimum(exact, (most_px + 1) ** 2)).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_skeleton_is_thin_and_as_connected_as_what_is_left_of_its_mask(seed: int) -> None:
    mask_hw = blobs(seed)
    on_hw, square_px = skeleton(mask_hw, RULES)
    left_hw = square_px > 0
    assert (thin(on_hw, 1) == on_hw).all()
    assert (left_hw | ~on_hw).all()
    assert square_px.max() <= RULES.half_width_px**2
    around = np.ones((3, 3))
    assert count(on_hw, around) == count(left_hw, around)
    assert count(~np.pad(on_hw, 1), None) == count(~np.pad(left_hw, 1), None)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), row=st.integers(0, 80), col=st.integers(0, 90))
def test_a_pixel_of_a_skeleton_depends_on_what_is_within_reach(seed: int, row: int, col: int) -> None:
    mask_hw, reach = blobs(seed), RULES.skeleton_reach_px
    top, left = max(row - reach, 0), max(col - reach, 0)
    cut_hw = mask_hw[top : row + 10 + reach, left : col + 20 + reach]
    whole, part = skeleton(mask_hw, RULES), skeleton(cut_hw, RULES)
    for of_whole, of_part in zip(whole, part, strict=True):
        expected = of_whole[row : row + 10, col : col + 20]
        assert (of_part[row - top :, col - left :][: expected.shape[0], : expected.shape[1]] == expected).all()
