import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.simplify import renode
from geoseg.vectorize.smooth import smooth

NO_NODES = np.empty((0, 2), np.int64)
classes_hw_arrays = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=10), elements=st.sampled_from([0, 1, 2, 255])
)
CORNERS = np.array([[0, 255, 1], [255, 0, 255], [0, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0]], np.uint8)


def smoothed(classes_hw: NDArray[np.uint8], angular: int = 254) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Noded outlines before and after; those of one class keep their corners."""
    rings, first = trace(classes_hw, Window(0, 0, *classes_hw.shape))
    noded = renode(rings.polygons(), NO_NODES)
    return noded, smooth(Rings.of(noded), classes_hw.reshape(-1)[first] == angular).polygons()


@settings(max_examples=60, deadline=None)
@given(classes_hw_arrays, st.integers(1, 3), st.sampled_from([0, 254]))
@example(CORNERS, 1, 254)
def test_a_smoothed_coverage_is_a_coverage_of_the_same_ground(
    classes_hw: NDArray[np.uint8], scale: int, angular: int
) -> None:
    before, after = smoothed(np.kron(classes_hw, np.ones((scale, scale), np.uint8)), angular)
    assert shapely.coverage_is_valid(after)
    assert shapely.is_valid(after).all()
    assert (shapely.get_num_interior_rings(after) == shapely.get_num_interior_rings(before)).all()
    # What has no data keeps its edges, and so does the edge of the whole.
    assert shapely.union_all(before).symmetric_difference(shapely.union_all(after)).area == 0
    # Each corner moves by less than half a pixel and takes an eighth of one with it.
    corners = shapely.get_num_coordinates(before)
    assert (np.abs(shapely.area(after) - shapely.area(before)) <= corners / 8).all()
    assert all(a.hausdorff_distance(b) <= 0.36 for a, b in zip(before, after, strict=True))


def test_a_slanted_staircase_becomes_a_line_through_the_middles_of_its_steps() -> None:
    _, (upper, lower) = smoothed(np.tri(16, dtype=np.uint8))
    common = shapely.intersection(upper, lower)
    # Half a side at either end is straight.
    assert shapely.line_merge(common).simplify(1e-9).length == pytest.approx(14.5 * np.sqrt(2) + 1)


@given(classes_hw_arrays)
@settings(max_examples=40, deadline=None)
def test_what_keeps_its_corners_is_not_changed(classes_hw: NDArray[np.uint8]) -> None:
    rings, first = trace(classes_hw, Window(0, 0, *classes_hw.shape))
    before, after = smoothed(classes_hw, 1)
    is_kept = classes_hw.reshape(-1)[first] == 1
    assert shapely.equals_exact(before[is_kept], after[is_kept], normalize=True).all()
    assert len(rings.count) == len(after)


def test_nothing_smoothed_is_nothing() -> None:
    nothing = Rings.of(np.empty(0, object))
    assert len(smooth(nothing, np.empty(0, bool)).count) == 0
