"""Scenes merged on one grid: against a pixel-by-pixel choice, in any window, in any order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.region import NO_SCENE, MergeRule, Region, RegionReader
from geoseg.io.scene import SceneOptions
from geoseg.io.sources import SceneSource
from geoseg.io.survey import survey

WriteRaster = Callable[..., Path]

WEST, NORTH = 320000, 2770000
SCENES = ((0, 0, 40, 50), (20, 30, 60, 45), (20, 30, 60, 45), (75, 10, 30, 90), (10, 120, 25, 25))
"""Row, column, height, width of scenes on a common lattice; the last touches none, two cover the same ground."""


@dataclass(frozen=True)
class Handed:
    """Scenes on disk, and their pixels."""

    sources: tuple[SceneSource, ...]
    images: tuple[NDArray[np.uint8], ...]


@pytest.fixture(scope="module")
def handed(write_raster: WriteRaster) -> Handed:
    rng = np.random.default_rng(5)
    sources, images = [], []
    for number, (row, col, height, width) in enumerate(SCENES):
        image_chw = rng.integers(1, 256, (3, height, width)).astype(np.uint8)
        image_chw[:, rng.random((height, width)) < 0.3] = 0
        transform = Affine(1, 0, WEST + col, 0, -1, NORTH - row)
        path = write_raster(image_chw, f"scene{number}.tif", transform=transform, nodata=0)
        # The later, the older, but for one without a date.
        date = None if number == 1 else f"20{20 - number}-06-01T00:00:00Z"
        sources.append(SceneSource((str(path),), date))
        images.append(image_chw)
    return Handed(tuple(sources), tuple(images))


def region_of(sources: Sequence[SceneSource], rgb: Imagery, merge: MergeRule) -> Region:
    return survey(sources, rgb, SceneOptions(resolution="native"), merge=merge).region


def chosen(handed: Handed, region: Region, merge: MergeRule) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """What each pixel is and whose, asked pixel by pixel."""
    height, width = region.grid.height, region.grid.width
    image_chw, by_hw = np.zeros((3, height, width), np.uint8), np.full((height, width), NO_SCENE, np.uint16)
    paths = [source.files[0] for source in handed.sources]
    for row in range(height):
        for col in range(width):
            candidates = []
            for number, (top, left, rows, cols) in enumerate(SCENES):
                inside = top <= row < top + rows and left <= col < left + cols
                if not inside or not handed.images[number][:, row - top, col - left].any():
                    continue
                apart = (row + 0.5 - top - rows / 2) ** 2 + (col + 0.5 - left - cols / 2) ** 2
                year = int((handed.sources[number].date or "0000")[:4])
                rank = {"nearest-centre": (apart, paths[number]), "first": (number,), "latest": (-year,)}
                candidates.append((rank[merge], number))
            if candidates:
                _, best = min(candidates)
                image_chw[:, row, col] = handed.images[best][:, row - SCENES[best][0], col - SCENES[best][1]]
                by_hw[row, col] = [scene.uri for scene in region.scenes].index(str(Path(paths[best]).resolve()))
    return image_chw, by_hw


@pytest.mark.parametrize("merge", get_args(MergeRule))
def test_each_pixel_is_that_of_the_scene_which_the_rule_chooses(
    handed: Handed, rgb: Imagery, merge: MergeRule
) -> None:
    region = region_of(handed.sources, rgb, merge)
    assert region.grid.transform == Affine(1, 0, WEST, 0, -1, NORTH)
    assert region.grid.window.shape == (105, 145)
    assert all(part.warp is None for scene in region.scenes for part in scene.parts)
    expected_chw, by_hw = chosen(handed, region, merge)
    reader = RegionReader(region)
    image_chw, valid_hw = reader.read(region.grid.window)
    assert np.array_equal(image_chw, expected_chw)
    assert np.array_equal(valid_hw, by_hw != NO_SCENE)
    assert np.array_equal(reader.sources(region.grid.window), by_hw)
    assert 0.2 < valid_hw.mean() < 0.9
    reader.close()


@settings(max_examples=60)
@given(row=st.integers(0, 104), col=st.integers(0, 144), size=st.tuples(st.integers(1, 105), st.integers(1, 145)))
def test_a_window_is_a_part_of_the_whole(
    handed: Handed, rgb: Imagery, row: int, col: int, size: tuple[int, int]
) -> None:
    region = region_of(handed.sources, rgb, "nearest-centre")
    window = Window(row, col, min(size[0], 105 - row), min(size[1], 145 - col))
    at = window.slices_in(region.grid.window)
    reader, whole = RegionReader(region), RegionReader(region)
    whole_chw, whole_hw = whole.read(region.grid.window)
    image_chw, valid_hw = reader.read(window)
    assert np.array_equal(image_chw, whole_chw[:, *at])
    assert np.array_equal(valid_hw, whole_hw[at])
    assert np.array_equal(reader.read_valid(window), valid_hw)
    assert np.array_equal(reader.sources(window), whole.sources(region.grid.window)[at])
    assert reader.holds(window) or not valid_hw.any()


@pytest.mark.parametrize("seed", range(4))
def test_the_order_of_the_list_changes_nothing_under_the_default_rule(
    handed: Handed, rgb: Imagery, seed: int
) -> None:
    shuffled = [handed.sources[number] for number in np.random.default_rng(seed).permutation(len(SCENES))]
    assert region_of(shuffled, rgb, "nearest-centre") == region_of(handed.sources, rgb, "nearest-centre")


def test_more_scenes_than_files_may_be_open(write_raster: WriteRaster, rgb: Imagery) -> None:
    """Readers are pooled: opening each scene again gives the same pixels."""
    sources = []
    for number in range(50):
        image_chw = np.full((3, 8, 8), number + 1, np.uint8)
        transform = Affine(1, 0, WEST + 8 * number, 0, -1, NORTH)
        sources.append(SceneSource((str(write_raster(image_chw, f"{number:02}.tif", transform=transform)),)))
    region = region_of(sources, rgb, "nearest-centre")
    reader = RegionReader(region)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(2):
        read_chw, valid_hw = reader.read(region.grid.window)
        assert valid_hw.all()
        assert np.array_equal(read_chw[0, 0], np.repeat(np.arange(1, 51), 8))
    assert len(list(Path("/proc/self/fd").iterdir())) - before <= 32
    reader.close()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_bands_in_files_of_their_own_at_other_resolutions(write_raster: WriteRaster, rgb: Imagery) -> None:
    rng = np.random.default_rng(1)
    red_hw, blue_hw = rng.integers(1, 256, (2, 40, 60)).astype(np.uint8)
    green_hw = rng.integers(1, 256, (20, 30)).astype(np.uint8)
    files = [
        write_raster(red_hw[None], "red.tif", nodata=0),
        write_raster(green_hw[None], "green.tif", transform=Affine(2, 0, WEST, 0, -2, NORTH), nodata=0),
        write_raster(blue_hw[None], "blue.tif", nodata=0),
    ]
    region = region_of([SceneSource(tuple(map(str, files)))], rgb, "nearest-centre")
    assert region.grid.window.shape == (40, 60)
    image_chw, valid_hw = RegionReader(region).read(region.grid.window)
    assert valid_hw.all()
    assert np.array_equal(image_chw[0], red_hw)
    assert np.array_equal(image_chw[2], blue_hw)
    # Twice as fine, linear between pixel centres: three quarters from the pixel that it lies in.
    inner = green_hw.astype(np.float32)
    expected = 0.75 * (0.75 * inner[5, 7] + 0.25 * inner[5, 8]) + 0.25 * (0.75 * inner[6, 7] + 0.25 * inner[6, 8])
    assert image_chw[1, 11, 15] == pytest.approx(expected, abs=1e-3)


# Middles at 179.9999 and -179.9999, or thereabouts, in degrees east or west and in the UTM zone of each side.
ACROSS = {
    "one east, one west": (("EPSG:4326", 179.9996), ("EPSG:4326", -180.0003)),
    "one west, one east": (("EPSG:4326", -180.0004), ("EPSG:4326", 179.9997)),
    "both east": (("EPSG:4326", 179.9996), ("EPSG:4326", 179.9997)),
    "metres east, degrees west": (("EPSG:32660", 179.9996), ("EPSG:4326", -180.0003)),
    "degrees east, metres west": (("EPSG:4326", 179.9996), ("EPSG:32601", -180.0003)),
    "metres": (("EPSG:32660", 179.9996), ("EPSG:32601", -180.0003)),
}


@pytest.mark.parametrize("places", ACROSS.values(), ids=ACROSS)
def test_the_nearest_middle_is_that_across_the_antimeridian(
    write_raster: WriteRaster, rgb: Imagery, places: tuple[tuple[str, float], ...]
) -> None:
    """Against pyproj, pixel by pixel, with all longitudes around 180."""
    transforms, sources = [], []
    for number, (crs, lon) in enumerate(places):
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, 10 - 5e-5 * number)
        side = 1e-5 if crs == "EPSG:4326" else 1.0
        transforms.append(Affine(side, 0, lon if crs == "EPSG:4326" else x, 0, -side, y))
        image_chw = np.random.default_rng(number).integers(1, 256, (3, 40, 60)).astype(np.uint8)
        path = write_raster(image_chw, f"{number}.tif", crs=crs, transform=transforms[-1])
        sources.append(SceneSource((str(path),)))
    region = survey(sources, rgb, SceneOptions(resolution="native", crs="EPSG:4326")).region
    assert max(region.grid.window.shape) < 120
    assert [scene.name for scene in region.scenes] == ["0.tif", "1.tif"]
    if {crs for crs, _ in places} == {"EPSG:4326"}:
        # They are on one lattice, a whole turn apart or not: pixels are read as they are.
        assert all(scene.parts[0].warp is None for scene in region.scenes)
    t = region.grid.transform
    rows, cols = np.mgrid[: region.grid.height, : region.grid.width]
    lon, lat = (t.c + t.a * (cols + 0.5)) % 360, t.f + t.e * (rows + 0.5)
    apart, unclear_hw, outside = [], np.zeros(lon.shape, np.bool_), 1e9
    for scene, (crs, _), transform in zip(region.scenes, places, transforms, strict=True):
        to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        middle_lon, middle_lat = to_degrees.transform(*(transform @ (30, 20)))
        middle_col, middle_row = (middle_lon % 360 - t.c % 360) / t.a, (middle_lat - t.f) / t.e
        assert scene.centre_rc == pytest.approx((middle_row, middle_col), abs=1e-3)
        assert scene.window.row < scene.centre_rc[0] < scene.window.row_stop
        assert scene.window.col < scene.centre_rc[1] < scene.window.col_stop
        x, y = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform(lon, lat)
        if crs == "EPSG:4326":
            x = lon + transform.c - transform.c % 360
        col, row = ~transform @ (x, y)
        inside_hw = (col >= 0) & (col <= 60) & (row >= 0) & (row <= 40)
        edge_px = np.minimum(np.minimum(np.abs(col), np.abs(col - 60)), np.minimum(np.abs(row), np.abs(row - 40)))
        unclear_hw |= edge_px < 2e-3
        apart.append(np.where(inside_hw, np.hypot(cols + 0.5 - middle_col, rows + 0.5 - middle_row), outside))
    nearest_hw = np.where(np.min(apart, axis=0) < outside, np.argmin(apart, axis=0), NO_SCENE)
    unclear_hw |= (np.min(apart, axis=0) < outside) & (np.abs(apart[0] - apart[1]) < 2e-3)
    assert unclear_hw.mean() < 0.02
    reader = RegionReader(region)
    sources_hw = reader.sources(region.grid.window)
    assert np.array_equal(sources_hw[~unclear_hw], nearest_hw[~unclear_hw])
    assert min((sources_hw == number).mean() for number in range(2)) > 0.25
    reader.close()
