"""Parts of objects in blocks, joined, against the outlines of the whole raster."""

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.vectorize.joining import join
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.rings import Rings

mask_hw_arrays = hnp.arrays(
    np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.sampled_from([True, True, False])
)


def parts_of(
    labels_hw: NDArray[np.int32], block_px: tuple[int, int], order: NDArray[np.int64] | None = None
) -> tuple[Rings, NDArray[np.int64]]:
    """The parts that blocks, in some order, have of labelled objects, and of which object each is."""
    height, width = labels_hw.shape
    windows = [
        Window(row, col, min(block_px[0], height - row), min(block_px[1], width - col))
        for row in range(0, height, block_px[0])
        for col in range(0, width, block_px[1])
    ]
    whole = Window(0, 0, height, width)
    rings, ids = [], [np.empty(0, np.int64)]
    for number in np.arange(len(windows)) if order is None else np.argsort(order[: len(windows)]):
        part_hw = labels_hw[windows[number].slices_in(whole)]
        found, place = trace(np.where(part_hw > 0, np.uint8(7), np.uint8(255)), windows[number])
        rings.append(found)
        ids.append(part_hw.reshape(-1)[place].astype(np.int64))
    return Rings.concatenate(rings), np.concatenate(ids)


def check(mask_hw: NDArray[np.bool_], block_px: tuple[int, int], order: NDArray[np.int64] | None = None) -> None:
    labels_hw = np.asarray(ndimage.label(mask_hw)[0], np.int32)
    ids, rings = join(*parts_of(labels_hw, block_px, order), block_px)
    expected = {
        int(label): shapely.geometry.shape(geometry).normalize().wkb
        for geometry, label in rasterio.features.shapes(labels_hw, mask=mask_hw, connectivity=4)
    }
    polygons = shapely.normalize(rings.polygons())
    assert dict(zip(ids.tolist(), shapely.to_wkb(polygons).tolist(), strict=True)) == expected


@settings(max_examples=200)
@given(mask_hw_arrays, st.integers(1, 9), st.integers(1, 9), st.permutations(range(400)))
def test_joined_parts_are_the_objects_of_the_whole(
    mask_hw: NDArray[np.bool_], height: int, width: int, order: list[int]
) -> None:
    check(mask_hw, (height, width), np.array(order))


@pytest.mark.parametrize("share", [0.45, 0.59, 0.65, 0.8])
@pytest.mark.parametrize("block_px", [(1, 1), (7, 16), (32, 5), (64, 300)])
def test_large_tangles_are_joined(share: float, block_px: tuple[int, int]) -> None:
    """Objects that leave a block and come back, so that two parts in it have only a corner in common."""
    check(np.random.default_rng(3).random((130, 170)) < share, block_px)


def test_nothing_joined_is_nothing() -> None:
    ids, rings = join(*parts_of(np.zeros((3, 4), np.int32), (2, 2)), (2, 2))
    assert len(ids) == len(rings.polygons()) == 0


@pytest.mark.parametrize("apart", [1, 2])
def test_parts_that_do_not_share_an_edge_are_refused(apart: int) -> None:
    parts = shapely.box([0, apart], [0, apart], [1, apart + 1], [1, apart + 1], ccw=False)
    with pytest.raises(ValueError, match="object 5 "):
        join(Rings.of(shapely.reverse(parts)), np.array([5, 5]), (1, 1))
