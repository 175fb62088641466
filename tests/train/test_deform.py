import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.ndimage import map_coordinates

from geoseg.config.recipe import MOST_BEND
from geoseg.labels import NODATA_CLASS
from geoseg.train.augment import Augmentation
from geoseg.train.batch import Instances, Sample
from geoseg.train.deform import Deformation

SPACING_PX = 8.0
EVERYTHING = Augmentation(
    flips=False,
    rotations=False,
    color_jitter=0,
    scale=(0.5, 2.0),
    rotate_deg=180,
    elastic_px=MOST_BEND * SPACING_PX,
    elastic_spacing_px=SPACING_PX,
)
FEW = settings(max_examples=20, deadline=None)
SEEDS = st.integers(0, 2**32)
SIDES = st.integers(1, 24)


def window(deformation: Deformation, seed: int, invalid_share: float = 0.0) -> Sample:
    """Noise with labels; NaN and random labels wait under what is not valid."""
    rng = np.random.default_rng(seed)
    side = deformation.side_px
    valid_hw = rng.random((side, side)) >= invalid_share
    image_chw = rng.uniform(0, 255, (2, side, side)).astype(np.float32)
    image_chw[:, ~valid_hw] = np.nan
    return Sample(image_chw, valid_hw, rng.integers(0, 5, (side, side)).astype(np.uint8), "noise")


def places(deformation: Deformation, side_px: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where pixel centres lie, from the definition: scipy's splines, then turned and scaled about the middle."""
    crop_px = deformation.crop_px
    centres = np.arange(crop_px) + 0.5
    down_hw, right_hw = np.meshgrid(centres - crop_px / 2, centres - crop_px / 2, indexing="ij")
    if deformation.controls_ark is not None:
        count = deformation.controls_ark.shape[1]
        knots = np.arange(count + 4) - 3.0
        base = BSpline.design_matrix(centres / deformation.spacing_px, knots, 3).toarray()
        moved_ahw = base @ deformation.controls_ark @ base.T
        down_hw, right_hw = down_hw + moved_ahw[0], right_hw + moved_ahw[1]
    turn = math.radians(deformation.turn_deg)
    rows_hw = (math.cos(turn) * down_hw + math.sin(turn) * right_hw) / deformation.scale + side_px / 2
    cols_hw = (-math.sin(turn) * down_hw + math.cos(turn) * right_hw) / deformation.scale + side_px / 2
    return rows_hw, cols_hw


@FEW
@given(SEEDS, SIDES)
def test_it_is_scipys_resampling_at_the_places_of_the_definition(seed: int, crop_px: int) -> None:
    deformation = Deformation.draw(EVERYTHING, crop_px, np.random.default_rng(seed))
    sample = window(deformation, seed)
    crop = deformation.apply(sample)
    rows_hw, cols_hw = places(deformation, deformation.side_px)
    assert crop.valid_hw.all()  # the window was large enough
    for band_hw, source_hw in zip(crop.image_chw, sample.image_chw, strict=True):
        expected_hw = map_coordinates(source_hw.astype(np.float64), [rows_hw - 0.5, cols_hw - 0.5], order=1)
        assert np.abs(band_hw - expected_hw).max() < 1e-3
    assert np.array_equal(crop.labels_hw, sample.labels_hw[rows_hw.astype(int), cols_hw.astype(int)])


@FEW
@given(SEEDS, SIDES, st.integers(0, 3))
def test_image_and_labels_move_together_and_what_is_invalid_stays_so(seed: int, crop_px: int, planes: int) -> None:
    deformation = Deformation.draw(EVERYTHING, crop_px, np.random.default_rng(seed))
    side = deformation.side_px
    # The image says where a pixel lies, which bilinear resampling gives exactly; the labels are made from it.
    rows_hw, cols_hw = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5, indexing="ij")
    labels_hw = ((np.floor(rows_hw) * 7 + np.floor(cols_hw)) % 251).astype(np.uint8)
    valid_hw = np.random.default_rng(seed).random((side, side)) < 0.9
    if planes:
        labels_hw = np.stack([labels_hw] * planes)
    crop = deformation.apply(Sample(np.stack([rows_hw, cols_hw]).astype(np.float32), valid_hw, labels_hw, "place"))
    assert crop.labels_hw.shape == (*labels_hw.shape[:-2], crop_px, crop_px)
    exact_rows_hw, exact_cols_hw = places(deformation, side)
    at_hw = exact_rows_hw.astype(int), exact_cols_hw.astype(int)
    assert np.array_equal(crop.valid_hw, valid_hw[at_hw])
    assert np.array_equal(crop.labels_hw[..., crop.valid_hw], labels_hw[..., *at_hw][..., crop.valid_hw])
    assert (crop.labels_hw[..., ~crop.valid_hw] == NODATA_CLASS).all()
    whole = deformation.apply(
        Sample(np.stack([rows_hw, cols_hw]).astype(np.float32), valid_hw | True, labels_hw, "")
    )
    assert np.allclose(whole.image_chw, np.stack([exact_rows_hw, exact_cols_hw]), atol=1e-3)


