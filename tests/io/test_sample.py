"""A look at a few windows: nodata, damage, and numbers that the model does not know."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.imagery import Imagery
from geoseg.io.sample import Sample, sample_scene
from geoseg.io.scene import describe_scene

WriteRaster = Callable[..., Path]


def test_a_small_scene_is_measured_whole(write_raster: WriteRaster, rgb: Imagery) -> None:
    image_chw = np.random.default_rng(0).integers(1, 256, (3, 90, 120)).astype(np.uint8)
    image_chw[:, :30] = 0
    sample = sample_scene(describe_scene(str(write_raster(image_chw, nodata=0)), rgb))
    assert sample.valid_share == pytest.approx(2 / 3)
    assert sample.mean == pytest.approx(image_chw[:, 30:].mean(axis=(1, 2)))
    assert sample.std == pytest.approx(image_chw[:, 30:].std(axis=(1, 2)))
    assert not sample.damage


@given(st.floats(0, 255), st.floats(0, 200))
def test_what_lies_far_from_the_training_data_is_doubted(mean: float, std: float) -> None:
    known = Imagery(("grey",), "uint8", (0, 255), (100.0,), (40.0,), 1.0)
    doubt = Sample(1.0, (mean,), (std,)).doubt(known)
    assert bool(doubt) == (abs(mean - 100) > 80 or std > 120)
    assert "grey" in doubt or not doubt


def test_a_scene_without_data_raises_no_doubt(write_raster: WriteRaster, rgb: Imagery) -> None:
    sample = sample_scene(describe_scene(str(write_raster(np.zeros((3, 40, 40), np.uint8), nodata=0)), rgb))
    assert sample.valid_share == 0
    assert not sample.doubt(rgb)


def test_windows_that_cannot_be_read_are_told_and_the_rest_is_measured(
    write_raster: WriteRaster, rgb: Imagery
) -> None:
    image_chw = np.random.default_rng(1).integers(100, 110, (3, 600, 600)).astype(np.uint8)
    path = write_raster(image_chw, tiled=True, blockxsize=128, blockysize=128, compress="deflate")
    ref = describe_scene(str(path), rgb)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 20000] = bytes(20000)
    path.write_bytes(content)
    sample = sample_scene(ref)
    assert "cannot be read" in sample.damage
    assert sample.mean == pytest.approx((104.5,) * 3, abs=0.5)
