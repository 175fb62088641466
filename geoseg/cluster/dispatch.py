"""Who does what next: the state of a run's units, without Ray and without a clock.

A process that dies takes all units in it along, and only one of them is to blame. So a unit is charged an attempt
only if its process died while it was alone in it; the others become suspects, which fly alone from then on. A unit
that always kills its process is found out by that, and no neighbour is ever given up for it.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Generic

from geoseg.cluster.lanes import Lanes
from geoseg.cluster.watchdog import Watchdog
from geoseg.runner import ATTEMPTS, BACKOFF_S, ItemT, Report, Unit, backoff_s


@dataclass(frozen=True, slots=True)
class Rules:
    """How failures are met.

    Attributes:
        attempts: A unit that failed this often is given up.
        backoff_s: Seconds before the second attempt, the third, and so on.
        in_flight: Units given to a worker at once: one is read while another is computed.
        losses: So many lost answers of one unit count as a failed attempt.
        hung_floor_s: No unit counts as hung before this, in seconds.
        hung_factor: A unit counts as hung after so many times the median of the finished ones.
    """

    attempts: int = ATTEMPTS
    backoff_s: tuple[float, ...] = BACKOFF_S
    in_flight: int = 2
    losses: int = 20
    hung_floor_s: float = 600.0
    hung_factor: float = 10.0


@dataclass(slots=True, eq=False)
class Task(Generic[ItemT]):
    """A unit that was tried, and what is known of it.

    Attributes:
        unit: The unit.
        failures: Attempts that it is charged.
        losses: Answers that were lost since it was last charged.
        errors: Why it had to be tried again, each time.
        failed_on: The worker of its last charged attempt.
        suspect: Whether it was in a process that died: it flies alone.
    """

    unit: Unit[ItemT]
    failures: int = 0
    losses: int = 0
    errors: tuple[str, ...] = ()
    failed_on: int | None = None
    suspect: bool = False


@dataclass(slots=True, eq=False)
class Flight(Generic[ItemT]):
    """A unit on its way.

    Attributes:
        worker: Who has it.
        task: The unit.
        sent_s: When it was sent.
        alone: Whether nothing else was in its process all the time.
    """

    worker: int
    task: Task[ItemT]
    sent_s: float
    alone: bool

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self.task.failures + 1


@dataclass(slots=True)
class _Seat(Generic[ItemT]):
    """A worker: what it has, and what waits for it to be empty."""

    up: bool = True
    haunted: bool = False
    flights: list[Flight[ItemT]] = field(default_factory=list)
    next_alone: Task[ItemT] | None = None


class _Pool(Generic[ItemT]):
    """Tasks that wait for a worker other than the one they failed on."""

    def __init__(self) -> None:
        self._by_worker: dict[int | None, deque[Task[ItemT]]] = {}

    def put(self, task: Task[ItemT]) -> None:
        self._by_worker.setdefault(task.failed_on, deque()).append(task)

    def take(self, worker: int, *, only_one: bool) -> Task[ItemT] | None:
        """The first task that the worker may have: with others about, none that it failed itself."""
        for failed_on, tasks in self._by_worker.items():
            if failed_on != worker or only_one:
                task = tasks.popleft()
                if not tasks:
                    del self._by_worker[failed_on]
                return task
        return None


class Dispatch(Generic[ItemT]):
    """Which unit goes to which worker, and what becomes of it.

    Every step costs the same however many units wait. Times are seconds of any clock that only grows.

    Args:
        units: All units.
        rules: How failures are met.
        workers: How many workers there will be: nobody takes a second unit that one of them could begin with.
    """

    def __init__(self, units: Sequence[Unit[ItemT]], rules: Rules, workers: int) -> None:
        self._rules = rules
        self._workers = workers
        self._busy = 0
        self._lanes = Lanes(units)
        self._seats: dict[int, _Seat[ItemT]] = {}
        self._ready: _Pool[ItemT] = _Pool()
        self._suspects: _Pool[ItemT] = _Pool()
        self._later: list[tuple[float, int, Task[ItemT]]] = []
        self._turns = itertools.count()
        self._watchdog = Watchdog(rules.hung_floor_s, rules.hung_factor)
        self.left = len(units)
        self.flying = 0

    def arrived(self, worker: int, *, new_process: bool = True) -> None:
        """A worker answers, and may have units (again)."""
        seat = self._seats.setdefault(worker, _Seat())
        seat.up = True
        seat.haunted &= not new_process

    def paused(self, worker: int) -> None:
        """A worker does not answer; it may come back, so its lane waits for it."""
        seat = self._seats.get(worker)
        if seat is not None:
            seat.up = False
            self._give_back(seat)

    def gone(self, worker: int) -> None:
        """A worker will not come back; its flights have been reported before."""
        self.paused(worker)
        self._seats.pop(worker, None)
        self._lanes.release(worker)

    def next_flight(self, worker: int, now_s: float) -> Flight[ItemT] | None:
        """What a worker is to do now: suspects, then units that failed, then its lane; None if it is full."""
        while self._later and self._later[0][0] <= now_s:
            self._wait(heapq.heappop(self._later)[2])
        seat = self._seats.get(worker)
        if seat is None or not seat.up or len(seat.flights) >= self._rules.in_flight:
            return None
        if seat.flights and (self.left - self.flying <= self._workers - self._busy or seat.flights[0].task.suspect):
            return None
        only_one = len(self._seats) == 1
        if seat.next_alone is None:
            seat.next_alone = self._suspects.take(worker, only_one=only_one)
        if seat.next_alone is not None:
            if seat.flights:
                return None
            task, seat.next_alone = seat.next_alone, None
            return self._fly(seat, worker, task, now_s)
        ready = self._ready.take(worker, only_one=only_one)
        if ready is None:
            unit = self._lanes.take(worker)
            if unit is None:
                return None
            ready = Task(unit)
        return self._fly(seat, worker, ready, now_s)

    def finished(self, flight: Flight[ItemT], report: Report, now_s: float) -> Report:
        """A unit is done."""
        self._land(flight)
        self._watchdog.finished(now_s - flight.sent_s)
        self.left -= 1
        return replace(report, earlier=flight.task.errors)

    def failed(self, flight: Flight[ItemT], error: str, now_s: float) -> Report | None:
        """An attempt failed by itself; the report says that the unit is given up."""
        self._land(flight)
        return self._charge(flight, error, now_s)

    def died(self, flight: Flight[ItemT], error: str, now_s: float, *, innocent: bool = False) -> Report | None:
        """The process died with a unit in it; `innocent` where it is known that the unit is not to blame."""
        self._land(flight)
        flight.task.suspect |= not innocent
        if flight.alone and not innocent:
            return self._charge(flight, error, now_s)
        flight.task.errors += (error,)
        self._wait(flight.task)
        return None

    def lost(self, flight: Flight[ItemT], error: str, now_s: float) -> Report | None:
        """No answer came though the process lives: the unit may have been done, or may still be at it."""
        self._land(flight)
        task = flight.task
        if flight.worker in self._seats:
            self._seats[flight.worker].haunted = True
        task.losses += 1
        if task.losses >= self._rules.losses:
            task.losses = 0
            return self._charge(flight, error, now_s)
        task.errors += (error,)
        self._put_off(task, now_s + min(0.05 * 2 ** (task.losses - 1), 5.0))
        return None

    def hung(self, now_s: float) -> list[Flight[ItemT]]:
        """Flights that take much longer than is usual, at most one for each worker (its oldest)."""
        limit_s = self._watchdog.limit_s()
        oldest = [
            min(seat.flights, key=lambda flight: flight.sent_s) for seat in self._seats.values() if seat.flights
        ]
        return [flight for flight in oldest if now_s - flight.sent_s > limit_s]

    def killed(self, flight: Flight[ItemT], error: str, now_s: float) -> Report | None:
        """The worker of a hung flight was killed for it; what else was in the process dies by itself."""
        flight.task.suspect = True
        return self.failed(flight, error, now_s)

    def wake_s(self) -> float | None:
        """When the next unit may be tried again."""
        return self._later[0][0] if self._later else None

    def flights(self, worker: int) -> tuple[Flight[ItemT], ...]:
        """What a worker has."""
        seat = self._seats.get(worker)
        return () if seat is None else tuple(seat.flights)

    def _give_back(self, seat: _Seat[ItemT]) -> None:
        if seat.next_alone is not None:
            self._suspects.put(seat.next_alone)
            seat.next_alone = None

    def _fly(self, seat: _Seat[ItemT], worker: int, task: Task[ItemT], now_s: float) -> Flight[ItemT]:
        for other in seat.flights:
            other.alone = False
        flight = Flight(worker, task, now_s, alone=not seat.flights and not seat.haunted)
        self._busy += not seat.flights
        seat.flights.append(flight)
        self.flying += 1
        return flight

    def _land(self, flight: Flight[ItemT]) -> None:
        self.flying -= 1
        seat = self._seats[flight.worker]
        seat.flights.remove(flight)
        self._busy -= not seat.flights

    def _wait(self, task: Task[ItemT]) -> None:
        (self._suspects if task.suspect else self._ready).put(task)

    def _put_off(self, task: Task[ItemT], due_s: float) -> None:
        heapq.heappush(self._later, (due_s, next(self._turns), task))

    def _charge(self, flight: Flight[ItemT], error: str, now_s: float) -> Report | None:
        task = flight.task
        task.failures += 1
        task.failed_on = flight.worker
        if task.failures >= self._rules.attempts:
            self.left -= 1
            return Report(task.unit.key, error, {}, task.failures, task.errors)
        task.errors += (error,)
        self._put_off(task, now_s + backoff_s(self._rules.backoff_s, task.failures))
        return None
