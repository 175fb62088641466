from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.class_reader import ClassReader
from geoseg.io.raster import SceneReader
from geoseg.io.scene import Resolution, SceneOptions, describe_scene

WriteRaster = Callable[..., Path]
Image = NDArray[Any]
Valid = NDArray[np.bool_]

DTYPES = ("uint8", "uint16", "int16", "float32")
RGBA = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
PLACE = Affine(1, 0, 320000, 0, -1, 2770000)

sizes = st.integers(1, 24)


def imagery(dtype: str, count: int = 3) -> Imagery:
    names = ("red", "green", "blue")[:count]
    low, high = (0, 255) if dtype == "uint8" else (-5000, 5000)
    return Imagery(names, dtype, (low, high), (0.0,) * count, (1.0,) * count, 1.0)


def open_scene(path: Path, expected: Imagery, **options: Any) -> SceneReader:  # noqa: ANN401  # SceneOptions checks
    return SceneReader(describe_scene(str(path), expected, SceneOptions(**options)))


def noise(dtype: str, height: int, width: int, seed: int, count: int = 3) -> Image:
    """Few different values, so that nodata values turn up by themselves."""
    return np.random.default_rng(seed).integers(0, 4, (count, height, width)).astype(dtype)


def assert_holds(reader: SceneReader, image_chw: Image, valid_hw: Valid) -> None:
    got_chw, got_valid_hw = reader.read(reader.grid.window)
    assert got_chw.dtype == np.float32
    assert got_valid_hw.dtype == np.bool_
    np.testing.assert_array_equal(got_valid_hw, valid_hw)
    np.testing.assert_array_equal(got_chw, np.where(valid_hw, image_chw, 0).astype(np.float32))


def windows(data: st.DataObject, outer: Window) -> Window:
    row, col = data.draw(st.integers(0, outer.height - 1)), data.draw(st.integers(0, outer.width - 1))
    height = data.draw(st.integers(1, outer.height - row))
    return Window(row, col, height, data.draw(st.integers(1, outer.width - col)))


# Which pixels hold data


@given(st.sampled_from(DTYPES), sizes, sizes, st.integers(0, 99))
def test_without_nodata_all_pixels_hold_data(
    write_raster: WriteRaster, dtype: str, height: int, width: int, seed: int
) -> None:
    image_chw = noise(dtype, height, width, seed)
    reader = open_scene(write_raster(image_chw), imagery(dtype))
    assert_holds(reader, image_chw, np.ones((height, width), np.bool_))


@given(st.sampled_from(["uint8", "uint16", "int16"]), sizes, sizes, st.integers(0, 99))
def test_a_pixel_is_black_nodata_only_if_all_its_bands_are(
    write_raster: WriteRaster, dtype: str, height: int, width: int, seed: int
) -> None:
    image_chw = noise(dtype, height, width, seed) // 2
    reader = open_scene(write_raster(image_chw, nodata=0), imagery(dtype))
    assert reader.ref.mask_rule == "any-band"
    assert_holds(reader, image_chw, (image_chw != 0).any(axis=0))


@given(
    st.sampled_from([*[(dtype, 3.0) for dtype in DTYPES], ("int16", -9.0), ("float32", 0.0)]), st.integers(0, 99)
)
def test_another_nodata_value_is_nodata_in_all_bands_or_of_floats_in_any(
    write_raster: WriteRaster, kind: tuple[str, float], seed: int
) -> None:
    dtype, nodata = kind
    image_chw = noise(dtype, 6, 7, seed)
    image_chw[image_chw == 2] = nodata
    reader = open_scene(write_raster(image_chw, nodata=nodata), imagery(dtype))
    differs_chw = image_chw != nodata
    whole = not dtype.startswith("float")
    assert reader.ref.mask_rule == ("any-band" if whole else "every-band")
    assert_holds(reader, image_chw, differs_chw.any(axis=0) if whole else differs_chw.all(axis=0))


def test_only_the_bands_that_are_read_decide(write_raster: WriteRaster) -> None:
    image_chw = noise("uint8", 8, 8, 0, count=4)
    path = write_raster(image_chw, nodata=3, colorinterp=[ColorInterp.gray, *[ColorInterp.undefined] * 3])
    reader = open_scene(path, imagery("uint8"), bands=(4, 1, 1))
    assert_holds(reader, image_chw[[3, 0, 0]], (image_chw[[0, 3]] != 3).any(axis=0))


