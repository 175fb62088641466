import math
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.raster import SceneReader
from geoseg.io.scene import KEEP_RATIO, UPSAMPLE_LIMIT, PercentStretch, Resolution, SceneOptions, describe_scene
from geoseg.io.scene_ref import SceneRef

WriteRaster = Callable[..., Path]

RED, GREEN, BLUE, ALPHA = ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha
GREY, UNDEFINED = ColorInterp.gray, ColorInterp.undefined

WEST, NORTH = 320000.0, 2770000.0


def describe(path: Path, imagery: Imagery, **options: Any) -> SceneRef:  # noqa: ANN401  # SceneOptions checks them
    return describe_scene(str(path), imagery, SceneOptions(**options))


def bands(count: int, height: int = 2, width: int = 3, dtype: str = "uint8") -> np.ndarray[Any, Any]:
    """Band k is filled with 10 k."""
    return np.repeat(10 * np.arange(1, count + 1, dtype=dtype), height * width).reshape(count, height, width)


# Bands


@pytest.mark.parametrize(
    ("colors", "asked", "expected", "rule"),
    [
        ((RED, GREEN, BLUE), None, (1, 2, 3), "by colour interpretation"),
        ((BLUE, GREEN, RED), None, (3, 2, 1), "by colour interpretation"),
        ((GREY, BLUE, GREEN, RED), None, (4, 3, 2), "by colour interpretation"),
        ((ALPHA, RED, GREEN, BLUE), None, (2, 3, 4), "by colour interpretation"),
        ((RED, RED, GREEN, BLUE), None, (1, 3, 4), "by colour interpretation"),
        ((GREY, UNDEFINED, UNDEFINED, UNDEFINED), None, (1, 2, 3), "by order"),
        ((UNDEFINED, ALPHA, UNDEFINED, UNDEFINED), None, (1, 3, 4), "by order"),
        ((RED, GREEN, BLUE), (3, 1, 1), (3, 1, 1), "as asked"),
        ((GREY,), (1, 1, 1), (1, 1, 1), "as asked"),
    ],
)
def test_bands_are_chosen_by_colour_then_by_order_unless_asked(
    write_raster: WriteRaster,
    rgb: Imagery,
    colors: tuple[ColorInterp, ...],
    asked: tuple[int, ...] | None,
    expected: tuple[int, ...],
    rule: str,
) -> None:
    ref = describe(write_raster(bands(len(colors)), colorinterp=colors), rgb, bands=asked)
    assert (ref.bands, ref.band_rule) == (expected, rule)
    image_chw, _ = SceneReader(ref).read(ref.grid.window)
    assert image_chw[:, 0, 0].tolist() == [10 * band for band in expected]


@pytest.mark.parametrize(
    ("count", "asked", "message"),
    [
        (1, None, r"expects 3 bands \(red, green, blue\), .* has 1: .* --bands 1,1,1"),
        (3, (1, 2), "expects 3 bands .* --bands names 2"),
        (3, (1, 2, 4), "--bands names band 4, .* has bands 1 to 3"),
        (3, (0, 1, 2), "--bands names band 0"),
    ],
)
def test_bands_that_are_not_there_are_refused(
    write_raster: WriteRaster, rgb: Imagery, count: int, asked: tuple[int, ...] | None, message: str
) -> None:
    with pytest.raises(SceneError, match=message):
        describe(write_raster(bands(count)), rgb, bands=asked)


def test_an_alpha_band_is_no_third_band(write_raster: WriteRaster, rgb: Imagery) -> None:
    with pytest.raises(SceneError, match="has 2: "):
        describe(write_raster(bands(3), colorinterp=(GREY, UNDEFINED, ALPHA)), rgb)


@pytest.mark.parametrize("asked", [None, (1, 1, 1)])
def test_palettes_are_refused(write_raster: WriteRaster, rgb: Imagery, asked: tuple[int, ...] | None) -> None:
    path = write_raster(bands(1), photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {10: (255, 0, 0, 255)})
    with pytest.raises(SceneError, match=r"palette indices, .* gdal_translate -expand rgb"):
        describe(path, rgb, bands=asked)


# Ground resolution


