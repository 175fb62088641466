from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.agreement import compare_rasters, likeness
from geoseg.commands.agreement import agreement
from geoseg.errors import GeosegError, SceneError

WriteRaster = Callable[..., Path]

WEST, NORTH = 320000, 2770000


def by_sets(one_hw: NDArray[np.uint8], other_hw: NDArray[np.uint8]) -> dict[str, float]:
    """IoU by value, from the sets of pixels that have it; 0 is nodata."""
    known_hw = (one_hw > 0) & (other_hw > 0)
    found = {}
    for value in np.union1d(one_hw[known_hw], other_hw[known_hw]).tolist():
        first, second = known_hw & (one_hw == value), known_hw & (other_hw == value)
        found[str(value)] = float((first & second).sum() / (first | second).sum())
    return found


@given(st.integers(0, 2**16), st.integers(-20, 20), st.integers(-20, 20))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_rasters_agree_as_their_sets_of_pixels_do(
    write_raster: WriteRaster, seed: int, row: int, col: int
) -> None:
    rng = np.random.default_rng(seed)
    one_hw = rng.integers(0, 4, (40, 50)).astype(np.uint8)
    other_hw = rng.integers(0, 4, (30, 45)).astype(np.uint8)
    place = Affine(1, 0, WEST + col, 0, -1, NORTH - row)
    first, second = write_raster(one_hw[None], nodata=0), write_raster(other_hw[None], nodata=0, transform=place)
    # The second put where it lies on the pixels of the first.
    laid_hw = np.zeros((120, 140), np.uint8)
    laid_hw[40 + row : 70 + row, 40 + col : 85 + col] = other_hw
    found = likeness(*compare_rasters(str(first), str(second)))
    assert found.iou == pytest.approx(by_sets(one_hw, laid_hw[40:80, 40:90]))
    other_way = likeness(*compare_rasters(str(second), str(first)))
    assert other_way.iou == pytest.approx(found.iou)
    assert other_way.pixels == found.pixels


def test_values_get_the_meaning_that_is_said(write_raster: WriteRaster) -> None:
    first = write_raster(np.array([[[1, 1, 2, 3, 4]]], np.uint8), nodata=0)
    second = write_raster(np.array([[[1, 2, 2, 1, 3]]], np.uint8), nodata=0)
    values = ["--value", "1=roof", "--value", "2=ground", "--value", "4=ground", "--value", "3="]
    said = CliRunner().invoke(agreement, [str(first), str(second), *values], catch_exceptions=False).stdout
    assert [line.split() for line in said.splitlines()] == [
        ["class", "IoU", "px", "in", "first", "px", "in", "second"],
        ["roof", "0.500", "2", "1"],
        ["ground", "0.500", "1", "2"],
        ["mean", "IoU", "0.500", "on", "3", "px", "that", "both", "know"],
    ]


def test_rasters_that_cannot_be_compared_are_refused(write_raster: WriteRaster) -> None:
    first = write_raster(np.full((1, 9, 9), 1, np.uint8), nodata=0)
    other = write_raster(np.full((1, 9, 9), 2, np.uint8), nodata=0)
    far = write_raster(np.full((1, 9, 9), 1, np.uint8), transform=Affine(1, 0, WEST + 900, 0, -1, NORTH))
    without = write_raster(np.full((1, 9, 9), 1, np.uint8), crs=None, transform=None)
    heights = write_raster(np.full((1, 9, 9), 1.5, np.float32))
    empty = write_raster(np.zeros((1, 9, 9), np.uint8), nodata=0)
    with pytest.raises(SceneError, match="lies elsewhere than"):
        compare_rasters(str(first), str(far))
    with pytest.raises(SceneError, match="expected a raster with a place on earth"):
        compare_rasters(str(without), str(first))
    with pytest.raises(SceneError, match="expected a raster with a place on earth"):
        compare_rasters(str(first), str(without))
    with pytest.raises(SceneError, match="one band of whole numbers"):
        compare_rasters(str(first), str(heights))
    with pytest.raises(SceneError, match="holds the value 2: expected one of 1;"):
        compare_rasters(str(first), str(other), {1: "roof"})
    with pytest.raises(GeosegError, match="found none"):
        compare_rasters(str(first), str(empty))
    words = CliRunner().invoke(agreement, [str(first), str(other), "--value", "roof=1"])
    assert "expected --value NUMBER=CLASS" in str(words.exception)
