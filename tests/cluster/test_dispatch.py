"""The dispatch under random workers: every unit is reported once, and only the guilty are given up."""

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.cluster.dispatch import Dispatch, Flight, Rules
from geoseg.runner import ATTEMPTS, Report, Unit

LANES = st.lists(st.integers(0, 4), min_size=1, max_size=25)
NUMBERS = st.sets(st.integers(0, 24), max_size=4)


def units(lanes: list[int]) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number, lane) for number, lane in enumerate(lanes)]


@dataclass
class World:
    """Workers that finish, fail, die and come back in any order, as a random source says."""

    lanes: list[int]
    workers: int
    random: Random
    killers: frozenset[int] = frozenset()
    failing: frozenset[int] = frozenset()
    hanging: frozenset[int] = frozenset()
    losing: float = 0.0
    late: bool = True
    now_s: float = 0.0
    reports: list[Report] = field(default_factory=list)
    charged_on: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    flown: dict[int, int] = field(default_factory=lambda: defaultdict(int))

    def run(self) -> dict[str, Report]:
        self.dispatch: Dispatch[int] = Dispatch(units(self.lanes), Rules(), self.workers)
        self.processes: dict[int, list[Flight[int]]] = {worker: [] for worker in range(self.workers)}
        self.away: set[int] = set(self.processes) if self.late else set()
        for worker in set(self.processes) - self.away:
            self.dispatch.arrived(worker)
        for _ in range(100 * (len(self.lanes) + 10)):
            if not self.dispatch.left:
                break
            self.step()
        assert not self.dispatch.left, "it does not end"
        assert not self.dispatch.flying
        assert len(self.reports) == len(self.lanes)
        return {report.key: report for report in self.reports}

    def step(self) -> None:
        for worker in sorted(self.away):
            if self.random.random() < 0.5:
                self.away.discard(worker)
                self.dispatch.arrived(worker)
        for worker in set(self.processes) - self.away:
            while (flight := self.dispatch.next_flight(worker, self.now_s)) is not None:
                self.processes[worker].append(flight)
                self.flown[flight.task.unit.item] += 1
            flights = self.processes[worker]
            assert len(flights) <= 2
            assert len(flights) <= 1 or not any(flight.task.suspect for flight in flights)
        busy = [worker for worker, flights in self.processes.items() if flights]
        if busy:
            self.act(self.random.choice(busy))
        self.now_s += self.random.random()

    def act(self, worker: int) -> None:
        flights = self.processes[worker]
        flight = self.random.choice(flights)
        number = flight.task.unit.item
        if any(other.task.unit.item in self.killers for other in flights) and self.random.random() < 0.7:
            self.die(worker)
        elif number in self.hanging:
            flights.remove(flight)
            self.dispatch.paused(worker)
            self.charged_on[number].add(worker)
            self.take(self.dispatch.killed(flight, "no answer", self.now_s))
            self.die(worker)
        elif number in self.killers:
            pass
        elif self.random.random() < self.losing:
            flights.remove(flight)
            self.take(self.dispatch.lost(flight, "lost", self.now_s))
        elif number in self.failing:
            flights.remove(flight)
            self.charged_on[number].add(worker)
            self.take(self.dispatch.failed(flight, "fails", self.now_s))
        else:
            flights.remove(flight)
            report = Report(flight.task.unit.key, None, {}, flight.attempt)
            self.take(self.dispatch.finished(flight, report, self.now_s))

    def die(self, worker: int) -> None:
        """All units in the process go with it; it comes back, or another worker comes for it."""
        self.dispatch.paused(worker)
        flights = self.processes[worker]
        self.random.shuffle(flights)
        while flights:
            flight = flights.pop()
            if flight.alone:
                self.charged_on[flight.task.unit.item].add(worker)
            self.take(self.dispatch.died(flight, "died", self.now_s))
        if self.random.random() < 0.2:
            self.dispatch.gone(worker)
            del self.processes[worker]
            worker = max(self.processes, default=worker) + 1
            self.processes[worker] = []
        self.away.add(worker)

    def take(self, report: Report | None) -> None:
        if report is not None:
            self.reports.append(report)


@settings(max_examples=60)
@given(LANES, st.integers(1, 4), NUMBERS, NUMBERS, NUMBERS, st.sampled_from([0.0, 0.2]), st.randoms())
def test_only_the_guilty_are_given_up(
    lanes: list[int],
    workers: int,
    killers: set[int],
    failing: set[int],
    hanging: set[int],
    losing: float,
    random: Random,
) -> None:
    world = World(lanes, workers, random, frozenset(killers), frozenset(failing), frozenset(hanging), losing)
    reports = world.run()
    guilty = {f"unit-{number}" for number in killers | failing | hanging if number < len(lanes)}
    assert {key for key, report in reports.items() if report.error is not None} == guilty
    assert set(reports) == {unit.key for unit in units(lanes)}
    assert all(reports[key].attempts == ATTEMPTS for key in guilty)