@given(st.floats(0.05, 8), st.floats(0.05, 8), st.integers(1, 20), st.integers(1, 20))
def test_the_models_resolution_is_taken_unless_the_scenes_is_near(
    write_raster: WriteRaster, rgb: Imagery, pixel_y: float, pixel_x: float, height: int, width: int
) -> None:
    transform = Affine(pixel_x, 0, WEST, 0, -pixel_y, NORTH)
    path = write_raster(bands(3, height, width), transform=transform)
    native_yx = Grid("EPSG:32640", transform, height, width).ground_resolution_m()
    if max(native_yx) > UPSAMPLE_LIMIT * rgb.ground_resolution_m:
        with pytest.raises(SceneError, match=r"too coarse for 1 m .*--resolution native"):
            describe(path, rgb)
        return
    ref = describe(path, rgb)
    assert ref.native_resolution_m == native_yx
    if all(1 / KEEP_RATIO <= native <= KEEP_RATIO for native in native_yx):
        assert ref.scale_yx == (1.0, 1.0)
        assert ref.grid.transform == transform
        assert ref.grid.window.shape == (height, width)
    else:
        assert ref.grid.ground_resolution_m() == pytest.approx((1, 1), rel=1e-3)
        assert ref.scale_yx == pytest.approx(tuple(1 / native for native in native_yx))
    assert tuple(ref.grid.transform @ (0, 0)) == (float(WEST), float(NORTH))
    covered = ref.grid.height * ref.scale_yx[0], ref.grid.width * ref.scale_yx[1]
    assert abs(covered[0] - height) <= ref.scale_yx[0]
    assert abs(covered[1] - width) <= ref.scale_yx[1]


@pytest.mark.parametrize("resolution", ["native", "finest"])
def test_own_pixels_are_kept_when_asked(write_raster: WriteRaster, rgb: Imagery, resolution: Resolution) -> None:
    transform = Affine(30, 0, WEST, 0, -30, NORTH)
    ref = describe(write_raster(bands(3), transform=transform), rgb, resolution=resolution)
    assert ref.scale_yx == (1.0, 1.0)
    assert ref.grid.transform == transform


