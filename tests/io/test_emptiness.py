"""Windows without data, told from overviews: never where there is any, and only where the file vouches for them."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from rasterio.windows import Window as RasterioWindow
from rio_cogeo.cogeo import cog_translate
from rio_cogeo.profiles import cog_profiles

from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.emptiness import is_empty, telling_overview
from geoseg.io.raster import SceneReader
from geoseg.io.scene import SceneOptions, describe_scene
from tests.conftest import WriteRaster

HEIGHT, WIDTH = 1203, 1541
BANDS = (1, 2, 3)


@pytest.fixture(scope="module")
def lonely(write_raster: WriteRaster) -> list[tuple[Path, set[tuple[int, int]]]]:
    """COGs with a few faint pixels on nothing, and where these are."""
    made = []
    for seed, (nodata, value) in enumerate([(0, 1), (255, 254), (0, 1)]):
        rng = np.random.default_rng(seed)
        image_chw = np.full((3, HEIGHT, WIDTH), nodata, np.uint8)
        places = set(zip(rng.integers(0, HEIGHT, 4).tolist(), rng.integers(0, WIDTH, 4).tolist(), strict=True))
        for row, col in places:
            image_chw[rng.integers(3), row, col] = value
        made.append((as_cog(write_raster(image_chw, f"{seed}.tif", nodata=nodata), "average"), places))
    return made


def as_cog(path: Path, resampling: Literal["average", "nearest"], profile: str = "deflate") -> Path:
    cog = path.with_name(f"{resampling}_{profile}_{path.name}")
    options = {**dict(cog_profiles[profile]), "blockxsize": 128, "blockysize": 128}
    cog_translate(path, cog, options, overview_level=4, overview_resampling=resampling, quiet=True)
    return cog


@given(data=st.data())
def test_no_window_with_data_is_taken_for_empty(
    lonely: list[tuple[Path, set[tuple[int, int]]]], data: st.DataObject
) -> None:
    path, places = data.draw(st.sampled_from(lonely))
    row, col = data.draw(st.integers(0, HEIGHT - 1)), data.draw(st.integers(0, WIDTH - 1))
    height, width = data.draw(st.integers(1, HEIGHT - row)), data.draw(st.integers(1, WIDTH - col))
    near, far = (
        any(
            row - away <= at_row < row + height + away and col - away <= at_col < col + width + away
            for at_row, at_col in places
        )
        for away in (0, 64)
    )
    with rasterio.open(path) as dataset:
        factor = telling_overview(dataset, BANDS)
        assert factor == 16
        empty = is_empty(dataset, BANDS, factor, RasterioWindow(col, row, width, height))
    assert not (empty and near)
    # Nor is much asked for around a window, wherever it is large enough.
    assert empty or far or min(height, width) < 128


def test_a_reader_gives_the_same_mask_with_and_without(
    lonely: list[tuple[Path, set[tuple[int, int]]]], rgb: Imagery
) -> None:
    for path, places in lonely:
        ref = describe_scene(str(path), rgb, SceneOptions(resolution="native"))
        assert ref.telling_overview == 16
        reader = SceneReader(ref)
        valid_hw = np.block(
            [[reader.read_valid(Window(row, col, 401, 67)) for col in range(0, WIDTH, 67)] for row in (0, 401, 802)]
        )
        reader.close()
        assert set(zip(*(axis.tolist() for axis in np.nonzero(valid_hw)), strict=True)) == places


def test_blocks_without_data_are_not_decoded(lonely: list[tuple[Path, set[tuple[int, int]]]], rgb: Imagery) -> None:
    path, _ = lonely[0]
    ref = describe_scene(str(path), rgb, SceneOptions(resolution="native"))
    damaged = path.with_name("damaged.tif")
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as dataset:
        # Every block of full resolution: whoever reads one fails.
        for i, j in np.ndindex(-(-HEIGHT // 128), -(-WIDTH // 128)):
            start, size = (
                int(dataset.get_tag_item(f"BLOCK_{item}_{j}_{i}", "TIFF", bidx=1)) for item in ("OFFSET", "SIZE")
            )
            content[start : start + size] = b"\xff" * size
    damaged.write_bytes(content)
    reader = SceneReader(describe_scene(str(damaged), rgb, SceneOptions(resolution="native")))
    assert reader.ref.telling_overview == ref.telling_overview
    empty = [Window(row, col, 128, 128) for row in range(0, 1024, 128) for col in range(0, 1408, 128)]
    told = 0
    for window in empty:
        try:
            told += not reader.read_valid(window).any()
        except SceneError:  # it was decoded
            continue
    reader.close()
    assert told > 0.6 * len(empty)


def test_only_averages_of_an_intact_cog_are_believed(write_raster: WriteRaster) -> None:
    image_chw = np.full((3, 300, 300), 7, np.uint8)
    plain = write_raster(image_chw, "plain.tif", nodata=0)

    def told(path: Path) -> int:
        with rasterio.open(path) as dataset:
            return telling_overview(dataset, BANDS)

    cog = as_cog(plain, "average")
    assert told(cog) == 16
    assert told(as_cog(plain, "nearest")) == 0
    assert told(as_cog(plain, "average", "jpeg")) == 0
    assert told(plain) == 0
    # Neither 0 nor 255: means of other values may be 7.
    assert told(as_cog(write_raster(image_chw, "seven.tif", nodata=7), "average")) == 0
    noise_chw = np.random.default_rng(0).integers(0, 256, image_chw.shape).astype(np.uint8)
    with rasterio.open(cog, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(noise_chw)
    assert told(cog) == 0