def test_a_nodata_value_that_the_type_cannot_hold_hides_nothing(write_raster: WriteRaster, tmp_path: Path) -> None:
    image_chw = noise("uint8", 5, 5, 0)
    path = write_raster(image_chw)
    path.with_name(f"{path.name}.aux.xml").write_text(
        "<PAMDataset>"
        + "".join(f'<PAMRasterBand band="{i}"><NoDataValue>-9999</NoDataValue></PAMRasterBand>' for i in (1, 2, 3))
        + "</PAMDataset>"
    )
    assert_holds(open_scene(path, imagery("uint8")), image_chw, np.ones((5, 5), np.bool_))


@pytest.mark.parametrize("sidecar", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_inside_and_beside_the_file(write_raster: WriteRaster, dtype: str, sidecar: bool) -> None:
    image_chw, mask_hw = noise(dtype, 9, 7, 1), noise("uint8", 9, 7, 2)[0] > 1
    path = write_raster(image_chw, mask_hw=mask_hw, sidecar=sidecar)
    assert path.with_name(f"{path.name}.msk").exists() == sidecar
    reader = open_scene(path, imagery(dtype))
    assert reader.ref.mask_rule == "dataset"
    assert_holds(reader, image_chw, mask_hw)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_alpha_is_a_mask_and_any_of_it_is_data(write_raster: WriteRaster, dtype: str) -> None:
    image_chw = noise(dtype, 9, 7, 1, count=4)
    reader = open_scene(write_raster(image_chw, colorinterp=RGBA), imagery(dtype))
    assert reader.ref.bands == (1, 2, 3)
    assert_holds(reader, image_chw[:3], image_chw[3] > 0)


def test_alpha_serves_one_band_repeated(write_raster: WriteRaster) -> None:
    image_chw = noise("uint8", 4, 4, 3, count=2)
    path = write_raster(image_chw, colorinterp=(ColorInterp.gray, ColorInterp.alpha))
    reader = open_scene(path, imagery("uint8"), bands=(1, 1, 1))
    assert_holds(reader, image_chw[[0, 0, 0]], image_chw[1] > 0)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0])
def test_what_is_not_a_number_is_not_data(write_raster: WriteRaster, nodata: float | None, masked: bool) -> None:
    image_chw = noise("float32", 10, 10, 4)
    hole_chw = np.random.default_rng(5).random(image_chw.shape)
    image_chw[hole_chw < 0.1] = np.nan
    image_chw[hole_chw > 0.9] = np.inf
    expected_hw: Valid = np.asarray(np.isfinite(image_chw).all(axis=0))
    mask_hw = noise("uint8", 10, 10, 6)[0] > 0 if masked else None
    path = write_raster(image_chw, mask_hw=mask_hw, **({} if nodata is None else {"nodata": nodata}))
    reader = open_scene(path, imagery("float32"))
    if mask_hw is not None:
        expected_hw &= mask_hw
    assert_holds(reader, np.where(expected_hw, image_chw, 0), expected_hw)
    np.testing.assert_array_equal(reader.read_valid(reader.grid.window), expected_hw)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_scene_of_nodata_alone_reads_as_such(write_raster: WriteRaster, dtype: str) -> None:
    reader = open_scene(write_raster(np.zeros((3, 5, 6), dtype), nodata=0), imagery(dtype))
    assert_holds(reader, np.zeros((3, 5, 6), dtype), np.zeros((5, 6), np.bool_))
    assert not reader.read_valid(reader.grid.window).any()


def test_no_data_stays_zero_under_a_stretch(write_raster: WriteRaster) -> None:
    image_chw = noise("uint16", 6, 6, 0)
    image_chw[:, :2] = 3
    expected = replace(imagery("uint8"), value_range=(10, 20))
    image_hw, valid_hw = open_scene(write_raster(image_chw, nodata=3), expected, stretch=(0, 2)).read(
        Window(0, 0, 6, 6)
    )
    assert (image_hw[:, ~valid_hw] == 0).all()
    # A single band at the nodata value is a value like others, and stretched like them.
    stretched_chw = np.minimum(10 + 5 * image_chw.astype(np.float64), 20)
    np.testing.assert_allclose(image_hw[:, valid_hw], stretched_chw[:, valid_hw])


# Where pixels lie

ORIENTATIONS = {
    "north-up": PLACE,
    "south-up": PLACE @ Affine.translation(0, 6) @ Affine.scale(1, -1),
    "mirrored": PLACE @ Affine.translation(8, 0) @ Affine.scale(-1, 1),
    "turned by half": PLACE @ Affine.translation(8, 6) @ Affine.scale(-1, -1),
    "rotated": PLACE @ Affine.rotation(30),
    "rotated and mirrored": PLACE @ Affine.rotation(30) @ Affine.scale(1, -1),
    "quarter turn": PLACE @ Affine.rotation(90),
}