def test_metres_are_metres(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(bands(3, 40, 40))
    for metres in (0.3, 2.5, 7.0):
        grid = describe(path, rgb, resolution=metres).grid
        assert grid.ground_resolution_m() == pytest.approx((metres, metres), rel=1e-3)
    with pytest.raises(SceneError, match=r"1 m, too coarse for 0.2 m"):
        describe(path, rgb, resolution=0.2)


def test_a_scene_too_coarse_is_refused_with_both_resolutions_and_the_way_out(
    write_raster: WriteRaster, rgb: Imagery
) -> None:
    path = write_raster(bands(3), transform=Affine(10, 0, WEST, 0, -10, NORTH))
    with pytest.raises(SceneError, match=r"10 m, too coarse for 1 m .* --resolution native"):
        describe(path, rgb)


def test_degrees_mercator_and_feet_are_laid_on_the_ground(write_raster: WriteRaster, rgb: Imagery) -> None:
    # At latitude 60 web mercator doubles lengths, and a degree of longitude is half of one of latitude.
    mercator = write_raster(bands(3), crs="EPSG:3857", transform=Affine(2, 0, 2.8e6, 0, -2, 8399737.9))
    assert describe(mercator, rgb).native_resolution_m == pytest.approx((1, 1), rel=0.01)
    assert describe(mercator, rgb).scale_yx == (1.0, 1.0)
    metre = 1 / 111412  # degrees of latitude
    degrees = write_raster(bands(3, 4, 8), crs="EPSG:4326", transform=Affine(metre, 0, 25, 0, -metre, 60))
    ref = describe(degrees, rgb)
    assert ref.native_resolution_m == pytest.approx((1, 0.5), rel=0.01)
    assert ref.scale_yx == pytest.approx((1, 2), rel=0.01)
    assert ref.grid.window.shape == (4, 4)
    feet = write_raster(bands(3, 6, 6), crs="EPSG:2263", transform=Affine(1, 0, 985000, 0, -1, 215000))
    assert describe(feet, rgb).scale_yx == pytest.approx((3937 / 1200, 3937 / 1200), rel=1e-3)


# Values


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_another_data_type_needs_a_stretch(write_raster: WriteRaster, rgb: Imagery, dtype: str) -> None:
    path = write_raster(bands(3, dtype=dtype))
    with pytest.raises(
        SceneError, match=f"expects uint8 values from 0 to 255, .* holds {dtype}: .* --stretch LO,HI"
    ):
        describe(path, rgb)
    assert describe(path, rgb, stretch=(0, 30)).dtype == dtype


@given(st.floats(-50, 300), st.floats(1, 500), st.integers(0, 99))
def test_a_stretch_maps_its_ends_onto_the_models_range(
    write_raster: WriteRaster, rgb: Imagery, low: float, span: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 400, (3, 3, 4), dtype=np.uint16)
    imagery = replace(rgb, value_range=(10, 110))
    ref = describe(write_raster(values), imagery, stretch=(low, low + span))
    assert ref.stretch is not None
    image_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    expected_chw = 10 + 100 * np.clip((values.astype(np.float64) - low) / span, 0, 1)
    np.testing.assert_allclose(image_chw, expected_chw, atol=0.01)  # float32 over a span of 1
    assert valid_hw.all()


def test_percentiles_are_taken_once_per_band_of_what_holds_data(write_raster: WriteRaster, rgb: Imagery) -> None:
    values = np.random.default_rng(0).integers(1, 1000, (3, 40, 50), dtype=np.uint16)
    values[1] += 5000
    values[:, :10] = 0
    ref = describe(write_raster(values, nodata=0), rgb, stretch=PercentStretch(2, 98))
    expected = [tuple(np.percentile(band_hw[10:], [2, 98])) for band_hw in values]
    assert ref.stretch is not None
    np.testing.assert_allclose(ref.stretch, expected)
    image_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    share_low, share_high = (image_chw[:, 10:] == 0).mean(axis=(1, 2)), (image_chw[:, 10:] == 255).mean(axis=(1, 2))
    np.testing.assert_allclose([share_low, share_high], 0.02, atol=0.003)
    assert not valid_hw[:10].any()


def test_stretches_that_mean_nothing_are_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(bands(3, dtype="uint16"))
    with pytest.raises(SceneError, match="--stretch expects LO below HI, got 5,5"):
        describe(path, rgb, stretch=(5, 5))
    with pytest.raises(SceneError, match=r"band 1 of .* holds 10 at both 2% and 98%"):
        describe(path, rgb, stretch=PercentStretch(2, 98))


def test_percentiles_of_nothing_stretch_nothing(write_raster: WriteRaster, rgb: Imagery) -> None:
    ref = describe(write_raster(np.zeros((3, 4, 4), np.uint16), nodata=0), rgb, stretch=PercentStretch(2, 98))
    image_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    assert not valid_hw.any()
    assert not image_chw.any()


def test_values_outside_the_models_range_are_refused_before_work(write_raster: WriteRaster) -> None:
    imagery = Imagery(("red", "green", "blue"), "int16", (0, 100), (0.0,) * 3, (1.0,) * 3, 1.0)
    values = bands(3, dtype="int16")
    assert describe(write_raster(values), imagery).stretch is None
    for wrong in (-1, 101):
        values[1, 0, 0] = wrong
        with pytest.raises(SceneError, match=r"expects 0 to 100: .*--stretch LO,HI or 2%,98%"):
            describe(write_raster(values), imagery)
    values[:, 0, 0] = -999
    describe(write_raster(values, nodata=-999), imagery)


@pytest.mark.parametrize(("scale", "offset"), [(0.0001, 0.0), (1.0, -100.0), (2.0, 5.0)])
def test_scale_and_offset_tags_are_noted_and_not_applied(
    write_raster: WriteRaster, rgb: Imagery, scale: float, offset: float
) -> None:
    path = write_raster(bands(3))
    assert describe(path, rgb).notes == ()
    with rasterio.open(path, "r+") as dataset:
        dataset.scales, dataset.offsets = (scale,) * 3, (offset,) * 3
    ref = describe(path, rgb)
    assert f"x {scale:g} + {offset:g}; they are not applied" in ref.notes[0]
    image_chw, _ = SceneReader(ref).read(ref.grid.window)
    assert image_chw[:, 0, 0].tolist() == [10, 20, 30]


# What cannot be mapped


def test_a_scene_without_a_crs_names_the_option_that_gives_one(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(bands(3), crs=None)
    with pytest.raises(SceneError, match=r"has no CRS: .* --assume-crs EPSG:N"):
        describe(path, rgb)
    assert describe(path, rgb, assume_crs="EPSG:32640").grid.crs == "EPSG:32640"
    with pytest.raises(SceneError, match="expected a CRS such as EPSG:32640, got 'Dubai'"):
        describe(path, rgb, assume_crs="Dubai")
    with pytest.raises(SceneError, match="no place on earth"):
        describe(path, rgb, assume_crs="EPSG:4326")


def test_an_assumed_crs_does_not_replace_the_files_own(write_raster: WriteRaster, rgb: Imagery) -> None:
    assert describe(write_raster(bands(3)), rgb, assume_crs="EPSG:32633").grid.crs == "EPSG:32640"


def test_a_crs_without_a_code_travels_as_wkt(write_raster: WriteRaster, rgb: Imagery) -> None:
    own = "+proj=laea +lat_0=25 +lon_0=55 +ellps=GRS80 +units=m"
    grid = describe(write_raster(bands(3), crs=own, transform=Affine(1, 0, 0, 0, -1, 0)), rgb).grid
    assert rasterio.crs.CRS.from_user_input(grid.crs) == rasterio.crs.CRS.from_user_input(own)


def test_scenes_placed_in_other_ways_are_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    poly = [1.0] + [0.0] * 19
    scales = {
        f"{what}_{kind}": 1.0 for what in ("height", "lat", "long", "line", "samp") for kind in ("off", "scale")
    }
    rpcs = RPC(
        **scales,
        line_num_coeff=poly,
        line_den_coeff=poly,
        samp_num_coeff=poly,
        samp_den_coeff=poly,
        err_bias=0.0,
        err_rand=0.0,
    )
    with pytest.raises(SceneError, match=r"placed by RPCs only: .*RPC_DEM"):
        describe(write_raster(bands(3), crs=None, transform=None, rpcs=rpcs), rgb)
    with pytest.raises(SceneError, match="no geotransform"):
        describe(write_raster(bands(3), transform=None), rgb)
    with pytest.raises(SceneError, match="places all pixels on a line"):
        describe(write_raster(bands(3), transform=Affine(1, 1, WEST, 1, 1, NORTH)), rgb)


@pytest.mark.parametrize("dtype", ["complex64", "complex_int16"])
def test_complex_numbers_are_refused(write_raster: WriteRaster, rgb: Imagery, dtype: str) -> None:
    values = np.ones((3, 2, 2), np.complex64)
    path = write_raster(values, **({"dtype": dtype} if dtype == "complex64" else {"dtype": "complex_int16"}))
    with pytest.raises(SceneError, match=rf"expected real numbers, .* holds {dtype}: take its amplitude"):
        describe(path, rgb)


def test_what_is_no_raster_is_refused(tmp_path: Path, rgb: Imagery) -> None:
    with pytest.raises(SceneError, match="no such file"):
        describe(tmp_path / "none.tif", rgb)
    (tmp_path / "text.tif").write_text("not pixels")
    with pytest.raises(SceneError, match="text file"):
        describe(tmp_path / "text.tif", rgb)


def test_a_raster_without_bands_is_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(bands(3))
    content = path.read_bytes()
    entry = struct.pack("<HHIHH", 277, 3, 1, 3, 0)  # TIFF's SamplesPerPixel: one SHORT, 3
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, struct.pack("<HHIHH", 277, 3, 1, 0, 0)))
    with pytest.raises(SceneError, match="a TIFF whose directory cannot be read"):
        describe(path, rgb)


