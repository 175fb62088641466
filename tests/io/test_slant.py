"""Slanted scenes on a north-up grid, against scipy's per-pixel interpolation and against themselves."""

import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.class_reader import ClassReader
from geoseg.io.raster import SceneReader
from geoseg.io.scene import Resolution, SceneOptions, describe_scene
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import is_slanted, north_up

WriteRaster = Callable[..., Path]
PLACE = Affine.translation(320000, 2770000)

angles = st.one_of(st.floats(-180, 180), st.sampled_from([30.0, 45.0, 90.0, -90.0, 179.0, 0.5]))
shears = st.floats(-40, 40)
sizes = st.integers(1, 24)


@st.composite
def slanted(draw: st.DrawFn) -> Affine:
    """Any rotation, shear and mirroring, with pixels of about 1 m."""
    turn = Affine.rotation(draw(angles)) @ Affine.shear(draw(shears), 0)
    mirror = Affine.scale(draw(st.floats(0.8, 1.25)), draw(st.sampled_from([1.0, -1.0])))
    return PLACE @ turn @ mirror


def noise(height: int, width: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (3, height, width), dtype=np.uint8)


def described(path: Path, imagery: Imagery, resolution: Resolution = "native") -> SceneRef:
    return describe_scene(str(path), imagery, SceneOptions(resolution=resolution))


