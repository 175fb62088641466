"""Scenes in other CRSs than their grid's: against pyproj pixel by pixel, scipy, GDAL's warper, and themselves."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.enums import Resampling
from scipy import ndimage

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.raster import SceneReader
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.io.warp import MOST_ERROR_PX, Warp, grid_in

WriteRaster = Callable[..., Path]

UTM = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 300, 260)
COARSE = Grid("EPSG:32640", Affine(60, 0, 300000, 0, -60, 5600000), 400, 500)
TURNED = Grid("EPSG:32640", Affine(0.8, 0.4, 320000, 0.3, -0.9, 2770000), 200, 240)
DEGREES = Grid("EPSG:4326", Affine(1e-5, 0, 55.2, 0, -1e-5, 25.0), 200, 300)
SOURCES = {"utm": UTM, "coarse": COARSE, "turned": TURNED, "degrees": DEGREES}
TARGETS = ["EPSG:32639", "EPSG:3857", "EPSG:4326", "EPSG:32640", "EPSG:2154"]
PAIRS = [
    (name, crs) for name, grid in SOURCES.items() for crs in TARGETS if grid.crs != crs and "2154" not in crs
] + [("coarse", "EPSG:3035")]


def oracle(grid: Grid, source: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(row, column) in the source of each pixel's centre, every one by pyproj."""
    rows, cols = np.mgrid[: grid.height, : grid.width] + 0.5
    x, y = grid.transform @ (cols, rows)
    x, y = Transformer.from_crs(grid.crs, source.crs, always_xy=True).transform(x, y)
    source_cols, source_rows = ~source.transform @ (np.asarray(x), np.asarray(y))
    return source_rows, source_cols


@pytest.mark.parametrize(("name", "crs"), PAIRS)
def test_places_are_pyprojs(name: str, crs: str) -> None:
    source = SOURCES[name]
    grid = grid_in(crs, source, None, align=False)
    warp = Warp.between(grid, source)
    found = warp.places(grid.window)
    for at, expected in zip(found, oracle(grid, source), strict=True):
        # The error is measured at samples; it is smooth, so what lies between is hardly worse.
        assert np.abs(at - expected).max() <= 1.2 * MOST_ERROR_PX + 2**-16


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.sampled_from([1, 2, 16, 64]),
    st.tuples(*[st.floats(0, 0.99)] * 2),
    st.tuples(st.integers(1, 200), st.integers(1, 200)),
)
def test_no_place_depends_on_the_window(
    pair: tuple[str, str], step_px: int, corner: tuple[float, float], size: tuple[int, int]
) -> None:
    source = SOURCES[pair[0]]
    grid = grid_in(pair[1], source, None, align=False)
    warp = replace(Warp.between(grid, source), step_px=step_px)
    row, col = int(corner[0] * grid.height), int(corner[1] * grid.width)
    window = Window(row, col, min(size[0], grid.height - row), min(size[1], grid.width - col))
    for part, whole in zip(warp.places(window), warp.places(grid.window), strict=True):
        assert np.array_equal(part, whole[window.slices_in(grid.window)])


@pytest.mark.parametrize(("name", "crs"), PAIRS)
def test_the_grid_holds_the_source_and_little_else(name: str, crs: str) -> None:
    source = SOURCES[name]
    grid = grid_in(crs, source, None, align=False)
    warp = Warp.between(grid, source)
    inside_hw = warp.inside(*warp.places(grid.window))
    # No pixel of the source lies beyond the grid: its own pixels, taken there, all have one.
    rows, cols = oracle(source, grid)
    assert rows.min() > -0.5
    assert cols.min() > -0.5
    assert rows.max() < grid.height + 0.5
    assert cols.max() < grid.width + 0.5
    # It touches all four sides, and pixels are as large as the source's.
    assert all(edge.any() for edge in (inside_hw[:2], inside_hw[-2:], inside_hw[:, :2], inside_hw[:, -2:]))
    assert inside_hw.sum() == pytest.approx(source.height * source.width, rel=0.03)


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (3, height, width), dtype=np.uint8)


