"""Groups of windows: the finest in which windows that touch are together and no boxes overlap."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.grid import Window
from geoseg.groups import APART, WHOLE_PX, Group, grouped, groups_apart

# Cells of a lattice, clipped at its edge as blocks are.
SIDE = 12
cells = st.lists(st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), unique=True, max_size=18)
scales = st.tuples(st.sampled_from([1, 7, 512]), st.sampled_from([1, 5, 5632]))


def windows_of(taken: list[tuple[int, int]], scale: tuple[int, int]) -> list[Window]:
    height, width = scale
    return [Window(i * height, j * width, height, width) for i, j in taken]


def touch(one: Window, other: Window) -> bool:
    """Whether they have an edge or a corner in common."""
    around = Window(one.row - 1, one.col - 1, one.height + 2, one.width + 2)
    return around.intersection(other) is not None


def box(windows: list[Window]) -> Window:
    row, col = min(w.row for w in windows), min(w.col for w in windows)
    return Window(row, col, max(w.row_stop for w in windows) - row, max(w.col_stop for w in windows) - col)


def one_by_one(windows: list[Window]) -> list[list[Window]]:
    """The same by joining any two groups that must be joined, until there are none."""
    groups = [[window] for window in windows]
    while True:
        for one, other in itertools.combinations(groups, 2):
            near = any(touch(a, b) for a, b in itertools.product(one, other))
            if near or box(one).intersection(box(other)) is not None:
                groups.remove(one)
                groups.remove(other)
                groups.append(one + other)
                break
        else:
            return sorted(sorted(group) for group in groups)


@given(cells, scales)
def test_groups_are_those_of_joining_one_by_one(taken: list[tuple[int, int]], scale: tuple[int, int]) -> None:
    windows = windows_of(taken, scale)
    groups = grouped(windows)
    # Sorted lists of windows are in the order of their first windows.
    assert [list(group.windows) for group in groups] == one_by_one(windows)
    assert all(group.box == box(list(group.windows)) for group in groups)
    assert sum(group.covered_px for group in groups) == len(windows) * scale[0] * scale[1]


@given(st.permutations(windows_of([(0, 0), (1, 1), (3, 0), (5, 5), (5, 9), (7, 7), (9, 4)], (512, 512))))
def test_the_order_of_windows_does_not_matter(windows: list[Window]) -> None:
    assert grouped(windows) == grouped(sorted(windows))


def test_nothing_has_no_groups() -> None:
    assert grouped([]) == ()


def test_a_full_grid_is_one_group() -> None:
    windows = windows_of(list(itertools.product(range(150), range(40))), (512, 5632))
    [group] = grouped(windows)
    assert group == Group(Window(0, 0, 150 * 512, 40 * 5632), tuple(windows))


def test_boxes_that_meet_in_a_chain_become_one() -> None:
    """Two arms that do not touch, one within the other's box, and a third that only their common box holds."""
    hook = [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]
    within, beyond = [(0, 2), (0, 3), (0, 4)], [(2, 4)]
    [group] = grouped(windows_of([*hook, *within, *beyond], (10, 10)))
    assert group.box == Window(0, 0, 30, 50)


def test_boxes_that_only_touch_stay_apart() -> None:
    hook = [(0, 0), (1, 0), (1, 1), (1, 2)]
    assert len(grouped(windows_of([*hook, (0, 4), (2, 4)], (10, 10)))) == 3
    assert len(grouped(windows_of([(0, 0), (1, 1), (1, 2), (0, 3), (2, 0), (2, 3)], (10, 10)))) == 1


@pytest.mark.parametrize(
    ("side", "share", "apart"),
    [
        (2**14, 0.001, False),
        (2**14 + 1, 0.001, True),
        (2**20, 1 / APART - 1e-3, True),
        (2**20, 1 / APART, False),
        (2**20, 0.0, True),
    ],
)
def test_only_large_grids_with_little_in_them_fall_apart(side: int, share: float, apart: bool) -> None:
    assert WHOLE_PX == (2**14) ** 2
    height = int(side * share)
    windows = [Window(0, 0, height, side)] if height else []
    assert groups_apart(windows, side, side) == (grouped(windows) if apart else None)
