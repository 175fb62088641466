"""Many scenes looked at: which can be mapped, what is said of the others, and where all of them lie."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from geoseg.errors import SceneError
from geoseg.imagery import Imagery
from geoseg.io.coverage import Coverage
from geoseg.io.inputs import find_sources
from geoseg.io.region import RegionReader
from geoseg.io.scene import SceneOptions
from geoseg.io.sources import SceneSource
from geoseg.io.survey import Survey, survey

WriteRaster = Callable[..., Path]

NATIVE = SceneOptions(resolution="native")


def at(col: float, row: float, side: float = 1.0) -> Affine:
    return Affine(side, 0, 320000 + col, 0, -side, 2770000 - row)


def noise(seed: int, height: int = 40, width: int = 50) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(1, 256, (3, height, width)).astype(np.uint8)


def looked_at(paths: list[Path], rgb: Imagery, options: SceneOptions = NATIVE, *, skip_bad: bool = False) -> Survey:
    return survey(find_sources([str(path) for path in paths], rgb.bands), rgb, options, skip_bad=skip_bad)


@pytest.fixture
def mixed(write_raster: WriteRaster, tmp_path: Path) -> list[Path]:
    """Two good scenes, and one of each kind of bad."""
    paths = [
        write_raster(noise(1), "good.tif"),
        write_raster(noise(2), "better.tif", transform=at(50, 0)),
        write_raster(noise(3), "placeless.tif", crs=None),
        write_raster(noise(4)[:2], "two_bands.tif"),
        write_raster(noise(5).astype(np.uint16), "wide.tif"),
        write_raster(noise(6), "coarse.tif", transform=at(0, 0, 30)),
        write_raster(noise(7), "offworld.tif", crs="EPSG:4326", transform=Affine(1, 0, 320000, 0, -1, 2770000)),
    ]
    for name, content in (
        ("empty.tif", b""),
        ("text.tif", b"not a raster"),
        ("cut.tif", paths[0].read_bytes()[:90]),
    ):
        (tmp_path / name).write_bytes(content)
        paths.append(tmp_path / name)
    return [*paths, tmp_path / "missing.tif"]


def test_every_bad_scene_is_named_with_its_reason(mixed: list[Path], rgb: Imagery) -> None:
    with pytest.raises(SceneError) as refused:
        looked_at(mixed, rgb)
    words = str(refused.value)
    assert words.startswith("9 of 11 scenes cannot be mapped: ")
    for path in mixed[2:]:
        assert f"{path.name}: " in words
    for reason in (
        "no CRS",
        "expects 3 bands",
        "--stretch",
        "too coarse",
        "no place on earth",
        "0 bytes",
        "no such",
    ):
        assert reason in words
    assert "good.tif: " not in words
    assert words.endswith("--skip-bad")


def test_the_rest_goes_on_without_them_and_says_so(mixed: list[Path], rgb: Imagery) -> None:
    found = looked_at(mixed, rgb, skip_bad=True)
    assert [scene.name for scene in found.region.scenes] == ["good.tif", "better.tif"]
    assert found.region.grid.window.shape == (40, 100)
    assert [row.name for row in found.rows] == [path.name for path in mixed]
    assert [row.used for row in found.rows] == [True, True] + [False] * 9
    assert [row.uri for row in found.rows] == [str(path) for path in mixed]
    assert sum(note.startswith("left out: ") for note in found.notes) == 9


def test_only_bad_scenes_are_refused_even_so(mixed: list[Path], rgb: Imagery) -> None:
    with pytest.raises(SceneError, match="none of the scenes can be mapped: "):
        looked_at([path for path in mixed[2:] if path.name != "coarse.tif"], rgb, skip_bad=True)


def test_a_damaged_scene_is_bad_before_any_work(write_raster: WriteRaster, rgb: Imagery) -> None:
    paths = [write_raster(noise(n, 300, 300), f"{n}.tif", transform=at(300 * n, 0)) for n in range(2)]
    paths[1].write_bytes(paths[1].read_bytes()[:150_000])
    with pytest.raises(SceneError, match=r"1 of 2 scenes cannot be mapped: 1\.tif: .* cannot be read in rows"):
        looked_at(paths, rgb)
    assert [scene.name for scene in looked_at(paths, rgb, skip_bad=True).region.scenes] == ["0.tif"]


def test_a_scene_without_a_place_in_the_crs_of_the_others_is_bad(write_raster: WriteRaster, rgb: Imagery) -> None:
    paths = [write_raster(noise(n), f"{n}.tif", transform=at(50 * n, 0)) for n in range(2)]
    paths.append(write_raster(noise(9), "far.tif", crs="EPSG:4326", transform=Affine(1e-5, 0, -33, 0, -1e-5, 0)))
    with pytest.raises(SceneError, match=r"far\.tif: .* no place in WGS 84 / UTM zone 40N.*is its place wrong"):
        looked_at(paths, rgb)
    assert len(looked_at(paths, rgb, skip_bad=True).region.scenes) == 2


def test_pixels_that_are_narrow_on_the_ground_are_brought_to_the_models_resolution(
    write_raster: WriteRaster, rgb: Imagery
) -> None:
    """At 60 degrees north a degree of longitude is half as long."""
    paths = []
    for number in range(2):
        place = Affine(9e-6, 0, 55 + 50 * 9e-6 * number, 0, -9e-6, 60)
        paths.append(write_raster(noise(number), f"{number}.tif", crs="EPSG:4326", transform=place))
    region = looked_at(paths, rgb, SceneOptions()).region
    assert region.grid.crs == "EPSG:32640"
    assert region.grid.ground_resolution_m() == pytest.approx((1, 1), rel=0.01)


def test_coverage_is_that_of_footprints(write_raster: WriteRaster, rgb: Imagery) -> None:
    turned = Affine.translation(320200, 2770000) @ Affine.rotation(45)
    paths = [write_raster(noise(1), "a.tif"), write_raster(noise(2), "turned.tif", transform=turned)]
    region = looked_at(paths, rgb).region
    found = Coverage.of(region.grid, [scene.footprint for scene in region.scenes], None)
    assert found.covered_px == pytest.approx(2 * 40 * 50, rel=0.01)
    assert found.overlap_px == 0
    assert "".join(found.picture).count("#") == 0
    twice = Coverage.of(region.grid, [region.scenes[0].footprint] * 2, region.scenes[1].footprint)
    assert twice.overlap_px == pytest.approx(2000)
    assert twice.gap_px == pytest.approx(2000, rel=0.01)


def test_a_copy_is_read_once(write_raster: WriteRaster, rgb: Imagery) -> None:
    paths = [write_raster(noise(1), "a.tif"), write_raster(noise(1), "copy.tif"), write_raster(noise(2), "b.tif")]
    found = looked_at(paths, rgb)
    assert [scene.name for scene in found.region.scenes] == ["a.tif", "b.tif"]
    assert found.rows[1].problem == "the same as a.tif, which is read in its place"
    assert not found.rows[1].used


def test_scenes_of_one_name_are_told_apart_by_their_folders(
    tmp_path: Path, write_raster: WriteRaster, rgb: Imagery
) -> None:
    paths = []
    for number, folder in enumerate(("north", "south")):
        path = tmp_path / folder / "scene.tif"
        path.parent.mkdir()
        write_raster(noise(number), transform=at(50 * number, 0)).rename(path)
        paths.append(path)
    assert [scene.name for scene in looked_at(paths, rgb).region.scenes] == ["north/scene.tif", "south/scene.tif"]


def test_a_scene_far_from_all_others_is_doubted(write_raster: WriteRaster, rgb: Imagery) -> None:
    near = [write_raster(noise(n), f"{n}.tif", transform=at(50 * n, 0)) for n in range(4)]
    far = write_raster(noise(9), "far.tif", transform=at(0, 900_000))
    found = looked_at([*near, far], rgb)
    [doubt] = [note for note in found.notes if "nearest other scene" in note]
    assert doubt.startswith("far.tif: lies 9")
    assert len(found.region.scenes) == 5


def test_scenes_of_other_crss_resolutions_dtypes_and_band_orders_lie_where_pyproj_puts_them(
    write_raster: WriteRaster, rgb: Imagery
) -> None:
    """Against a choice of our own: each pixel centre through pyproj, and scipy's linear interpolation there."""
    smooth_hw = np.add.outer(np.linspace(40, 150, 80), np.linspace(0, 60, 90))
    other_chw = np.stack([smooth_hw, smooth_hw / 2, smooth_hw + 20]).astype(np.uint8)
    to_other = Transformer.from_crs("EPSG:32640", "EPSG:32639", always_xy=True)
    x, y = to_other.transform(320045, 2769990)
    other = write_raster(other_chw, "other.tif", crs="EPSG:32639", transform=Affine(1.2, 0, x, 0, -1.2, y))
    paths = [write_raster(noise(1), "a.tif"), write_raster(noise(2), "b.tif", transform=at(0, 60)), other]
    region = looked_at(paths, rgb).region
    assert region.grid.crs == "EPSG:32640"
    index = [scene.name for scene in region.scenes].index("other.tif")
    reader = RegionReader(region)
    image_chw, valid_hw = reader.read(region.grid.window)
    sources_hw = reader.sources(region.grid.window)
    rows, cols = np.nonzero(sources_hw == index)
    assert len(rows) > 5000
    assert valid_hw[rows, cols].all()
    t = region.grid.transform
    x, y = to_other.transform(t.a * (cols + 0.5) + t.c, t.e * (rows + 0.5) + t.f)
    with rasterio.open(other) as file:
        col, row = ~file.transform @ np.array([x, y])
    for band in range(3):
        expected = map_coordinates(
            other_chw[band].astype(np.float64), (row - 0.5, col - 0.5), order=1, mode="nearest"
        )
        assert np.abs(image_chw[band, rows, cols] - expected).max() < 0.02