@pytest.mark.parametrize(("name", "crs"), [pair for pair in PAIRS if pair[0] != "coarse"])
def test_pixels_are_bilinear_at_their_places(name: str, crs: str, write_raster: WriteRaster, rgb: Imagery) -> None:
    source = SOURCES[name]
    image_chw = noise(source.height, source.width)
    path = write_raster(image_chw, crs=source.crs, transform=source.transform)
    ref = describe_scene(str(path), rgb, SceneOptions(crs=crs, resolution="native"))
    assert isinstance(ref.warp, Warp)
    reader = SceneReader(pickle.loads(pickle.dumps(ref)))  # noqa: S301  # our own
    found_chw, valid_hw = reader.read(ref.grid.window)
    rows, cols = oracle(ref.grid, source)
    clear = (rows > 0.01) & (rows < source.height - 0.01) & (cols > 0.01) & (cols < source.width - 0.01)
    beyond = (rows < -0.01) | (rows > source.height + 0.01) | (cols < -0.01) | (cols > source.width + 0.01)
    assert valid_hw[clear].all()
    assert not valid_hw[beyond].any()
    for found_hw, band_hw in zip(found_chw, image_chw, strict=True):
        places = [rows - 0.5, cols - 0.5]
        expected_hw = ndimage.map_coordinates(band_hw.astype(np.float64), places, order=1, mode="nearest")
        # Noise of 255 from pixel to pixel, 1e-3 px off along two axes.
        assert np.abs(found_hw - expected_hw)[clear].max() < 2.5 * 255 * MOST_ERROR_PX
    window = Window(ref.grid.height // 3, 7, 90, 101)
    part_chw, part_hw = reader.read(window)
    assert np.array_equal(part_chw, found_chw[:, *window.slices_in(ref.grid.window)])
    assert np.array_equal(part_hw, valid_hw[window.slices_in(ref.grid.window)])
    assert np.array_equal(reader.read_valid(window), part_hw)


@pytest.mark.parametrize(("name", "crs"), PAIRS)
def test_gdals_warper_agrees_within_its_own_error(name: str, crs: str) -> None:
    source = SOURCES[name]
    grid = grid_in(crs, source, None, align=False)
    ramps = np.mgrid[: source.height, : source.width].astype(np.float64) + 0.5
    for ramp_hw, at in zip(ramps, Warp.between(grid, source).places(grid.window), strict=True):
        warped_hw = np.full((grid.height, grid.width), np.nan)
        rasterio.warp.reproject(
            ramp_hw,
            warped_hw,
            src_transform=source.transform,
            src_crs=source.crs,
            dst_transform=grid.transform,
            dst_crs=grid.crs,
            resampling=Resampling.bilinear,
            dst_nodata=np.nan,
        )
        # At the source's outermost half pixels a ramp cannot be seen.
        seen = np.isfinite(warped_hw) & (at > 1) & (at < ramp_hw.max() - 0.5)
        assert seen.mean() > 0.4
        assert np.abs(warped_hw - at)[seen].max() < 0.13


@pytest.mark.parametrize("resolution", [2.0, 3.7])
def test_coarser_grids_see_means(resolution: float, write_raster: WriteRaster, rgb: Imagery) -> None:
    """Of an image of two halves, each its own noise, the means stay and the noise goes."""
    image_chw = noise(UTM.height, UTM.width) // 2
    image_chw[:, :, 130:] += 100
    path = write_raster(image_chw, crs=UTM.crs, transform=UTM.transform)
    ref = describe_scene(str(path), rgb, SceneOptions(crs="EPSG:32639", resolution=resolution))
    assert ref.grid.transform.a == resolution
    found_chw, valid_hw = SceneReader(ref).read(ref.grid.window)
    _, cols = oracle(ref.grid, UTM)
    for half, expected in ((cols < 120, image_chw[:, :, :120]), (cols > 140, image_chw[:, :, 140:])):
        pixels = found_chw[:, valid_hw & half]
        assert pixels.mean() == pytest.approx(expected.mean(), abs=1)
        assert pixels.std() < expected.std() / resolution * 1.1


def test_aligned_grids_have_edges_on_multiples(write_raster: WriteRaster, rgb: Imagery) -> None:
    transform = Affine(0.5, 0, 320000.2, 0, -0.5, 2770000.3)
    path = write_raster(noise(100, 80), transform=transform)
    for crs, pixel in ((None, 0.5), ("EPSG:32639", 0.5), ("EPSG:32639", 0.75)):
        ref = describe_scene(str(path), rgb, SceneOptions(crs=crs, resolution=pixel, align=True))
        t = ref.grid.transform
        assert t.a == -t.e == pytest.approx(pixel)
        assert (t.c / t.a) % 1 == 0
        assert (t.f / t.e) % 1 == 0
        source = Grid("EPSG:32640", transform, 100, 80)
        rows, cols = oracle(source, ref.grid)
        assert rows.min() > 0
        assert cols.min() > 0
        assert rows.max() < ref.grid.height
        assert cols.max() < ref.grid.width


def test_pixels_are_as_long_as_the_source_says_or_true_on_the_ground() -> None:
    assert grid_in("EPSG:32639", UTM, None, align=False).transform.a == pytest.approx(1)
    mercator = grid_in("EPSG:3857", UTM, None, align=False)
    assert max(abs(side_m - 1) for side_m in mercator.ground_resolution_m()) < 2e-3
    assert mercator.transform.a == pytest.approx(1.1, rel=0.01)
    degrees = grid_in("EPSG:4326", UTM, 2, align=False)
    assert max(abs(side_m - 2) for side_m in degrees.ground_resolution_m()) < 2e-3


@pytest.mark.parametrize("west", [179.999, -180.001])
def test_the_antimeridian_is_no_border(west: float, write_raster: WriteRaster, rgb: Imagery) -> None:
    transform = Affine(1e-5, 0, west, 0, -1e-5, -17)
    path = write_raster(noise(180, 200), crs="EPSG:4326", transform=transform)
    ref = describe_scene(str(path), rgb, SceneOptions(crs="EPSG:32701", resolution="native"))
    assert max(ref.grid.height, ref.grid.width) < 250
    _, valid_hw = SceneReader(ref).read(ref.grid.window)
    assert valid_hw.mean() > 0.95
    back = grid_in("EPSG:4326", ref.grid, None, align=False)
    assert back.width < 300


def test_a_scene_at_the_pole_has_a_place(write_raster: WriteRaster, rgb: Imagery) -> None:
    polar = Affine(1, 0, -100, 0, -1, 100)
    path = write_raster(noise(200, 200), crs="EPSG:3413", transform=polar)
    ref = describe_scene(str(path), rgb, SceneOptions(crs="EPSG:3995", resolution="native"))
    _, valid_hw = SceneReader(ref).read(ref.grid.window)
    assert valid_hw.sum() == pytest.approx(200 * 200, rel=0.03)
    with pytest.raises(SceneError, match="no place"):
        describe_scene(str(path), rgb, SceneOptions(crs="EPSG:3857", resolution="native"))


def test_what_is_doubtful_is_said(write_raster: WriteRaster, rgb: Imagery) -> None:
    path = str(write_raster(noise(50, 60)))
    [said] = describe_scene(path, rgb, SceneOptions(crs="EPSG:32639", resolution="native")).notes
    assert "onto a grid in WGS 84 / UTM zone 39N" in said
    resampled, distorts = describe_scene(path, rgb, SceneOptions(crs="EPSG:3857", resolution="native")).notes
    assert "resampled" in resampled
    assert "its metre is 0.90" in distorts
    assert not describe_scene(path, rgb, SceneOptions(crs="EPSG:32640", resolution="native")).notes
    with pytest.raises(SceneError, match="expected a CRS such as"):
        describe_scene(path, rgb, SceneOptions(crs="EPSG:999999"))