def test_a_crs_named_in_latin_1_is_refused_in_words(write_raster: WriteRaster, rgb: Imagery) -> None:
    wkt = CRS.from_proj4("+proj=laea +lat_0=25 +lon_0=55 +ellps=GRS80 +units=m").to_wkt("WKT1_GDAL")
    path = write_raster(bands(3), crs=wkt.replace('PROJCS["unknown"', 'PROJCS["projection"'))
    content = path.read_bytes()
    assert b"projection" in content
    path.write_bytes(content.replace(b"projection", "projectión".encode("latin-1")))
    with pytest.raises(SceneError, match=r"not UTF-8: .* gdal_translate -a_srs EPSG:N"):
        describe(path, rgb)


@given(st.dictionaries(st.integers(0, 599), st.integers(0, 255), min_size=1, max_size=3))
def test_damaged_bytes_give_pixels_or_a_refusal_in_words(
    write_raster: WriteRaster, rgb: Imagery, damage: dict[int, int]
) -> None:
    path = write_raster(bands(3, 15, 20), nodata=0, compress="deflate")
    content = bytearray(path.read_bytes())
    for position, value in damage.items():
        content[position % len(content)] = value
    path.write_bytes(content)
    try:
        ref = describe(path, rgb)
        part = Window(0, 0, min(ref.grid.height, 40), min(ref.grid.width, 40))
        assert SceneReader(ref).read(part)[1].shape == part.shape
    except SceneError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  # either outcome is right


# The reference


def test_nodata_and_alpha_both_count(write_raster: WriteRaster, rgb: Imagery) -> None:
    values = np.full((4, 2, 3), 90, np.uint8)
    values[3] = [[255, 255, 0], [255, 255, 255]]
    values[:3, 1, 0] = 7
    colors = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    ref = describe(write_raster(values, colorinterp=colors, nodata=7), rgb)
    _, valid_hw = SceneReader(ref).read(ref.grid.window)
    np.testing.assert_array_equal(valid_hw, [[True, True, False], [False, True, True]])


