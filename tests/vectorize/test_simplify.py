import math

import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.simplify import renode, simplify

# 255 leaves gaps; scaled up, so that there are long edges and T-junctions in their middle.
classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=10),
    elements=st.sampled_from([0, 1, 2, 255]),
)
CORNERS = np.array([[0, 255, 1], [255, 0, 255], [0, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)
NO_NODES = np.empty((0, 2), np.int64)
SELF_TOUCHING = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 0]], np.uint8)


def outlines(classes_hw: NDArray[np.uint8]) -> NDArray[np.object_]:
    rings, _ = trace(classes_hw, Window(0, 0, *classes_hw.shape))
    return rings.polygons()


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays, st.integers(1, 3), st.integers(1, 3))
@example(CORNERS, 1, 1)
@example(SELF_TOUCHING, 2, 3)
def test_renoded_outlines_are_the_same_shapes_and_a_valid_coverage(
    classes_hw: NDArray[np.uint8], down: int, across: int
) -> None:
    polygons = outlines(np.kron(classes_hw, np.ones((down, across), np.uint8)))
    noded = renode(polygons, NO_NODES)
    assert shapely.coverage_is_valid(noded)
    assert shapely.equals(noded, polygons).all()


def test_the_long_side_of_a_junction_gets_its_vertex_in_order() -> None:
    long_side = shapely.Polygon([(0, 0), (0, 1), (6, 1), (6, 0)])
    below = shapely.box([0, 1, 3], [1, 1, 1], [1, 3, 6], [2, 2, 2])
    for reverse in (False, True):
        first = shapely.reverse(long_side) if reverse else long_side
        noded = renode(np.array([first, *below], object), NO_NODES)
        x = shapely.get_coordinates(noded[0])
        x = x[x[:, 1] == 1][:, 0]
        assert x.tolist() == ([6, 3, 1, 0] if reverse else [0, 1, 3, 6])


@settings(max_examples=50, deadline=None)
@given(
    classes_hw_arrays, st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.5, math.sqrt(0.5), 1.0, 2.0, 10.0])
)
@example(CORNERS, 1, 1, 1.0)
@example(SELF_TOUCHING, 2, 3, 10.0)
def test_simplified_outlines_are_a_valid_coverage_of_about_the_same_areas(
    classes_hw: NDArray[np.uint8], down: int, across: int, tolerance_px: float
) -> None:
    polygons = outlines(np.kron(classes_hw, np.ones((down, across), np.uint8)))
    simplified = simplify(polygons, tolerance_px, NO_NODES)
    assert len(simplified) == len(polygons)
    assert shapely.coverage_is_valid(simplified)
    assert shapely.is_valid(simplified).all()
    assert (shapely.area(simplified) > 0).all()
    assert (shapely.get_num_interior_rings(simplified) == shapely.get_num_interior_rings(polygons)).all()
    # Each vertex that goes takes away or adds one triangle.
    gone = shapely.get_num_coordinates(renode(polygons, NO_NODES)) - shapely.get_num_coordinates(simplified)
    change_px2 = np.abs(shapely.area(simplified) - shapely.area(polygons))
    assert (change_px2 <= gone * tolerance_px**2 + 1e-9).all()


def test_steps_become_slanted_lines_and_neighbours_keep_their_common_line() -> None:
    classes_hw = np.tri(12, dtype=np.uint8)
    simplified = simplify(outlines(classes_hw), 1.0, NO_NODES)
    assert shapely.get_num_coordinates(simplified).sum() < 20
    assert shapely.area(simplified).sum() == pytest.approx(144)
    assert shapely.area(shapely.intersection(*simplified)) == 0


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays, st.integers(1, 3), st.sampled_from([1.0, 10.0]))
def test_the_edges_of_the_whole_stay_as_they_are(
    classes_hw: NDArray[np.uint8], scale: int, tolerance_px: float
) -> None:
    polygons = outlines(np.kron(classes_hw, np.ones((scale, scale), np.uint8)))
    simplified = simplify(polygons, tolerance_px, NO_NODES)
    before, after = shapely.union_all(polygons), shapely.union_all(simplified)
    assert before.symmetric_difference(after).area == 0


def test_further_points_become_vertices_of_the_edges_that_they_lie_on() -> None:
    square = np.array([shapely.box(2, 2, 6, 6)], object)
    points = np.array([[3, 2], [6, 5], [2, 2], [0, 0]])
    for noded in (renode(square, points), simplify(square, 10, points)):
        assert {(3, 2), (6, 5)} < {tuple(xy) for xy in shapely.get_coordinates(noded).tolist()}
        assert shapely.get_num_coordinates(noded).tolist() == [7]


def test_nothing_simplified_is_nothing() -> None:
    nothing = np.empty(0, object)
    assert len(simplify(nothing, 1, NO_NODES)) == 0
    assert len(renode(nothing, NO_NODES)) == 0
