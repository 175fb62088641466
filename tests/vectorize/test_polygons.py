import numpy as np
import pytest
import rasterio.features
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.vectorize.polygons import dissolve, straighten, trace

mask_hw_arrays = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def label(mask_hw: NDArray[np.bool_]) -> NDArray[np.int32]:
    labels_hw, _ = ndimage.label(mask_hw)
    return np.asarray(labels_hw, np.int32)


def outlines(labels_hw: NDArray[np.int32], row: int = 0, col: int = 0) -> NDArray[np.object_]:
    label, polygons = trace(labels_hw, labels_hw > 0, Window(row, col, *labels_hw.shape))
    assert sorted(label.tolist()) == list(range(1, labels_hw.max(initial=0) + 1))
    return polygons[np.argsort(label)]


@settings(max_examples=50, deadline=None)
@given(mask_hw_arrays, st.integers(0, 1000), st.integers(0, 1000))
def test_each_label_has_the_polygon_that_covers_its_pixels(mask_hw: NDArray[np.bool_], row: int, col: int) -> None:
    labels_hw = label(mask_hw)
    polygons = outlines(labels_hw, row, col)
    assert len(polygons) == labels_hw.max()
    assert shapely.is_valid(polygons).all()
    burnt_hw = np.zeros_like(labels_hw)
    for i, polygon in enumerate(polygons):
        moved = shapely.transform(polygon, lambda xy: xy - (col, row))
        rasterio.features.rasterize([(moved, i + 1)], out=burnt_hw)
    assert np.array_equal(burnt_hw, labels_hw)


def test_equal_values_apart_are_traced_apart_and_masked_pixels_not_at_all() -> None:
    values_hw = np.array([[7, 0, 7], [0, 7, 9]], np.int32)
    value, polygons = trace(values_hw, values_hw != 9, Window(0, 0, 2, 3))
    assert sorted(value.tolist()) == [0, 0, 7, 7, 7]
    assert shapely.area(polygons).sum() == 5


@settings(max_examples=50, deadline=None)
@given(mask_hw_arrays)
def test_pixels_dissolve_into_the_components_that_they_form(mask_hw: NDArray[np.bool_]) -> None:
    labels_hw = label(mask_hw)
    row, col = np.nonzero(mask_hw)
    pixels = shapely.box(col, row, col + 1, row + 1)
    label_of_pixel = labels_hw[row, col].astype(np.int64)
    ids, polygons = dissolve(pixels, label_of_pixel * 10**12, exact=True)
    assert ids.tolist() == [i * 10**12 for i in range(1, labels_hw.max() + 1)]
    expected = outlines(labels_hw)
    assert shapely.equals_exact(shapely.normalize(polygons), shapely.normalize(expected)).all()


def test_an_object_of_one_piece_is_passed_on_untouched() -> None:
    piece = shapely.Polygon([(0, 0), (1, 0), (2, 0), (2, 2), (0, 2)])
    _, polygons = dissolve(np.array([piece], object), np.array([7]), exact=True)
    assert polygons[0] is piece


def test_pieces_that_touch_at_a_corner_only_are_refused() -> None:
    pieces = shapely.box([0, 1], [0, 1], [1, 2], [1, 2])
    with pytest.raises(ValueError, match="object 5 "):
        dissolve(pieces, np.array([5, 5]), exact=True)


@settings(max_examples=50, deadline=None)
@given(mask_hw_arrays, st.data())
def test_straightening_undoes_added_vertices(mask_hw: NDArray[np.bool_], data: st.DataObject) -> None:
    polygons = outlines(label(mask_hw))
    step = data.draw(st.sampled_from([0.5, 1, 3]))
    straight = straighten(shapely.segmentize(polygons, step))
    assert shapely.equals_exact(straight, polygons).all()


def test_a_ring_that_starts_in_the_middle_of_a_line_loses_that_vertex() -> None:
    ring = [(1, 0), (2, 0), (2, 2), (0, 2), (0, 0)]
    straight = straighten(np.array([shapely.Polygon(ring)], object))
    assert shapely.get_coordinates(straight).tolist() == [[2, 0], [2, 2], [0, 2], [0, 0], [2, 0]]