@given(LANES, st.integers(1, 4), NUMBERS, st.randoms())
def test_a_killer_takes_its_neighbours_along_at_most_once(
    lanes: list[int], workers: int, killers: set[int], random: Random
) -> None:
    world = World(lanes, workers, random, frozenset(killers))
    reports = world.run()
    for number in range(len(lanes)):
        assert world.flown[number] == len(reports[f"unit-{number}"].earlier) + 1
        # Once beside others, then alone: to be found out, or to be done.
        assert world.flown[number] <= (ATTEMPTS + 1 if number in killers else 2)


@given(LANES, st.integers(2, 4), NUMBERS, st.randoms())
def test_attempts_are_spread_over_two_workers(
    lanes: list[int], workers: int, failing: set[int], random: Random
) -> None:
    world = World(lanes, workers, random, failing=frozenset(failing), late=False)
    world.run()
    for number in failing & set(range(len(lanes))):
        assert len(world.charged_on[number]) >= 2


def test_a_failed_unit_waits_while_others_go_on() -> None:
    dispatch = Dispatch(units([0] * 3), Rules(in_flight=1), 1)
    dispatch.arrived(0)
    first = dispatch.next_flight(0, 0.0)
    assert first is not None
    assert dispatch.failed(first, "fails", 0.0) is None
    second = dispatch.next_flight(0, 0.5)
    assert second is not None
    assert second.task.unit.item == 1
    assert dispatch.wake_s() == 1.0
    dispatch.finished(second, Report("unit-1", None), 0.9)
    again = dispatch.next_flight(0, 1.0)
    assert again is not None
    assert (again.task.unit.item, again.attempt) == (0, 2)
    assert dispatch.failed(again, "fails", 1.0) is None
    assert dispatch.wake_s() == 5.0


def test_a_neighbour_of_a_dead_process_is_not_charged() -> None:
    dispatch = Dispatch(units([0] * 4), Rules(), 1)
    dispatch.arrived(0)
    flights = [dispatch.next_flight(0, 0.0) for _ in range(2)]
    for flight in flights:
        assert flight is not None
        assert dispatch.died(flight, "died", 1.0) is None
        assert (flight.task.failures, flight.task.suspect) == (0, True)


def test_who_was_preempted_is_neither_charged_nor_suspected() -> None:
    dispatch = Dispatch(units([0]), Rules(), 1)
    dispatch.arrived(0)
    flight = dispatch.next_flight(0, 0.0)
    assert flight is not None
    assert flight.alone
    assert dispatch.died(flight, "preempted", 1.0, innocent=True) is None
    assert (flight.task.failures, flight.task.suspect) == (0, False)


def test_the_lane_and_the_suspect_of_a_worker_that_is_gone_go_to_others() -> None:
    dispatch = Dispatch(units([0] * 6), Rules(), 2)
    dispatch.arrived(0)
    dead, neighbour = dispatch.next_flight(0, 0.0), dispatch.next_flight(0, 0.0)
    assert dead is not None
    assert neighbour is not None
    dispatch.died(dead, "died", 0.0)
    assert dispatch.next_flight(0, 0.0) is None, "the suspect waits until the worker is empty"
    dispatch.died(neighbour, "died", 0.0)
    dispatch.gone(0)
    dispatch.arrived(1)
    for expected in (1, 0, 2, 3):
        flight = dispatch.next_flight(1, 0.0)
        assert flight is not None
        assert flight.task.unit.item == expected
        dispatch.finished(flight, Report(flight.task.unit.key, None), 0.0)


def test_answers_that_are_always_lost_end() -> None:
    dispatch = Dispatch(units([0]), Rules(losses=4), 1)
    dispatch.arrived(0)
    report, now_s, flown = None, 0.0, 0
    while report is None:
        flight = dispatch.next_flight(0, now_s)
        if flight is None:
            now_s = dispatch.wake_s() or pytest.fail("nothing is left to wait for")
            continue
        flown += 1
        report = dispatch.lost(flight, "lost", now_s)
    assert (report.error, report.attempts, flown) == ("lost", ATTEMPTS, 4 * ATTEMPTS)


def test_only_the_oldest_flight_of_a_worker_is_hung_and_after_the_floor() -> None:
    dispatch = Dispatch(units([0] * 5), Rules(hung_floor_s=10, hung_factor=2), 1)
    dispatch.arrived(0)
    done, second = dispatch.next_flight(0, 0.0), dispatch.next_flight(0, 0.0)
    assert done is not None
    assert second is not None
    assert dispatch.hung(19.0) == []
    assert dispatch.hung(21.0) == [done]
    dispatch.finished(done, Report("unit-0", None), 1.0)
    dispatch.next_flight(0, 1.0)
    assert dispatch.hung(9.0) == []
    assert dispatch.hung(12.0) == [second]


def test_nobody_takes_a_second_unit_that_an_idle_worker_could_begin_with() -> None:
    dispatch = Dispatch(units([0, 0]), Rules(), 2)
    dispatch.arrived(0)
    assert dispatch.next_flight(0, 0.0) is not None
    assert dispatch.next_flight(0, 0.0) is None
    dispatch.arrived(1)
    assert dispatch.next_flight(1, 0.0) is not None
