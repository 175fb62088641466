import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.vectorize.fitting import Walls, cut_back, overlapping, splitting, stands_apart


def boxes(cells: list[tuple[int, int, float, float]]) -> NDArray[np.object_]:
    """Rectangles of at most 8 x 8 px, in cells of 10 px, of which each holds one at most."""
    return np.array([shapely.box(10 * i, 10 * j, 10 * i + 8, 10 * j + 8) for i, j, _, _ in cells], object)


cell_lists = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(-4, 4), st.floats(0.5, 1.5)),
    min_size=2,
    max_size=12,
    unique_by=lambda cell: cell[:2],
)


def walls_of(cells: list[tuple[int, int, float, float]]) -> Walls:
    before = boxes(cells)
    after = before.copy()
    for k, (_, _, shift, scale) in enumerate(cells):
        moved = shapely.affinity.translate(before[k], shift, -shift)
        after[k] = shapely.affinity.scale(moved, scale, 2 - scale)
    changed = np.array([shift > -3 for _, _, shift, _ in cells])
    after[~changed] = before[~changed]
    return Walls(np.arange(len(cells)), before, after, changed)


@settings(max_examples=80, deadline=None)
@given(cell_lists, st.integers(1, 12))
def test_what_stands_apart_overlaps_no_other_and_no_order_or_split_matters(
    cells: list[tuple[int, int, float, float]], own: int
) -> None:
    walls = walls_of(cells)
    apart = stands_apart(walls, walls.take(np.empty(0, np.int64)))
    assert not apart[~walls.changed].any()
    final = np.where(apart, walls.after, walls.before)
    one, other = np.triu_indices(len(final), 1)
    assert (shapely.area(shapely.intersection(final[one], final[other])) < 1e-9).all()
    # One that is far from all others stays changed.
    reach = [shapely.union(a, b) for a, b in zip(walls.before, walls.after, strict=True)]
    for k in range(len(cells)):
        others = [reach[n] for n in range(len(cells)) if n != k]
        if walls.changed[k] and shapely.distance(walls.after[k], shapely.union_all(others)) > 0:
            assert apart[k]
    mine, theirs = (
        walls.take(np.arange(min(own, len(walls)))),
        walls.take(np.arange(min(own, len(walls)), len(walls))),
    )
    assert stands_apart(mine, theirs).tolist() == apart[: len(mine)].tolist()


road_walls = st.lists(st.tuples(st.floats(1, 90), st.floats(-6, 6), st.floats(1, 12)), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(road_walls, st.floats(0, 30))
def test_a_road_is_cut_back_but_never_cut_in_two(spots: list[tuple[float, float, float]], least_px2: float) -> None:
    road = shapely.box(0, -3, 100, 3)
    walls = np.array([shapely.box(x, y - side / 2, x + side, y + side / 2) for x, y, side in spots], object)
    goes = splitting(road, walls, least_px2)
    left, cut_off = cut_back(road, walls[~goes]) if not goes.all() else (road, np.empty(0, object))
    assert shapely.get_type_id(left) == shapely.GeometryType.POLYGON
    assert shapely.area(left) + shapely.area(cut_off).sum() >= shapely.area(road) / 2
    assert (shapely.area(cut_off) < least_px2).all()
    rest = shapely.union_all([left, *cut_off, *walls[~goes]])
    assert shapely.area(shapely.difference(road, rest)) < 1e-9
    assert shapely.area(shapely.intersection(left, shapely.union_all(walls[~goes]))) < 1e-9 or goes.all()


def test_only_the_wall_that_cuts_in_two_goes_back() -> None:
    road = shapely.box(0, 0, 100, 6)
    walls = np.array([shapely.box(10, -5, 20, 2), shapely.box(50, -5, 52, 20), shapely.box(80, 4, 90, 9)], object)
    assert splitting(road, walls, 20).tolist() == [False, True, False]
    # Two that do it only together both go back.
    halves = np.array([shapely.box(40, -5, 50, 3), shapely.box(40, 3, 50, 9), shapely.box(80, 4, 90, 9)], object)
    assert splitting(road, halves, 20).tolist() == [True, True, False]


def test_overlapping_tells_the_walls_of_each_body_in_order() -> None:
    bodies = np.array([shapely.box(0, 0, 10, 10), shapely.box(20, 0, 30, 10), shapely.box(40, 0, 50, 10)], object)
    walls = np.array([shapely.box(41, 1, 42, 2), shapely.box(10, 0, 20, 10), shapely.box(5, 5, 45, 6)], object)
    assert [found.tolist() for found in overlapping(bodies, walls)] == [[2], [2], [0, 2]]
    assert [len(found) for found in overlapping(bodies, walls[:0])] == [0, 0, 0]
    assert overlapping(bodies[:0], walls) == []


@pytest.mark.parametrize("count", [0, 1])
def test_a_wall_on_its_own_stands_apart(count: int) -> None:
    box = np.array([shapely.box(0, 0, 5, 5)] * count, object)
    walls = Walls(np.arange(count), box, box, np.ones(count, bool))
    assert stands_apart(walls, walls.take(np.empty(0, np.int64))).tolist() == [True] * count
