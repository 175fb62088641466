"""Shapes: PoLiS, rotation and vertices of cases with known answers, and what holds of all."""

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.affinity import rotate, translate

from geoseg.scores.shapes import orientation_deg, polis_m, rotation_error_deg, shape_figures, vertex_counts


def array(*shapes: shapely.Geometry) -> NDArray[np.object_]:
    found = np.empty(len(shapes), object)
    found[:] = shapes
    return found


L_SHAPE = shapely.Polygon([(0, 0), (20, 0), (20, 8), (8, 8), (8, 14), (0, 14)])
COURT = shapely.Polygon(shapely.box(0, 0, 20, 12).exterior, [shapely.box(8, 4, 12, 8).exterior])
SHAPES = st.sampled_from(
    [shapely.box(0, 0, 10, 4), L_SHAPE, COURT, shapely.MultiPolygon([shapely.box(0, 0, 5, 3)])]
)


def polis_one_by_one(one: shapely.Geometry, other: shapely.Geometry) -> float:
    """Equation 3 of Avbelj et al. as it stands, with loops."""
    total = 0.0
    for here, there in ((one, other), (other, one)):
        rings = [ring for part in shapely.get_parts(here) for ring in (part.exterior, *part.interiors)]
        vertices = [shapely.Point(xy) for ring in rings for xy in ring.coords[:-1]]
        total += sum(vertex.distance(there.boundary) for vertex in vertices) / (2 * len(vertices))
    return total


@settings(max_examples=20)
@given(one=SHAPES, other=SHAPES, angle=st.floats(0, 360), dx=st.floats(-5, 5))
def test_polis_is_its_definition_and_symmetric(
    one: shapely.Geometry, other: shapely.Geometry, angle: float, dx: float
) -> None:
    moved = translate(rotate(other, angle), dx)
    both = polis_m(array(one, moved), array(moved, one))
    assert both[0] == pytest.approx(polis_one_by_one(one, moved))
    assert both[0] == pytest.approx(both[1])
    assert polis_m(array(moved), array(moved)) == pytest.approx([0])


def test_polis_of_long_outlines_is_its_definition() -> None:
    one = shapely.Point(0, 0).buffer(10, quad_segs=40)
    other = shapely.Point(3, 0).buffer(9, quad_segs=60) - shapely.box(1, 1, 4, 3)
    assert polis_m(array(one, COURT), array(other, COURT))[0] == pytest.approx(polis_one_by_one(one, other))


def test_a_square_within_a_square_has_its_polis_by_hand() -> None:
    outer, inner = shapely.box(0, 0, 10, 10), shapely.box(2, 2, 8, 8)
    # From the outer corners sqrt(8), from the inner ones 2 m to the nearest side; half of each.
    assert polis_m(array(outer), array(inner)) == pytest.approx([(math.sqrt(8) + 2) / 2])


@settings(max_examples=20)
@given(shape=SHAPES, angle=st.floats(-360, 360), turned=st.floats(-180, 180))
def test_rotation_is_what_a_shape_was_turned_by(shape: shapely.Geometry, angle: float, turned: float) -> None:
    one = rotate(shape, angle)
    expected = min(turned % 90, 90 - turned % 90)
    assert rotation_error_deg(array(one), array(rotate(one, turned))) == pytest.approx([expected], abs=1e-6)


def test_orientation_is_of_the_rectangle_around() -> None:
    assert orientation_deg(array(rotate(L_SHAPE, 30), rotate(L_SHAPE, 100))) == pytest.approx([30, 10])


def test_vertices_are_counted_without_those_that_close_rings() -> None:
    two = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 0, 3, 1)])
    assert vertex_counts(array(L_SHAPE, COURT, two)).tolist() == [6, 8, 8]


def test_figures_of_pairs_and_of_none() -> None:
    square = shapely.box(0, 0, 10, 10)
    figures = shape_figures(array(square, translate(square, 1)), array(square, square))
    assert figures["shape_pairs"] == 2
    # Two corners of each square lie on the other's sides, two 1 m away: 0.5 m for one pair, 0 for the other.
    assert figures["polis_m_mean"] == pytest.approx(0.25)
    assert figures["polis_m_median"] == pytest.approx(0.25)
    assert figures["rotation_error_deg_median"] == pytest.approx(0)
    assert figures["vertex_ratio"] == 1
    nothing = shape_figures(array(), array())
    assert nothing.pop("shape_pairs") == 0
    assert set(nothing.values()) == {None}
