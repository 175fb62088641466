import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.io.resample import Axis, resample

Image = NDArray[np.float32]
Valid = NDArray[np.bool_]

# Ratios as they come: from degrees and metres, thirds, integers, and a hair off an integer.
scales = st.one_of(
    st.floats(0.25, 6),
    st.integers(1, 24).map(lambda n: n / 4),
    st.integers(1, 18).map(lambda n: n / 3),
    st.sampled_from([1.0, 1 + 1e-6, 2 - 1e-12, 2 + 1e-12, 0.5, 0.2540005]),
)
sizes = st.integers(1, 30)


def noise(height: int, width: int, seed: int, share_valid: float = 1) -> tuple[Image, Valid]:
    generator = np.random.default_rng(seed)
    valid_hw = generator.random((height, width)) < share_valid
    image_chw = generator.normal(100, 50, (2, height, width)).astype(np.float32)
    return np.where(valid_hw, image_chw, np.float32(0)), valid_hw


def sample(image_chw: Image, valid_hw: Valid, axes: tuple[Axis, Axis], window: Window) -> tuple[Image, Valid]:
    """A window of the target, from only the source pixels that it asks for."""
    rows, cols = axes[0].taps(window.row, window.row_stop), axes[1].taps(window.col, window.col_stop)
    index = slice(rows.start, rows.stop), slice(cols.start, cols.stop)
    assert rows.start >= 0
    assert rows.stop <= axes[0].source_size
    return resample(np.ascontiguousarray(image_chw[:, *index]), valid_hw[index], rows, cols)


def whole(axes: tuple[Axis, Axis]) -> Window:
    return Window(0, 0, axes[0].size, axes[1].size)


def weight_matrix(axis: Axis) -> NDArray[np.float64]:
    """Slow oracle: (target, source) weights, from the definitions of area mean and linear interpolation."""
    source = np.arange(axis.source_size)
    matrix = np.zeros((axis.size, axis.source_size))
    for target in range(axis.size):
        if axis.scale >= 1:
            low, high = target * axis.scale, min((target + 1) * axis.scale, axis.source_size)
            matrix[target] = np.clip(np.minimum(high, source + 1) - np.maximum(low, source), 0, None) / (high - low)
        else:
            position = np.clip((target + 0.5) * axis.scale - 0.5, 0, axis.source_size - 1)
            matrix[target] = np.clip(1 - np.abs(source - position), 0, None)
    return matrix


@given(sizes, scales)
def test_a_target_covers_its_source_to_within_half_a_pixel(source_size: int, scale: float) -> None:
    axis = Axis(source_size, scale)
    assert axis.size == 1 or abs(axis.size * scale - source_size) <= scale / 2 * (1 + 1e-9)


@settings(max_examples=80)
@given(sizes, sizes, scales, scales, st.sampled_from([0.0, 0.6, 1.0]), st.data())
def test_a_pixel_never_depends_on_the_window(
    height: int, width: int, scale_y: float, scale_x: float, share_valid: float, data: st.DataObject
) -> None:
    axes = Axis(height, scale_y), Axis(width, scale_x)
    image_chw, valid_hw = noise(height, width, data.draw(st.integers(0, 99)), share_valid)
    full_chw, full_valid_hw = sample(image_chw, valid_hw, axes, whole(axes))
    assert full_chw.shape == (2, axes[0].size, axes[1].size)
    row, col = data.draw(st.integers(0, axes[0].size - 1)), data.draw(st.integers(0, axes[1].size - 1))
    window = Window(
        row,
        col,
        data.draw(st.integers(1, axes[0].size - row)),
        data.draw(st.integers(1, axes[1].size - col)),
    )
    part_chw, part_valid_hw = sample(image_chw, valid_hw, axes, window)
    index = window.slices_in(whole(axes))
    np.testing.assert_array_equal(part_chw, full_chw[:, *index])
    np.testing.assert_array_equal(part_valid_hw, full_valid_hw[index])


