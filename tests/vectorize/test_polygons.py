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
from geoseg.vectorize.polygons import dissolve, trace

values_hw_arrays = hnp.arrays(
    np.int32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 0, 1, 2])
)
mask_hw_arrays = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def by_rasterio(values_hw: NDArray[np.int32], mask_hw: NDArray[np.bool_]) -> set[tuple[int, bytes]]:
    shapes = rasterio.features.shapes(values_hw, mask=mask_hw, connectivity=4)
    return {(int(value), shapely.geometry.shape(geometry).normalize().wkb) for geometry, value in shapes}


def traced(
    values_hw: NDArray[np.int32], mask_hw: NDArray[np.bool_], window: Window
) -> tuple[NDArray[np.int32], NDArray[np.object_]]:
    rings, place = trace(np.where(mask_hw, values_hw, 255).astype(np.uint8), window)
    return values_hw.reshape(-1)[place], rings.polygons()


def check(values_hw: NDArray[np.int32], mask_hw: NDArray[np.bool_]) -> None:
    value, polygons = traced(values_hw, mask_hw, Window(0, 0, *values_hw.shape))
    assert {(v, p.normalize().wkb) for v, p in zip(value.tolist(), polygons, strict=True)} == by_rasterio(
        values_hw, mask_hw
    )
    assert len(polygons) == sum(ndimage.label(mask_hw & (values_hw == v))[1] for v in np.unique(values_hw))
    assert shapely.is_valid(polygons).all()


@settings(max_examples=200)
@given(values_hw_arrays, st.data())
def test_polygons_are_those_of_rasterio(values_hw: NDArray[np.int32], data: st.DataObject) -> None:
    mask_hw = data.draw(hnp.arrays(np.bool_, values_hw.shape, elements=st.sampled_from([True, True, True, False])))
    check(values_hw, mask_hw)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.59, 0.7, 0.9])
def test_polygons_of_large_tangles_are_those_of_rasterio(share: float) -> None:
    """Near a share of 0.59 one component winds through the whole, and meets itself at thousands of corners."""
    rng = np.random.default_rng(7)
    values_hw = (rng.random((230, 310)) < share).astype(np.int32)
    check(values_hw, np.ones(values_hw.shape, np.bool_))
    check(rng.integers(0, 3, (150, 170)).astype(np.int32), rng.random((150, 170)) < share)


@given(mask_hw_arrays, st.integers(0, 1000), st.integers(0, 1000))
def test_polygons_stand_where_the_window_is(mask_hw: NDArray[np.bool_], row: int, col: int) -> None:
    values_hw = mask_hw.astype(np.int32)
    _, here = traced(values_hw, mask_hw, Window(0, 0, *mask_hw.shape))
    _, there = traced(values_hw, mask_hw, Window(row, col, *mask_hw.shape))
    assert shapely.equals_exact(shapely.transform(here, lambda xy: xy + np.array((col, row))), there).all()


def test_components_come_in_raster_order_of_their_first_pixels() -> None:
    values_hw = np.array([[7, 0, 7], [0, 7, 9]], np.int32)
    value, polygons = traced(values_hw, values_hw != 9, Window(0, 0, 2, 3))
    assert value.tolist() == [7, 0, 7, 0, 7]
    assert shapely.area(polygons).sum() == 5


@settings(max_examples=50, deadline=None)
@given(mask_hw_arrays)
def test_pixels_dissolve_into_the_components_that_they_form(mask_hw: NDArray[np.bool_]) -> None:
    labels_hw, count = ndimage.label(mask_hw)
    row, col = np.nonzero(mask_hw)
    ids, polygons = dissolve(shapely.box(col, row, col + 1, row + 1), labels_hw[row, col].astype(np.int64) * 10**12)
    assert ids.tolist() == [i * 10**12 for i in range(1, count + 1)]
    _, expected = traced(mask_hw.astype(np.int32), mask_hw, Window(0, 0, *mask_hw.shape))
    assert shapely.equals(polygons, expected).all()


def test_an_object_of_one_piece_is_passed_on_untouched() -> None:
    piece = shapely.Polygon([(0, 0), (1, 0), (2, 0), (2, 2), (0, 2)])
    _, polygons = dissolve(np.array([piece], object), np.array([7]))
    assert polygons[0] is piece


def test_pieces_that_touch_at_a_corner_only_are_refused() -> None:
    pieces = shapely.box([0, 1], [0, 1], [1, 2], [1, 2])
    with pytest.raises(ValueError, match="object 5 "):
        dissolve(pieces, np.array([5, 5]))
