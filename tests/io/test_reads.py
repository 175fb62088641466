"""What a run decodes of its files: as the plan says, counted, and no more than GDAL keeps."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.env import Env, get_gdal_config

from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.decoding import decoding
from geoseg.io.reads import Reads
from geoseg.io.region import Region, RegionReader
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.pixels import BlockPixels
from geoseg.tiling import BlockPlan, Lattice
from tests.conftest import WriteRaster

NATIVE = SceneOptions(resolution="native")


@pytest.mark.parametrize(
    ("block_shape", "block_px", "least", "most"),
    [
        # A column of blocks goes down the file once, whatever its blocks.
        ((1, 3000), (512, 3072), 1, 1),
        ((256, 256), (512, 3072), 1, 1),
        # Strips lie under every column.
        ((1, 3000), (512, 1024), 2.9, 3.1),
        ((256, 256), (512, 1024), 1.5, 1.5),
    ],
)
def test_how_often_the_same_bytes_are_decoded(
    write_raster: WriteRaster,
    rgb: Imagery,
    block_shape: tuple[int, int],
    block_px: tuple[int, int],
    least: float,
    most: float,
) -> None:
    ref = describe_scene(str(write_raster(np.full((3, 8, 8), 9, np.uint8))), rgb, NATIVE)
    grid = Grid(ref.grid.crs, Affine(1, 0, 320000, 0, -1, 2770000), 2600, 3000)
    block_bytes = block_shape[0] * block_shape[1] * 4
    ref = replace(
        ref, grid=grid, source_height=2600, source_width=3000, block_shape=block_shape, block_bytes=block_bytes
    )
    region, blocks = Region.of(ref, "scene"), BlockPlan(2600, 3000, Lattice(512, 128), 512, block_px)
    reads = Reads.of(region, blocks)
    assert least <= reads.amplification(reads.cache_mib(128)) <= most
    part = Reads.of(region, replace(blocks, covered=(Window(600, 700, 10, 10),)))
    assert part.amplification(part.cache_mib(128)) == 1
    assert part.cache_mib(128) <= reads.cache_mib(128)


@given(steps=st.lists(st.tuples(st.integers(0, 2**30), st.floats(0, 1)), min_size=1), most=st.integers(1, 2000))
def test_a_larger_cache_never_decodes_more(steps: list[tuple[int, float]], most: int) -> None:
    reads = Reads(2**20, tuple((whole, int(share * whole)) for whole, share in steps))
    times = [reads.amplification(cache_mib) for cache_mib in (0, 1, 10, 100, 1000, 10000)]
    assert all(before >= after for before, after in pairwise(times))
    cache_mib = reads.cache_mib(most)
    assert cache_mib <= max(most, 16)
    if cache_mib < most:  # it was not cut short, and nothing that is shared is decoded twice
        assert reads.amplification(cache_mib) == times[-1]


@pytest.mark.parametrize("interleave", ["pixel", "band"])
@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_read_of_a_file_is_what_the_plan_says(
    write_raster: WriteRaster, rgb: Imagery, interleave: str, threads: int
) -> None:
    image_chw = np.random.default_rng(0).integers(0, 256, (3, 6000, 2800)).astype(np.uint8)
    layout = {"tiled": True, "blockxsize": 256, "blockysize": 256, "interleave": interleave, "nodata": 0}
    path = write_raster(image_chw, **layout)
    region = Region.of(describe_scene(str(path), rgb, NATIVE), "scene")
    blocks = BlockPlan(6000, 2800, Lattice(256, 64), 256, (256, 1536))
    reads = Reads.of(region, blocks)
    cache_mib = reads.cache_mib(1000)
    assert cache_mib < 30  # of 48 MiB
    planned = reads.amplification(cache_mib)
    assert 1 < planned < 1.3  # the blocks of the file between the two columns
    # The raster's own bytes: files of noise do not compress, and what was decoded was read.
    whole = path.stat().st_size
    assert bytes_read(region, rgb, blocks, cache_mib, threads) / whole == pytest.approx(planned, rel=0.03)
    assert bytes_read(region, rgb, blocks, 1, threads) / whole > 1.2 * planned


def bytes_read(region: Region, imagery: Imagery, blocks: BlockPlan, cache_mib: int, threads: int) -> int:
    """What this process reads of files, from the kernel's books, for all blocks as a worker does them."""
    with decoding(cache_mib, threads):
        before = read_so_far()
        reader = RegionReader(region)
        for block in sorted(blocks, key=lambda block: (block.j, block.i)):
            BlockPixels.read(reader, imagery, blocks, block, whole=block.i == 0)
        reader.close()
        return read_so_far() - before


def read_so_far() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_the_process_keeps_what_it_kept_before() -> None:
    with Env():
        before = get_gdal_config("GDAL_CACHEMAX")
    with decoding(20, 3):
        assert get_gdal_config("GDAL_CACHEMAX") == 20 * 2**20
        assert get_gdal_config("GDAL_NUM_THREADS") == 3
    with Env():
        assert get_gdal_config("GDAL_CACHEMAX") == before
        assert get_gdal_config("GDAL_NUM_THREADS") in (None, 1)