@given(sizes, sizes, scales, scales, st.integers(0, 99))
def test_weights_are_those_of_the_definition(
    height: int, width: int, scale_y: float, scale_x: float, seed: int
) -> None:
    axes = Axis(height, scale_y), Axis(width, scale_x)
    image_chw, valid_hw = noise(height, width, seed, 0.6)
    got_chw, got_valid_hw = sample(image_chw, valid_hw, axes, whole(axes))
    rows, cols = weight_matrix(axes[0]), weight_matrix(axes[1])
    weight_hw = rows @ valid_hw @ cols.T
    clear_hw = np.abs(weight_hw - 0.5) > 1e-5
    np.testing.assert_array_equal(got_valid_hw[clear_hw], (weight_hw >= 0.5)[clear_hw])
    for band_hw, source_hw in zip(got_chw, image_chw, strict=True):
        expected_hw = rows @ np.where(valid_hw, source_hw, 0) @ cols.T / np.maximum(weight_hw, 0.1)
        np.testing.assert_allclose(band_hw[got_valid_hw], expected_hw[got_valid_hw], rtol=1e-4, atol=1e-2)
        assert (band_hw[~got_valid_hw] == 0).all()


@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 5), st.integers(0, 99))
def test_an_integer_factor_gives_block_means(rows: int, cols: int, factor: int, seed: int) -> None:
    image_chw, valid_hw = noise(rows * factor, cols * factor, seed)
    axes = Axis(rows * factor, factor), Axis(cols * factor, factor)
    got_chw, got_valid_hw = sample(image_chw, valid_hw, axes, whole(axes))
    expected_chw = image_chw.astype(np.float64).reshape(2, rows, factor, cols, factor).mean(axis=(2, 4))
    np.testing.assert_allclose(got_chw, expected_chw, rtol=1e-5, atol=1e-4)
    assert got_valid_hw.all()


@given(sizes, sizes, st.floats(0.25, 0.999), st.floats(0.25, 0.999), st.integers(0, 99))
def test_finer_is_scipys_linear_interpolation(
    height: int, width: int, scale_y: float, scale_x: float, seed: int
) -> None:
    image_chw, valid_hw = noise(height, width, seed)
    axes = Axis(height, scale_y), Axis(width, scale_x)
    got_chw, _ = sample(image_chw, valid_hw, axes, whole(axes))
    centres = [(np.arange(axis.size) + 0.5) * axis.scale - 0.5 for axis in axes]
    coordinates = np.meshgrid(*centres, indexing="ij")
    for got_hw, source_hw in zip(got_chw, image_chw, strict=True):
        expected_hw = ndimage.map_coordinates(source_hw.astype(np.float64), coordinates, order=1, mode="nearest")
        np.testing.assert_allclose(got_hw, expected_hw, rtol=1e-4, atol=1e-2)


@given(sizes, sizes, st.integers(0, 99))
def test_the_same_pixels_stay_as_they_are(height: int, width: int, seed: int) -> None:
    image_chw, valid_hw = noise(height, width, seed, 0.5)
    axes = Axis(height, 1.0), Axis(width, 1.0)
    got_chw, got_valid_hw = sample(image_chw, valid_hw, axes, whole(axes))
    np.testing.assert_array_equal(got_chw, image_chw)
    np.testing.assert_array_equal(got_valid_hw, valid_hw)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_what_lies_under_nodata_does_not_leak(scale: float) -> None:
    image_chw, valid_hw = noise(12, 12, 0, 0.7)
    axes = Axis(12, scale), Axis(12, scale)
    clean_chw, _ = sample(image_chw, valid_hw, axes, whole(axes))
    dirty_chw, _ = sample(np.where(valid_hw, image_chw, np.float32(np.nan)), valid_hw, axes, whole(axes))
    np.testing.assert_array_equal(dirty_chw, clean_chw)


@given(sizes, scales, st.data())
def test_nearest_holds_the_centre(source_size: int, scale: float, data: st.DataObject) -> None:
    axis = Axis(source_size, scale)
    start = data.draw(st.integers(0, axis.size - 1))
    stop = data.draw(st.integers(start + 1, axis.size))
    for target, source in zip(range(start, stop), axis.nearest(start, stop), strict=True):
        centre = min((target + 0.5) * scale, source_size - 1e-9)
        assert source <= centre < source + 1
