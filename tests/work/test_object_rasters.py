"""The objects of a run as rasters of dense numbers, beside numpy's own renumbering."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from object_field import Field, by_first_pixel
from rio_cogeo.cogeo import cog_validate

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window
from geoseg.tiling import Block
from geoseg.work.object_rasters import write_object_rasters

TRANSFORM = Affine(0.5, 0, 314047, 0, -0.5, 2775758)
THINGS = frozenset({0})


def blocks_of(height: int, width: int, side: int) -> list[Block]:
    return [
        Block(i // side, j // side, Window(i, j, min(side, height - i), min(side, width - j)))
        for i in range(0, height, side)
        for j in range(0, width, side)
    ]


@given(
    groups_hw=hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 9)),
    side=st.integers(3, 50),
    data=st.data(),
)
@settings(max_examples=25)
def test_numbers_are_places_in_the_order_of_ids(
    groups_hw: NDArray[np.uint8], side: int, data: st.DataObject
) -> None:
    height, width = groups_hw.shape
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
    grid, field = Grid("EPSG:32640", TRANSFORM, height, width), Field(by_first_pixel(groups_hw), THINGS)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "numbers.tif"
        count = write_object_rasters([(path, window)], grid, blocks_of(height, width, side), field, "abc")
        with rasterio.open(path) as dataset:
            number_hw = dataset.read(1)
            assert (dataset.dtypes, dataset.nodata) == (("uint32",), 0)
            assert dataset.transform == grid.part(window).transform
    ids = np.unique(field.ids_hw[field.ids_hw > 0])
    assert count == len(ids)
    expected_hw = np.where(field.ids_hw > 0, np.searchsorted(ids, field.ids_hw) + 1, 0)
    at = window.slices_in(grid.window)
    np.testing.assert_array_equal(number_hw, expected_hw[at])


def test_a_large_raster_is_a_cog_of_numbers_that_there_are(tmp_path: Path) -> None:
    height, width = 2100, 1500
    groups_hw = np.zeros((height, width), np.uint8)
    groups_hw[100:900, 200:1400] = 1
    groups_hw[1000:2090, 300:700] = 2
    field, path = Field(by_first_pixel(groups_hw), THINGS), tmp_path / "numbers.tif"
    grid = Grid("EPSG:32640", TRANSFORM, height, width)
    assert write_object_rasters([(path, grid.window)], grid, blocks_of(height, width, 512), field, "abc") == 2
    assert cog_validate(path, strict=True) == (True, [], [])
    with rasterio.open(path) as dataset:
        assert dataset.tags()["GEOSEG_RUN"] == "abc"
        overview_hw = dataset.read(1, out_shape=(height // 2, width // 2))
        # Never a mean of two objects' numbers.
        assert set(np.unique(overview_hw).tolist()) == {0, 1, 2}
    assert [one.name for one in tmp_path.iterdir()] == ["numbers.tif"]


def test_more_objects_than_numbers_are_refused(tmp_path: Path) -> None:
    field = Field(by_first_pixel(np.arange(12).reshape(3, 4)), THINGS)
    grid, place = Grid("EPSG:32640", TRANSFORM, 3, 4), tmp_path / "numbers.tif"
    with pytest.raises(GeosegError, match=r"expected at most 10 objects, .* got 11: map parts of the region"):
        write_object_rasters([(place, grid.window)], grid, blocks_of(3, 4, 2), field, "abc", most=10)
    with pytest.raises(GeosegError, match=r"a class of kind thing, .* --format cog gives its classes"):
        write_object_rasters(
            [(place, grid.window)], grid, blocks_of(3, 4, 2), Field(field.ids_hw, frozenset()), "abc"
        )
    assert not list(tmp_path.iterdir())
