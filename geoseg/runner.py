"""Running a job over many addresses: the protocol that a for loop and a cluster both fulfil."""

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Protocol, TypeVar

from geoseg.errors import GeosegError, StoppedError

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)

ATTEMPTS = 3
"""A unit that fails this often is quarantined and named; the rest of the run goes on."""

BACKOFF_S = (1.0, 4.0)
"""Seconds before the second attempt and before the third: storage that stumbles needs a moment."""

UNIT_ERRORS = (GeosegError, OSError, RuntimeError, MemoryError)
"""What may go wrong with one unit of work (its data, its storage, its memory); anything else is a bug."""


@dataclass(frozen=True, slots=True)
class Unit(Generic[ItemT]):
    """A unit of work.

    Attributes:
        key: For the ledger.
        item: The address that it stands for.
        lane: Units of one lane share what they read: they go to one worker, in the order given, as far as
            that leaves no worker idle.
    """

    key: str
    item: ItemT
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a unit.

    Attributes:
        key: The unit's key.
        error: Why its last attempt failed, in one line, or None.
        result: A few numbers about the finished work.
        attempts: How often it was tried, tries apart that something else spoiled.
        earlier: Why it had to be tried again, in order, one line for each time.
    """

    key: str
    error: str | None
    result: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1
    earlier: tuple[str, ...] = ()


class Job(Protocol[ItemT_contra]):
    """A kind of work. Small and picklable: it holds addresses and settings, no pixels."""

    def open(self) -> Callable[[ItemT_contra], dict[str, Any]]:
        """Prepare a worker (load the model, open files); what it returns does one unit and reports numbers.

        It is called once in each worker process. The function it returns must be repeatable: the same item
        leaves the same bytes, however often and wherever it runs. It may be called by two threads at once, so
        that one reads while the other computes.
        """
        ...


class Runner(Protocol):
    """Something that runs units."""

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        """Do every unit, in any order, and report each exactly once, when it is done or given up."""
        ...


class LocalRunner:
    """One worker in this process: a for loop.

    Args:
        backoff_s: Seconds before the second attempt, the third, and so on; other units go on meanwhile.
        clock: Seconds that only grow.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        *,
        backoff_s: Sequence[float] = BACKOFF_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._backoff_s = backoff_s
        self._clock = clock
        self._sleep = sleep

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        """Do every unit in the given order, each up to `ATTEMPTS` times; one that failed comes back later."""
        if not units:
            return
        work = job.open()
        first = deque(range(len(units)))
        # When it is due, which unit, and why it failed so far.
        later: list[tuple[float, int, tuple[str, ...]]] = []
        while first or later:
            if later and (not first or later[0][0] <= self._clock()):
                due_s, index, errors = heapq.heappop(later)
                if due_s > self._clock():
                    self._sleep(due_s - self._clock())
            else:
                index, errors = first.popleft(), ()
            report = attempt_unit(work, units[index], len(errors) + 1)
            if report.error is None or report.attempts == ATTEMPTS:
                yield replace(report, earlier=errors)
                continue
            pause_s = backoff_s(self._backoff_s, report.attempts)
            heapq.heappush(later, (self._clock() + pause_s, index, (*errors, report.error)))


def attempt_unit(work: Callable[[ItemT], dict[str, Any]], unit: Unit[ItemT], attempt: int) -> Report:
    """Try a unit once; what is wrong with the unit becomes part of the report.

    Raises:
        OSError: The disk is full: no other unit would fare better.
        StoppedError: The work itself says that the run cannot go on.
    """
    try:
        return Report(unit.key, None, work(unit.item), attempt)
    except UNIT_ERRORS as error:
        if is_disk_full(error) or isinstance(error, StoppedError):
            raise
        return Report(unit.key, f"{type(error).__name__}: {one_line(error)}", {}, attempt)


def backoff_s(pauses_s: Sequence[float], attempts: int) -> float:
    """Seconds to wait after so many attempts; the last pause holds for all that follow."""
    return pauses_s[min(attempts, len(pauses_s)) - 1] if pauses_s else 0.0


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that storage is full (ENOSPC, EDQUOT)."""
    return isinstance(error, OSError) and error.errno in {28, 122}


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