def test_another_file_under_the_same_name_has_another_fingerprint(write_raster: WriteRaster, rgb: Imagery) -> None:
    first, same, other = bands(3), bands(3), bands(3)
    other[2, 1, 2] += 1
    prints = [describe(write_raster(values), rgb).fingerprint for values in (first, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_the_path_does_not_depend_on_the_working_directory(
    write_raster: WriteRaster, rgb: Imagery, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_raster(bands(3))
    monkeypatch.chdir(path.parent)
    ref = describe(Path(path.name), rgb)
    assert ref.path == str(path.resolve())
    assert not math.isnan(ref.native_resolution_m[0])


def test_a_trusted_vrt_is_read_and_known_by_its_sources(
    write_raster: WriteRaster, rgb: Imagery, tmp_path: Path
) -> None:
    source, vrt = write_raster(bands(3)), tmp_path / "scene.vrt"
    rasterio.shutil.copy(source, vrt, driver="VRT")
    with pytest.raises(SceneError, match="XML document"):
        describe(vrt, rgb)
    ref = describe(vrt, rgb, trust_vrt=True)
    np.testing.assert_array_equal(SceneReader(ref).read(ref.grid.window)[0], bands(3))
    with rasterio.open(source, "r+") as dataset:
        dataset.write(bands(3)[:1] + 1, [1])
    assert describe(vrt, rgb, trust_vrt=True).fingerprint != ref.fingerprint


@pytest.mark.parametrize(
    "colors", [("red", "green", "blue", "undefined", "alpha"), ("alpha", "red", "green", "blue")]
)
def test_alpha_is_opacity_wherever_it_stands(
    write_raster: WriteRaster, rgb: Imagery, colors: tuple[str, ...]
) -> None:
    image_chw = np.full((len(colors), 40, 50), 90, np.uint8)
    alpha = colors.index("alpha")
    image_chw[alpha] = 255
    image_chw[alpha, :, 30:] = 0
    path = write_raster(image_chw, colorinterp=[ColorInterp[color] for color in colors])
    ref = describe_scene(str(path), rgb, SceneOptions())
    assert ref.bands == tuple(colors.index(color) + 1 for color in ("red", "green", "blue"))
    valid_hw = SceneReader(ref).read_valid(Window(0, 0, 40, 50))
    assert np.array_equal(valid_hw, image_chw[alpha] > 0)


@pytest.mark.parametrize("nodata", [0, 3, 255])
def test_a_pixel_with_one_band_at_nodata_is_one(write_raster: WriteRaster, rgb: Imagery, nodata: int) -> None:
    image_chw = np.random.default_rng(0).choice(np.array([nodata, 100, 200], np.uint8), (3, 30, 40))
    path = write_raster(image_chw, nodata=nodata)
    with rasterio.open(path) as dataset:
        mask_hw = dataset.dataset_mask() > 0
    assert 0 < (~mask_hw).sum() < (image_chw == nodata).any(axis=0).sum()
    ref = describe_scene(str(path), rgb, SceneOptions())
    assert np.array_equal(SceneReader(ref).read_valid(Window(0, 0, 30, 40)), mask_hw)


def test_data_off_the_earth_is_refused_before_any_work_and_empty_corners_are_not(
    write_raster: WriteRaster, rgb: Imagery
) -> None:
    # Mollweide: the world is an ellipse of 18 by 9 million metres about the origin.
    place = {"crs": "ESRI:54009", "transform": Affine(4e5, 0, -1.84e7, 0, -4e5, 9.2e6)}
    image_chw = np.full((3, 46, 92), 80, np.uint8)
    options = SceneOptions(resolution="native")
    with pytest.raises(SceneError, match="no place on earth"):
        describe_scene(str(write_raster(image_chw, **place)), rgb, options)
    rows, cols = np.mgrid[:46, :92]
    inside_hw = ((cols - 45.5) / 43) ** 2 + ((rows - 22.5) / 21) ** 2 < 1
    describe_scene(str(write_raster(image_chw * inside_hw, nodata=0, **place)), rgb, options)


def test_a_crs_that_is_not_needed_is_checked_and_said(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = str(write_raster(np.full((3, 20, 20), 9, np.uint8)))
    notes = describe_scene(path, rgb, SceneOptions(assume_crs="EPSG:4326")).notes
    assert any("--assume-crs is not used" in note for note in notes)
    with pytest.raises(SceneError):
        describe_scene(path, rgb, SceneOptions(assume_crs="EPSG:99999999"))