def places(ref: SceneRef, transform: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slow oracle: (row, column) in the file of each pixel's centre, counted from the file's corner."""
    shape = ref.grid.window.shape
    rows_hw, cols_hw = np.empty(shape), np.empty(shape)
    for row, col in np.ndindex(shape):
        x, y = ref.grid.transform @ (col + 0.5, row + 0.5)
        cols_hw[row, col], rows_hw[row, col] = ~transform @ (x, y)
    return rows_hw, cols_hw


def clearly(
    rows_hw: NDArray[np.float64], cols_hw: NDArray[np.float64], shape: tuple[int, int], margin: float = 1e-4
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which places lie in a file of that shape, and which do not, leaving out those on its edge."""

    def within(margin: float) -> NDArray[np.bool_]:
        rows_in = (rows_hw > margin) & (rows_hw < shape[0] - margin)
        return np.asarray(rows_in & (cols_hw > margin) & (cols_hw < shape[1] - margin))

    return within(margin), ~within(-margin)


@given(slanted(), sizes, sizes, st.one_of(st.none(), st.floats(0.3, 4)))
def test_the_grid_is_the_smallest_north_up_one_that_holds_the_scene(
    transform: Affine, height: int, width: int, resolution: float | None
) -> None:
    source = Grid("EPSG:32640", transform, height, width)
    grid = north_up(source, resolution)
    t = grid.transform
    assert (t.b, t.d) == (0, 0)
    assert t.a > 0 > t.e
    corners = np.array([~t @ (transform @ corner) for corner in ((0, 0), (width, 0), (0, height), (width, height))])
    np.testing.assert_allclose(corners.min(axis=0), 0, atol=1e-5)
    over = np.array([grid.width, grid.height]) - corners.max(axis=0)
    assert (over > -1e-5).all()
    assert (over < 1 + 1e-5).all()
    if resolution is None:
        assert -t.a * t.e == pytest.approx(abs(transform.determinant))
    else:
        assert grid.ground_resolution_m() == pytest.approx((resolution, resolution), rel=1e-3)


def test_pixels_are_square_on_the_ground_in_degrees_too() -> None:
    degree = 1 / 111412
    turned = Affine.translation(25, 60) @ Affine.rotation(20) @ Affine.scale(degree, -degree)
    height_m, width_m = north_up(Grid("EPSG:4326", turned, 50, 60), None).ground_resolution_m()
    assert height_m == pytest.approx(width_m, rel=1e-3)


def test_what_displaces_no_pixel_is_no_slant(write_raster: WriteRaster, rgb: Imagery) -> None:
    t = Affine(1, 1e-9, 320000, -1e-9, -1, 2770000)
    assert not is_slanted(t, 1000, 1000)
    assert is_slanted(Affine(1, 1e-3, 0, 0, -1, 0), 1000, 1000)
    assert is_slanted(Affine(0, 1, 0, 1, 0, 0), 10, 10)
    ref = described(write_raster(noise(6, 8, 0), transform=t), rgb)
    assert ref.warp is None
    assert ref.grid.transform == Affine(1, 0, 320000, 0, -1, 2770000)
    assert not ref.notes


@given(slanted(), sizes, sizes, st.integers(0, 99))
def test_own_resolution_is_scipys_linear_interpolation(
    write_raster: WriteRaster, rgb: Imagery, transform: Affine, height: int, width: int, seed: int
) -> None:
    image_chw = noise(height, width, seed)
    if not is_slanted(transform, height, width):
        return
    ref = described(write_raster(image_chw, transform=transform), rgb)
    got_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    rows_hw, cols_hw = places(ref, transform)
    inside_hw, outside_hw = clearly(rows_hw, cols_hw, (height, width))
    assert valid_hw[inside_hw].all()
    assert not valid_hw[outside_hw].any()
    assert (got_chw[:, ~valid_hw] == 0).all()
    for got_hw, band_hw in zip(got_chw, image_chw, strict=True):
        expected_hw = ndimage.map_coordinates(
            band_hw.astype(np.float64), [rows_hw - 0.5, cols_hw - 0.5], order=1, mode="nearest"
        )
        np.testing.assert_allclose(got_hw[inside_hw], expected_hw[inside_hw], atol=0.02)


@given(slanted(), sizes, sizes, st.integers(0, 99))
def test_a_pixel_holds_data_if_half_of_its_weight_does(
    write_raster: WriteRaster, rgb: Imagery, transform: Affine, height: int, width: int, seed: int
) -> None:
    if not is_slanted(transform, height, width):
        return
    image_chw, mask_hw = noise(height, width, seed), noise(height, width, seed + 1)[0] > 120
    ref = described(write_raster(image_chw, transform=transform, mask_hw=mask_hw), rgb)
    reader = SceneReader(ref)
    got_chw, valid_hw = reader.read(ref.grid.window)
    np.testing.assert_array_equal(reader.read_valid(ref.grid.window), valid_hw)
    rows_hw, cols_hw = places(ref, transform)
    at = [rows_hw - 0.5, cols_hw - 0.5]
    weight_hw = ndimage.map_coordinates(mask_hw.astype(np.float64), at, order=1, mode="nearest")
    inside_hw, _ = clearly(rows_hw, cols_hw, (height, width))
    sure_hw = inside_hw & (np.abs(weight_hw - 0.5) > 1e-3)
    np.testing.assert_array_equal(valid_hw[sure_hw], weight_hw[sure_hw] > 0.5)
    both_hw = sure_hw & valid_hw
    sums_hw = ndimage.map_coordinates(
        np.where(mask_hw, image_chw[1], 0).astype(np.float64), at, order=1, mode="nearest"
    )
    np.testing.assert_allclose(got_chw[1][both_hw], sums_hw[both_hw] / weight_hw[both_hw], atol=0.05)


@settings(max_examples=60)
@given(
    slanted(),
    sizes,
    sizes,
    st.one_of(st.just("native"), st.floats(0.4, 5)),
    st.sampled_from(["none", "nodata", "mask", "float"]),
    st.data(),
)
def test_any_window_is_a_crop_of_the_whole(
    write_raster: WriteRaster,
    rgb: Imagery,
    transform: Affine,
    height: int,
    width: int,
    resolution: Resolution,
    kind: str,
    data: st.DataObject,
) -> None:
    image_chw = noise(height, width, data.draw(st.integers(0, 99)))
    options: dict[str, object] = {"transform": transform}
    if kind == "nodata":
        image_chw //= 100
        options["nodata"] = 0
    elif kind == "mask":
        options["mask_hw"] = image_chw[0] > 90
    values_chw = image_chw.astype(np.float32) if kind == "float" else image_chw
    if kind == "float":
        values_chw[:, image_chw[0] < 60] = np.nan
    path = write_raster(values_chw, **options)
    stretch = (0.0, 255.0) if kind == "float" else None
    ref = describe_scene(str(path), rgb, SceneOptions(resolution=resolution, stretch=stretch))
    reader = SceneReader(ref)
    whole_chw, whole_valid_hw = reader.read(ref.grid.window)
    row, col = data.draw(st.integers(0, ref.grid.height - 1)), data.draw(st.integers(0, ref.grid.width - 1))
    window = Window(
        row,
        col,
        data.draw(st.integers(1, ref.grid.height - row)),
        data.draw(st.integers(1, ref.grid.width - col)),
    )
    index = window.slices_in(ref.grid.window)
    part_chw, part_valid_hw = reader.read(window)
    np.testing.assert_array_equal(part_chw, whole_chw[:, *index])
    np.testing.assert_array_equal(part_valid_hw, whole_valid_hw[index])
    np.testing.assert_array_equal(reader.read_valid(window), whole_valid_hw[index])


@pytest.mark.parametrize("degrees", [90, 180.0001, 270])
def test_a_quarter_turn_keeps_every_value(write_raster: WriteRaster, rgb: Imagery, degrees: float) -> None:
    image_chw = noise(7, 9, 0)
    turn = PLACE @ Affine.rotation(90 * round(degrees / 90)) @ Affine.scale(1, -1)
    ref = described(write_raster(image_chw, transform=turn), rgb)
    got_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    assert valid_hw.all()
    for quarters in range(4):
        turned_chw = np.rot90(image_chw, quarters, axes=(1, 2))
        if turned_chw.shape == got_chw.shape and np.array_equal(turned_chw, got_chw):
            return
    pytest.fail("no quarter turn of the file")


@given(st.floats(0, 90), st.floats(1.5, 8), st.integers(0, 9))
def test_a_coarser_grid_means_before_it_samples(
    write_raster: WriteRaster, rgb: Imagery, degrees: float, factor: float, seed: int
) -> None:
    """Fine noise is averaged away: the mean of about n pixels spreads 1 / sqrt(n) as far."""
    image_chw = noise(80, 80, seed)
    ref = described(write_raster(image_chw, transform=PLACE @ Affine.rotation(degrees + 1)), rgb, factor)
    assert ref.warp is not None
    got_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    assert got_chw[:, valid_hw].mean() == pytest.approx(image_chw.mean(), abs=6)
    assert got_chw[:, valid_hw].std() < 1.3 * image_chw.std() / factor


def test_parts_of_a_large_read_are_the_whole(write_raster: WriteRaster, rgb: Imagery) -> None:
    """A grid 40 times coarser than its file asks for more than one read may hold, and gets block means."""
    values_hw = np.random.default_rng(0).integers(0, 256, (50, 60), dtype=np.uint8)
    image_chw = np.repeat(values_hw.repeat(40, axis=0).repeat(40, axis=1)[None], 3, axis=0)
    path = write_raster(image_chw, transform=Affine(0.1, 0, 320000, 0, -0.1, 2770000), tiled=True)
    native = described(path, rgb).native_resolution_m
    ref = described(path, rgb, 40 * native[0])
    got_chw, _ = SceneReader(ref).read(ref.grid.window)
    np.testing.assert_allclose(got_chw[1], values_hw, atol=0.3)  # the two axes differ in the seventh digit
    assert SceneReader(ref).read_valid(ref.grid.window).all()


@given(slanted(), sizes, sizes, st.one_of(st.just("native"), st.floats(0.4, 5)), st.data())
def test_labels_are_scipys_nearest(
    write_raster: WriteRaster,
    rgb: Imagery,
    transform: Affine,
    height: int,
    width: int,
    resolution: Resolution,
    data: st.DataObject,
) -> None:
    if not is_slanted(transform, height, width):
        return
    ids_hw = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 6, (height, width), dtype=np.uint8)
    ref = described(write_raster(noise(height, width, 0), transform=transform), rgb, resolution)
    reader = ClassReader(str(write_raster(ids_hw[None], transform=transform, nodata=5)), ref)
    whole_hw = reader.read(ref.grid.window)
    rows_hw, cols_hw = places(ref, transform)
    inside_hw, outside_hw = clearly(rows_hw, cols_hw, (height, width))
    # A centre on the line between two pixels may go to either.
    apart_hw = (np.abs(rows_hw - np.rint(rows_hw)) > 1e-4) & (np.abs(cols_hw - np.rint(cols_hw)) > 1e-4)
    expected_hw = ndimage.map_coordinates(
        np.where(ids_hw == 5, -1, ids_hw.astype(np.int32)), [rows_hw - 0.5, cols_hw - 0.5], order=0, mode="nearest"
    )
    sure_hw = inside_hw & apart_hw
    np.testing.assert_array_equal(whole_hw[sure_hw], expected_hw[sure_hw])
    assert (whole_hw[outside_hw] == -1).all()
    row, col = data.draw(st.integers(0, ref.grid.height - 1)), data.draw(st.integers(0, ref.grid.width - 1))
    window = Window(row, col, ref.grid.height - row, ref.grid.width - col)
    np.testing.assert_array_equal(reader.read(window), whole_hw[window.slices_in(ref.grid.window)])


