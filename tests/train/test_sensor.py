import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.train.augment import Augmentation
from geoseg.train.batch import Sample
from geoseg.train.sensor import add_noise, blur, change_values, jitter_color

FEW = settings(max_examples=15, deadline=None)
SEEDS = st.integers(0, 2**32)
WHOLE = np.ones((8, 8), np.bool_)


def noise(seed: int, side: int = 8) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 255, (3, side, side)).astype(np.float32)


def holes(seed: int, side: int = 8) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random((side, side)) < 0.7


@FEW
@given(SEEDS, st.floats(0.01, 0.99))
def test_jitter_is_affine_per_band_and_stays_in_range(seed: int, strength: float) -> None:
    image_chw = noise(seed)
    changed_chw = jitter_color(image_chw, WHOLE, (0, 255), strength, np.random.default_rng(seed))
    assert changed_chw.dtype == np.float32
    assert changed_chw.min() >= 0
    assert changed_chw.max() <= 255
    for before_hw, after_hw in zip(image_chw, changed_chw, strict=True):
        free = (after_hw > 0) & (after_hw < 255)
        if np.count_nonzero(free) < 3:
            continue
        slope, offset = np.polyfit(before_hw[free], after_hw[free], 1)
        assert np.allclose(slope * before_hw[free] + offset, after_hw[free], atol=0.05)
        assert (1 - strength) ** 2 - 1e-3 <= slope <= (1 + strength) ** 2 + 1e-3


@FEW
@given(SEEDS, st.floats(0.2, 3))
def test_a_blur_is_the_gaussian_mean_of_the_valid_surroundings(seed: int, sigma_px: float) -> None:
    image_chw, valid_hw = noise(seed), holes(seed)
    blurred_chw = blur(image_chw, valid_hw, sigma_px)
    # From the definition, pixel by pixel, on the plane continued by its mirror image.
    reach = int(3 * sigma_px + 0.5)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    for row, col in ((0, 0), (3, 4), (7, 2)):
        if not valid_hw[row, col]:
            assert np.array_equal(blurred_chw[:, row, col], image_chw[:, row, col])
            continue
        rows, cols = ((np.arange(at - reach, at + reach + 1) % 16) for at in (row, col))
        rows, cols = (np.where(at < 8, at, 15 - at) for at in (rows, cols))
        weights = np.outer(taps, taps) * valid_hw[np.ix_(rows, cols)]
        for band in range(3):
            expected = (weights * image_chw[band][np.ix_(rows, cols)]).sum() / weights.sum()
            assert abs(blurred_chw[band, row, col] - expected) < 0.02


@FEW
@given(SEEDS, st.floats(0.02, 0.2))
def test_noise_has_the_deviation_asked_for_and_stays_in_range(seed: int, deviation: float) -> None:
    grey_chw = np.full((3, 64, 64), 127.5, np.float32)
    noisy_chw = add_noise(grey_chw, (0, 255), deviation, np.random.default_rng(seed))
    assert noisy_chw.min() >= 0
    assert noisy_chw.max() <= 255
    # 12288 values: a standard error of 0.9 % of mean and of 0.6 % of the deviation.
    assert abs(noisy_chw.mean() - 127.5) < 6 * 0.009 * deviation * 255
    assert abs(noisy_chw.std() / (deviation * 255) - 1) < 0.05


@FEW
@given(SEEDS)
def test_what_lies_under_nodata_changes_no_data(seed: int) -> None:
    everything = Augmentation(flips=False, rotations=False, color_jitter=0.5, noise=0.1, blur_px=2.0)
    valid_hw, changed = holes(seed), []
    for beneath in (np.nan, 0.0, 1e30):
        image_chw = np.where(valid_hw, noise(seed), np.float32(beneath))
        with np.errstate(invalid="ignore", over="ignore"):
            sample = change_values(
                Sample(image_chw, valid_hw, valid_hw.astype(np.uint8), "x"),
                everything,
                (0, 255),
                np.random.default_rng(seed),
            )
        assert np.array_equal(sample.labels_hw, valid_hw)
        changed.append(sample.image_chw[:, valid_hw])
    assert np.isfinite(changed[0]).all()
    assert np.array_equal(changed[0], changed[1])
    assert np.array_equal(changed[0], changed[2])


def test_no_strength_changes_nothing() -> None:
    image_chw, rng = noise(0), np.random.default_rng(0)
    none = Augmentation(flips=True, rotations=True, color_jitter=0)
    assert jitter_color(image_chw, WHOLE, (0, 255), 0, rng) is image_chw
    assert add_noise(image_chw, (0, 255), 0, rng) is image_chw
    assert blur(image_chw, WHOLE, 0) is image_chw
    sample = Sample(image_chw, WHOLE, WHOLE.astype(np.uint8), "x")
    assert change_values(sample, none, (0, 255), rng).image_chw is image_chw


def test_a_crop_without_data_stays_without() -> None:
    image_chw = np.full((3, 8, 8), np.nan, np.float32)
    strong = Augmentation(flips=True, rotations=True, color_jitter=0.9, noise=1, blur_px=9)
    sample = Sample(image_chw, ~WHOLE, WHOLE.astype(np.uint8), "x")
    assert not change_values(sample, strong, (0, 255), np.random.default_rng(0)).valid_hw.any()


def test_half_of_the_crops_stay_clean() -> None:
    noisy = Augmentation(flips=True, rotations=True, color_jitter=0, noise=0.1, blur_px=0)
    sample = Sample(np.full((1, 8, 8), 100, np.float32), WHOLE, WHOLE.astype(np.uint8), "x")
    rng = np.random.default_rng(0)
    deviations = [float(change_values(sample, noisy, (0, 255), rng).image_chw.std()) for _ in range(400)]
    assert abs(np.mean(np.array(deviations) == 0) - 0.5) < 0.08
    assert 20 < max(deviations) < 33