@pytest.mark.parametrize("transform", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_every_pixel_stays_at_its_place(write_raster: WriteRaster, transform: Affine) -> None:
    image_chw = np.arange(144, dtype=np.uint8).reshape(3, 6, 8)
    image_chw[:, 1, 2] = 200
    reader = open_scene(
        write_raster(image_chw, transform=transform, nodata=200), imagery("uint8"), rotated="own-pixels"
    )
    got_chw, valid_hw = reader.read(reader.grid.window)
    for row in range(reader.grid.height):
        for col in range(reader.grid.width):
            x, y = reader.grid.transform @ (col + 0.5, row + 0.5)
            file_col, file_row = (int(np.floor(value)) for value in ~transform @ (x, y))
            assert valid_hw[row, col] == ((file_row, file_col) != (1, 2))
            assert not valid_hw[row, col] or (got_chw[:, row, col] == image_chw[:, file_row, file_col]).all()
    assert reader.grid.transform.determinant < 0


@pytest.mark.parametrize("name", ["south-up", "mirrored", "turned by half"])
@pytest.mark.parametrize("resolution", ["native", 0.7, 1.9])
@pytest.mark.parametrize("masked", [False, True])
def test_a_turned_file_is_its_north_up_twin(
    write_raster: WriteRaster, name: str, resolution: Resolution, masked: bool
) -> None:
    image_chw, mask_hw = noise("uint8", 6, 8, 0) * 50, noise("uint8", 6, 8, 1)[0] > 0
    transform = ORIENTATIONS[name]
    steps = slice(None, None, -1 if transform.e > 0 else 1), slice(None, None, -1 if transform.a < 0 else 1)
    options = {"mask_hw": mask_hw} if masked else {"nodata": 0}
    turned_options = {"mask_hw": mask_hw[steps]} if masked else {"nodata": 0}
    twin = open_scene(write_raster(image_chw, **options), imagery("uint8"), resolution=resolution)
    turned_path = write_raster(image_chw[:, *steps], transform=transform, **turned_options)
    turned = open_scene(turned_path, imagery("uint8"), resolution=resolution)
    assert turned.grid == twin.grid
    image_chw, valid_hw = twin.read(twin.grid.window)
    part = Window(1, 0, 2, 3)
    for window in (twin.grid.window, part):
        index = window.slices_in(twin.grid.window)
        np.testing.assert_array_equal(turned.read(window)[0], image_chw[:, *index])
        np.testing.assert_array_equal(turned.read(window)[1], valid_hw[index])
        np.testing.assert_array_equal(turned.read_valid(window), valid_hw[index])


# Windows


@settings(max_examples=60)
@given(
    st.sampled_from(["uint8", "int16", "float32"]),
    st.tuples(sizes, sizes),
    st.one_of(st.just("native"), st.floats(0.3, 5)),
    st.sampled_from(["none", "nodata", "mask", "alpha"]),
    st.sampled_from([PLACE, ORIENTATIONS["south-up"], Affine(0.8, 0, 320000, 0, -1.3, 2770000)]),
    st.data(),
)
def test_what_a_tile_sees_never_depends_on_the_window_read(
    write_raster: WriteRaster,
    dtype: str,
    shape: tuple[int, int],
    resolution: Resolution,
    kind: str,
    transform: Affine,
    data: st.DataObject,
) -> None:
    image_chw = noise(dtype, *shape, seed=data.draw(st.integers(0, 99)), count=4)
    image_chw = image_chw if dtype == "uint8" else (image_chw * 300).astype(dtype)
    mask_hw = image_chw[3] > 0
    match kind:
        case "none":
            path = write_raster(image_chw[:3], transform=transform)
        case "nodata":
            path = write_raster(image_chw[:3], transform=transform, nodata=0)
        case "mask":
            path = write_raster(image_chw[:3], transform=transform, mask_hw=mask_hw)
        case _:
            path = write_raster(image_chw, transform=transform, colorinterp=RGBA)
    reader = open_scene(path, imagery(dtype), resolution=resolution)
    whole_chw, whole_valid_hw = reader.read(reader.grid.window)
    assert whole_chw.shape == (3, reader.grid.height, reader.grid.width)
    window = windows(data, reader.grid.window)
    index = window.slices_in(reader.grid.window)
    part_chw, part_valid_hw = reader.read(window)
    np.testing.assert_array_equal(part_chw, whole_chw[:, *index])
    np.testing.assert_array_equal(part_valid_hw, whole_valid_hw[index])
    np.testing.assert_array_equal(reader.read_valid(window), whole_valid_hw[index])
    assert (whole_chw[:, ~whole_valid_hw] == 0).all()


@pytest.mark.parametrize("factor", [2, 3])
def test_a_coarser_grid_holds_block_means(write_raster: WriteRaster, factor: int) -> None:
    image_chw = np.random.default_rng(0).integers(0, 256, (3, 4 * factor, 5 * factor), dtype=np.uint8)
    # A file whose pixels are exactly 1/factor m on the ground along its own rows and columns.
    path = write_raster(image_chw, transform=Affine(1 / factor, 0, 320000, 0, -1 / factor, 2770000))
    native = describe_scene(str(path), imagery("uint8"), SceneOptions(resolution="native")).native_resolution_m
    expected = replace(imagery("uint8"), ground_resolution_m=factor * native[0])
    reader = open_scene(path, expected)
    assert reader.ref.scale_yx == pytest.approx((factor, factor), rel=1e-6)
    means_chw = image_chw.reshape(3, 4, factor, 5, factor).mean(axis=(2, 4))
    np.testing.assert_allclose(reader.read(reader.grid.window)[0], means_chw, atol=1e-2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 2)])
