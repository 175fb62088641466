"""Pictures without a place on earth: read on a grid of the ground resolution that is told, by training alone."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rasterio.control import GroundControlPoint

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window, without_place
from geoseg.imagery import Imagery
from geoseg.io.raster import SceneReader
from geoseg.io.scene import SceneOptions, describe_scene

WriteRaster = Callable[..., Path]

RNG = np.random.default_rng(5)


@given(st.integers(1, 50), st.integers(1, 50), st.floats(0.01, 100))
def test_its_ground_resolution_is_what_was_told(height: int, width: int, told_m: float) -> None:
    grid = without_place(height, width, told_m)
    assert not grid.has_place
    assert grid.ground_resolution_m() == (told_m, told_m)
    assert grid.part(Window(height - 1, width - 1, 1, 1)).ground_resolution_m() == (told_m, told_m)
    assert Grid("EPSG:32640", grid.transform, height, width).has_place


@pytest.mark.parametrize("driver", ["PNG", "JPEG", "GTiff"])
def test_pictures_are_read_pixel_by_pixel_where_they_fit_the_model(
    driver: str, tmp_path: Path, write_raster: WriteRaster, rgb: Imagery
) -> None:
    image_hwc = RNG.integers(0, 256, (9, 7, 3)).astype(np.uint8)
    if driver == "GTiff":
        path = write_raster(image_hwc.transpose(2, 0, 1), crs=None, transform=None, photometric="RGB")
    else:
        path = tmp_path / "picture"
        Image.fromarray(image_hwc).save(path, driver, **({"subsampling": 0} if driver == "JPEG" else {}))
    ref = describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=1.0))
    reader = SceneReader(ref)
    read_chw, valid_hw = reader.read(ref.grid.window)
    reader.close()
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        assert np.abs(read_chw - np.asarray(picture).transpose(2, 0, 1)).max() <= 1  # two JPEG decoders
    assert valid_hw.all()
    assert not ref.grid.has_place


def test_they_are_brought_to_the_models_ground_resolution(write_raster: WriteRaster, rgb: Imagery) -> None:
    image_chw = RNG.integers(0, 256, (3, 16, 20)).astype(np.uint8)
    path = write_raster(image_chw, crs=None, transform=None, photometric="RGB")
    ref = describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=0.25))
    assert ref.grid.window.shape == (4, 5)
    assert ref.grid.ground_resolution_m() == pytest.approx((1, 1))
    reader = SceneReader(ref)
    read_chw, _ = reader.read(ref.grid.window)
    reader.close()
    np.testing.assert_allclose(read_chw, image_chw.reshape(3, 4, 4, 5, 4).mean((2, 4)), atol=1e-3)
    with pytest.raises(SceneError, match="too coarse"):
        describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=5.0))


def test_a_raster_with_a_place_keeps_it(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(np.full((3, 4, 4), 9, np.uint8))
    ref = describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=0.25))
    assert ref.grid == describe_scene(str(path), rgb).grid
    assert any("is not used" in note for note in ref.notes)


def test_a_geotransform_without_a_crs_is_no_place(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = write_raster(np.full((3, 4, 4), 9, np.uint8), crs=None, transform=Affine(7, 0, 1, 0, -7, 1))
    ref = describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=1.0))
    assert ref.grid == without_place(4, 4, 1.0)
    assert any("without a CRS" in note for note in ref.notes)


def test_ground_control_points_are_a_place(write_raster: WriteRaster, rgb: Imagery) -> None:
    corners = [(0, 0, 320000, 2770000), (0, 4, 320004, 2770000), (4, 0, 320000, 2769996), (4, 4, 320004, 2769996)]
    points = [GroundControlPoint(row, col, x, y) for row, col, x, y in corners]
    path = write_raster(np.full((3, 4, 4), 9, np.uint8), transform=None, gcps=points)
    assert describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=0.25)).grid.has_place


def test_without_a_ground_resolution_they_are_refused_as_ever(tmp_path: Path, rgb: Imagery) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGB", (4, 4)).save(path)
    with pytest.raises(SceneError, match="no geotransform: expected a georeferenced raster"):
        describe_scene(str(path), rgb)
    for wrong_m in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SceneError, match="above 0 m"):
            describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=wrong_m))


def test_a_palette_is_no_intensity(tmp_path: Path, rgb: Imagery) -> None:
    path = tmp_path / "picture.png"
    Image.new("P", (4, 4)).save(path)
    with pytest.raises(SceneError, match="palette indices"):
        describe_scene(str(path), rgb, SceneOptions(ground_resolution_m=1.0))


@pytest.mark.parametrize("driver", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_picture_cut_short_is_not_filled_with_whatever_lay_in_memory(
    driver: str, share: float, tmp_path: Path, rgb: Imagery
) -> None:
    path = tmp_path / "picture"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(path, driver)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(SceneError, match="cut short or damaged"):
        read_all(path, rgb)
    # Damage within is told by GDAL's decoders.
    if driver == "PNG":
        path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
        with pytest.raises(SceneError, match="cut short or damaged"):
            read_all(path, rgb)


def read_all(path: Path, imagery: Imagery) -> None:
    ref = describe_scene(str(path), imagery, SceneOptions(ground_resolution_m=1.0))
    reader = SceneReader(ref)
    try:
        reader.read(ref.grid.window)
    finally:
        reader.close()