def test_training_reads_slanted_scenes_on_their_own_pixels(write_raster: WriteRaster, rgb: Imagery) -> None:
    transform = PLACE @ Affine.rotation(30) @ Affine.scale(1, -1)
    image_chw = noise(6, 8, 0)
    path = write_raster(image_chw, transform=transform)
    own = describe_scene(str(path), rgb, SceneOptions(rotated="own-pixels"))
    assert own.grid == Grid("EPSG:32640", transform, 6, 8)
    np.testing.assert_array_equal(SceneReader(own).read(own.grid.window)[0], image_chw)
    assert not own.notes
    north = describe_scene(str(path), rgb)
    assert north.grid.transform.b == 0
    assert "30 degrees off" in north.notes[0]


def test_a_slanted_scene_travels_by_its_address(write_raster: WriteRaster, rgb: Imagery) -> None:
    ref = described(write_raster(noise(60, 80, 0), transform=PLACE @ Affine.rotation(30)), rgb)
    sent = pickle.dumps(ref)
    assert pickle.loads(sent) == ref  # noqa: S301  # our own bytes
    assert len(sent) < 3000
    assert len(ref.to_json()["warp"]) == 6


def test_a_thumbnail_of_a_slanted_scene_is_north_up(write_raster: WriteRaster, rgb: Imagery) -> None:
    image_chw = np.zeros((3, 60, 90), np.uint8)
    image_chw[0, :30], image_chw[1, 30:] = 200, 100
    ref = described(write_raster(image_chw, transform=PLACE @ Affine.rotation(30) @ Affine.scale(1, -1)), rgb)
    reader = SceneReader(ref)
    small_chw, small_valid_hw = reader.thumbnail(40)
    assert max(small_valid_hw.shape) == 40
    assert small_valid_hw.shape[0] / small_valid_hw.shape[1] == pytest.approx(
        ref.grid.height / ref.grid.width, rel=0.05
    )
    large_chw, valid_hw = reader.read(ref.grid.window)
    assert small_valid_hw.mean() == pytest.approx(valid_hw.mean(), abs=0.05)
    rows = (np.arange(small_valid_hw.shape[0]) + 0.5) * ref.grid.height / small_valid_hw.shape[0]
    cols = (np.arange(40) + 0.5) * ref.grid.width / 40
    near_chw = large_chw[:, rows.astype(int)][:, :, cols.astype(int)]
    assert np.median(np.abs(near_chw - small_chw)) == 0
    assert np.abs(near_chw - small_chw).mean() < 12


def test_a_slanted_scene_is_still_refused_when_it_is_too_coarse(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(noise(4, 4, 0), transform=PLACE @ Affine.rotation(30) @ Affine.scale(10))
    with pytest.raises(SceneError, match="10 m, too coarse for 1 m"):
        describe_scene(str(path), rgb)
    assert math.isclose(described(path, rgb).grid.ground_resolution_m()[0], 10, rel_tol=1e-3)