@FEW
@given(SEEDS, SIDES)
def test_a_centre_becomes_the_point_whose_place_it_is(seed: int, crop_px: int) -> None:
    deformation = Deformation.draw(EVERYTHING, crop_px, np.random.default_rng(seed))
    side = deformation.side_px
    ids_hw = np.random.default_rng(seed).integers(0, 9, (side, side)).astype(np.int32)
    rows_hw, cols_hw = places(deformation, side)
    centres_n2 = np.stack([rows_hw.ravel(), cols_hw.ravel()], 1)
    sample = replace(window(deformation, seed), instances=Instances(ids_hw, centres_n2, np.full(crop_px**2, 6.0)))
    instances = deformation.apply(sample).instances
    assert instances is not None
    expected_n2 = np.argwhere(np.ones((crop_px, crop_px))) + 0.5
    assert np.abs(instances.centres_n2 - expected_n2).max() < 1e-3
    assert np.array_equal(instances.ids_hw, ids_hw[rows_hw.astype(int), cols_hw.astype(int)])
    np.testing.assert_allclose(instances.pixels_n, 6 * deformation.scale**2)


@FEW
@given(SEEDS, SIDES)
def test_values_under_nodata_are_never_seen(seed: int, crop_px: int) -> None:
    deformation = Deformation.draw(EVERYTHING, crop_px, np.random.default_rng(seed))
    crop = deformation.apply(window(deformation, seed, invalid_share=0.4))
    assert np.isfinite(crop.image_chw).all()
    assert (crop.image_chw >= 0).all()
    assert (crop.image_chw <= 255.001).all()  # means of their neighbours, up to rounding


@FEW
@given(SEEDS, st.floats(0.5, 2), st.floats(-180, 180))
def test_scale_and_turn_are_those_of_torchs_grid(seed: int, scale: float, turn_deg: float) -> None:
    deformation = Deformation(17, scale, turn_deg, None, SPACING_PX)
    sample = window(deformation, seed)
    turn, ratio = math.radians(turn_deg), 17 / deformation.side_px / scale
    theta = [[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0]]
    grid = torch.nn.functional.affine_grid(
        ratio * torch.tensor([theta]).double(), [1, 2, 17, 17], align_corners=False
    )
    expected = torch.nn.functional.grid_sample(
        torch.from_numpy(sample.image_chw)[None].double(), grid, align_corners=False
    )
    assert np.abs(deformation.apply(sample).image_chw - expected[0].numpy()).max() < 1e-3


def test_content_turns_counterclockwise() -> None:
    image_chw = np.arange(9, dtype=np.float32).reshape(1, 3, 3)
    sample = Sample(image_chw, np.ones((3, 3), np.bool_), image_chw[0].astype(np.uint8), "nine")
    turned = Deformation(3, 1.0, 90.0, None, SPACING_PX).apply(sample)
    assert np.allclose(turned.image_chw, np.rot90(image_chw, 1, (-2, -1)), atol=1e-5)
    assert np.array_equal(turned.labels_hw, np.rot90(sample.labels_hw))


@given(SIDES)
def test_without_strength_the_window_is_the_crop_bit_for_bit(crop_px: int) -> None:
    none = Augmentation(flips=True, rotations=True, color_jitter=0.5)
    deformation = Deformation.draw(none, crop_px, np.random.default_rng(0))
    sample = window(deformation, 0)
    assert deformation.side_px == crop_px
    assert deformation.apply(sample) is sample


@pytest.mark.parametrize("crop_px", [16, 17])
def test_a_window_that_is_too_large_gives_its_middle(crop_px: int) -> None:
    sample = window(Deformation(crop_px + 6, 1.0, 0.0, None, SPACING_PX), 3)
    crop = Deformation(crop_px, 1.0, 0.0, None, SPACING_PX).apply(sample)
    assert np.array_equal(crop.image_chw, sample.image_chw[:, 3:-3, 3:-3])
    assert np.array_equal(crop.labels_hw, sample.labels_hw[3:-3, 3:-3])


@FEW
@given(SEEDS)
def test_the_strongest_field_folds_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Extreme control points, alternately to either end, are the worst there are.
    controls_ark = rng.choice([-1.0, 1.0], (2, 7, 7)) * MOST_BEND * SPACING_PX
    rows_hw, cols_hw = places(Deformation(32, 1.0, 0.0, controls_ark, SPACING_PX), 60)
    # Each triangle of neighbouring pixels keeps its sense, along both diagonals.
    down_y, down_x = np.diff(rows_hw, axis=0), np.diff(cols_hw, axis=0)
    right_y, right_x = np.diff(rows_hw, axis=1), np.diff(cols_hw, axis=1)
    for i in (slice(None, -1), slice(1, None)):
        for j in (slice(None, -1), slice(1, None)):
            assert (down_y[:, j] * right_x[i] - down_x[:, j] * right_y[i] > 0).all()


def test_what_is_drawn_lies_in_its_bounds_and_reaches_them() -> None:
    rng = np.random.default_rng(0)
    some = [Deformation.draw(EVERYTHING, 32, rng) for _ in range(300)]
    scales, turns = [one.scale for one in some], [one.turn_deg for one in some]
    assert 0.5 <= min(scales) < 0.52
    assert 1.95 < max(scales) <= 2.0
    assert abs(float(np.mean(np.log(scales)))) < 0.07  # as often larger as smaller
    assert -180 <= min(turns) < -170
    assert 170 < max(turns) <= 180
    bends = [0.0 if one.controls_ark is None else float(np.abs(one.controls_ark).max()) for one in some]
    assert 0.9 * EVERYTHING.elastic_px < max(bends) <= EVERYTHING.elastic_px