def test_a_stretch_is_for_the_scenes_whose_numbers_the_model_does_not_know(
    write_raster: WriteRaster, rgb: Imagery
) -> None:
    wide_chw = (noise(1).astype(np.uint16) - 1) * 10
    paths = [write_raster(wide_chw, "wide.tif"), write_raster(noise(2), "bytes.tif", transform=at(50, 0))]
    region = looked_at(paths, rgb, SceneOptions(resolution="native", stretch=(0, 2550))).region
    image_chw, _ = RegionReader(region).read(region.grid.window)
    assert np.array_equal(image_chw[:, :, 50:], noise(2))
    assert np.allclose(image_chw[:, :, :50], wide_chw / 10, atol=1e-3)


@pytest.mark.parametrize(
    ("dates", "order"), [((None, None), "10"), (("2020", "2019"), "01"), ((None, "2019"), "10")]
)
def test_the_latest_is_said_to_be_by_date_or_by_the_list(
    write_raster: WriteRaster, rgb: Imagery, dates: tuple[str | None, ...], order: str
) -> None:
    sources = [
        SceneSource((str(write_raster(noise(n), f"{n}")),), date and f"{date}-01-01T00:00:00Z")
        for n, date in enumerate(dates)
    ]
    found = survey(sources, rgb, NATIVE, merge="latest")
    assert "".join(scene.name for scene in found.region.scenes) == order
    said = " ".join(found.notes)
    assert ("no scene has a date" in said) == (dates == (None, None))
    assert ("without a date count as the oldest: 0" in said) == (dates == (None, "2019"))


def test_the_date_of_a_tiff_is_its_tag(write_raster: WriteRaster, rgb: Imagery) -> None:
    paths = [write_raster(noise(1), "a.tif"), write_raster(noise(2), "b.tif", transform=at(50, 0))]
    with rasterio.open(paths[1], "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2020:05:21 10:30:00")
    assert [scene.date for scene in looked_at(paths, rgb).region.scenes] == [None, "2020-05-21T10:30:00"]
