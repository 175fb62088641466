"""Lanes: every unit once, neighbours to one worker."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from geoseg.cluster.lanes import Lanes
from geoseg.runner import Unit

LANES = st.lists(st.integers(0, 5), max_size=40)


def units(lanes: list[int]) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number, lane) for number, lane in enumerate(lanes)]


@given(LANES, st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_every_unit_is_handed_out_once(lanes: list[int], workers: list[int]) -> None:
    handed = Lanes(units(lanes))
    taken = [unit for worker in workers if (unit := handed.take(worker)) is not None]
    while (unit := handed.take(workers[0])) is not None:
        taken.append(unit)
    assert sorted(unit.item for unit in taken) == list(range(len(lanes)))


@given(LANES)
def test_one_worker_goes_along_each_lane_in_order(lanes: list[int]) -> None:
    handed = Lanes(units(lanes))
    taken = [handed.take(0) for _ in lanes]
    first_seen = list(dict.fromkeys(lanes))
    assert taken == sorted(units(lanes), key=lambda unit: first_seen.index(unit.lane))


@given(st.integers(1, 5), st.integers(1, 8))
def test_workers_have_lanes_of_their_own_while_there_are_some(workers: int, length: int) -> None:
    handed = Lanes(units([lane for lane in range(workers) for _ in range(length)]))
    lanes: dict[int, set[int]] = {worker: set() for worker in range(workers)}
    for _ in range(length):
        for worker in range(workers):
            unit = handed.take(worker)
            assert unit is not None
            lanes[worker].add(unit.lane)
    assert Counter(lane for own in lanes.values() for lane in own) == Counter(range(workers))


def test_who_has_no_lane_takes_the_far_half_of_the_longest_in_its_order() -> None:
    handed = Lanes(units([0, 0, 1, 1, 1, 1]))
    taken = [handed.take(worker) for worker in (0, 1, 2, 2, 0, 1)]
    assert [unit.item for unit in taken if unit is not None] == [0, 2, 4, 5, 1, 3]


def test_the_lane_of_a_worker_that_is_gone_goes_to_the_next() -> None:
    handed = Lanes(units([0, 0, 0, 1]))
    assert handed.take(0) == Unit("unit-0", 0, 0)
    handed.release(0)
    assert handed.take(1) == Unit("unit-1", 1, 0)