@pytest.mark.parametrize("resolution", ["model", 0.26, 3.3, 40.0])
def test_tiny_scenes_and_slivers_read(
    write_raster: WriteRaster, shape: tuple[int, int], resolution: Resolution
) -> None:
    image_chw = np.full((3, *shape), 7, np.uint8)
    reader = open_scene(write_raster(image_chw), imagery("uint8"), resolution=resolution)
    got_chw, valid_hw = reader.read(reader.grid.window)
    np.testing.assert_allclose(got_chw, 7, rtol=1e-6)
    assert valid_hw.all()


def test_a_thumbnail_is_the_whole_scene_small(write_raster: WriteRaster) -> None:
    image_chw = np.zeros((3, 40, 100), np.uint8)
    image_chw[0, :20], image_chw[1, 20:] = 200, 100
    reader = open_scene(write_raster(image_chw, transform=ORIENTATIONS["south-up"]), imagery("uint8"))
    small_chw, valid_hw = reader.thumbnail(50)
    assert small_chw.shape == (3, 20, 50)
    assert valid_hw.all()
    assert (small_chw[1, :10] == 100).all()
    assert (small_chw[0, 10:] == 200).all()
    assert reader.thumbnail(1000)[1].shape == (40, 100)


def test_a_value_that_the_model_does_not_know_stops_the_read(write_raster: WriteRaster) -> None:
    path = write_raster(noise("int16", 4, 4, 0))
    ref = describe_scene(str(path), imagery("int16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.write(np.full((1, 1), 6000, np.int16), 2, window=((3, 4), (3, 4)))
    reader = SceneReader(ref)
    reader.read(Window(0, 0, 3, 4))
    with pytest.raises(
        SceneError, match=r"holds values from 0 to 6000, the model expects -5000 to 5000: .*--stretch"
    ):
        reader.read(reader.grid.window)


def test_a_file_cut_short_is_named_where_it_breaks(write_raster: WriteRaster) -> None:
    image_chw = np.random.default_rng(0).integers(1, 256, (3, 200, 200), dtype=np.uint8)
    path = write_raster(image_chw)
    path.write_bytes(path.read_bytes()[:60000])
    reader = open_scene(path, imagery("uint8"))
    with pytest.raises(SceneError, match=r"cannot be read in rows 100 to 200, columns 0 to 200: .*cut short"):
        reader.read(Window(100, 0, 100, 200))


def test_a_thumbnail_of_a_damaged_file_shows_what_is_left(write_raster: WriteRaster) -> None:
    image_chw = np.random.default_rng(0).integers(1, 256, (3, 200, 200), dtype=np.uint8)
    for transform in (PLACE, ORIENTATIONS["south-up"]):
        path = write_raster(image_chw, transform=transform)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        small_chw, valid_hw = open_scene(path, imagery("uint8")).thumbnail(100)
        assert valid_hw.mean() == pytest.approx(0.5, abs=0.05)
        lost_hw = valid_hw[:40] if transform.e > 0 else valid_hw[60:]
        assert not lost_hw.any()
        assert (small_chw[:, valid_hw] > 0).all()
        path.write_bytes(content[:700])
        with pytest.raises(SceneError, match="cut short or damaged"):
            open_scene(path, imagery("uint8")).thumbnail(100)


def test_a_mask_cut_short_is_named_where_it_breaks(write_raster: WriteRaster) -> None:
    image_chw = np.ones((3, 800, 800), np.uint8)
    mask_hw = np.random.default_rng(1).random((800, 800)) < 0.5
    path = write_raster(image_chw, mask_hw=mask_hw, sidecar=True)
    mask = path.with_name(f"{path.name}.msk")
    mask.write_bytes(mask.read_bytes()[:40000])
    reader = open_scene(path, imagery("uint8"))
    assert reader.ref.mask_rule == "dataset"
    with pytest.raises(SceneError, match=r"cannot be read in rows 700 to 800, columns 0 to 800: .*cut short"):
        reader.read_valid(Window(700, 0, 100, 800))
    with pytest.raises(SceneError, match=r"cannot be read in rows 700 to 800"):
        reader.read(Window(700, 0, 100, 800))


# Labels


@settings(max_examples=40)
@given(
    sizes,
    sizes,
    st.one_of(st.just("native"), st.floats(0.3, 5)),
    st.sampled_from(["north-up", "south-up", "mirrored"]),
    st.data(),
)
def test_labels_are_the_nearest_ones_on_the_scenes_grid(
    write_raster: WriteRaster, height: int, width: int, resolution: Resolution, name: str, data: st.DataObject
) -> None:
    ids_hw = np.random.default_rng(data.draw(st.integers(0, 9))).integers(0, 6, (height, width), dtype=np.uint8)
    transform = ORIENTATIONS[name]
    image = write_raster(np.ones((3, height, width), np.uint8), transform=transform)
    ref = describe_scene(str(image), imagery("uint8"), SceneOptions(resolution=resolution))
    reader = ClassReader(str(write_raster(ids_hw[None], transform=transform, nodata=5)), ref)
    whole_hw = reader.read(ref.grid.window)
    assert whole_hw.shape == ref.grid.window.shape
    for row in range(ref.grid.height):
        for col in range(ref.grid.width):
            at = ~transform @ (ref.grid.transform @ (col + 0.5, row + 0.5))
            if any(abs(value - round(value)) < 1e-6 for value in at):
                continue  # on the edge between two pixels: either is nearest
            file_col, file_row = min(int(at[0]), width - 1), min(int(at[1]), height - 1)
            if transform.a < 0:
                file_col = max(int(np.floor(at[0])), 0)
            if transform.e > 0:
                file_row = max(int(np.floor(at[1])), 0)
            expected = int(ids_hw[file_row, file_col])
            assert whole_hw[row, col] == (-1 if expected == 5 else expected)
    window = windows(data, ref.grid.window)
    np.testing.assert_array_equal(reader.read(window), whole_hw[window.slices_in(ref.grid.window)])


def test_labels_elsewhere_or_of_another_kind_are_refused(write_raster: WriteRaster) -> None:
    ref = describe_scene(str(write_raster(np.ones((3, 6, 8), np.uint8))), imagery("uint8"))

    def refused(image_chw: Image, **options: Any) -> str:  # noqa: ANN401  # rasterio's own
        with pytest.raises(SceneError, match="labels must") as caught:
            ClassReader(str(write_raster(image_chw, **options)), ref)
        return str(caught.value)

    assert "has 6 x 9 px, " in refused(np.zeros((1, 6, 9), np.uint8))
    assert "2 band(s) of uint8" in refused(np.zeros((2, 6, 8), np.uint8))
    assert "1 band(s) of float32" in refused(np.zeros((1, 6, 8), np.float32))
    ids_chw = np.zeros((1, 6, 8), np.uint8)
    assert "lies 2.0 px away" in refused(ids_chw, transform=PLACE @ Affine.translation(2, 0))
    assert "px away" in refused(ids_chw, transform=ORIENTATIONS["south-up"])
    assert "px away" in refused(ids_chw, transform=PLACE @ Affine.scale(1.5))
    ClassReader(str(write_raster(ids_chw, transform=PLACE @ Affine.translation(0.3, 0.3))), ref)


def test_labels_cut_short_are_named_where_they_break(write_raster: WriteRaster) -> None:
    ref = describe_scene(str(write_raster(np.ones((3, 200, 200), np.uint8))), imagery("uint8"))
    path = write_raster(np.random.default_rng(0).integers(0, 6, (1, 200, 200), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:20000])
    with pytest.raises(SceneError, match=r"scene.tif cannot be read in rows 150 to 200"):
        ClassReader(str(path), ref).read(Window(150, 0, 50, 200))
