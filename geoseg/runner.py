"""Running a job over many addresses: the protocol that a for loop and a cluster both fulfil."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from geoseg.errors import GeosegError

ItemT = TypeVar("ItemT")
ItemT_contra = TypeVar("ItemT_contra", contravariant=True)

ATTEMPTS = 3
"""A unit that fails this often is quarantined and named; the rest of the run goes on."""

UNIT_ERRORS = (GeosegError, OSError, RuntimeError, MemoryError)
"""What may go wrong with one unit of work (its data, its storage, its memory); anything else is a bug."""


@dataclass(frozen=True, slots=True)
class Unit(Generic[ItemT]):
    """A unit of work: a key for the ledger and the address that it stands for."""

    key: str
    item: ItemT


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a unit.

    Attributes:
        key: The unit's key.
        error: Why its last attempt failed, in one line, or None.
        result: A few numbers about the finished work.
        attempts: How often it was tried.
    """

    key: str
    error: str | None
    result: dict[str, Any] = field(default_factory=dict)
    attempts: int = 1


class Job(Protocol[ItemT_contra]):
    """A kind of work. Small and picklable: it holds addresses and settings, no pixels."""

    def open(self) -> Callable[[ItemT_contra], dict[str, Any]]:
        """Prepare a worker (load the model, open files); what it returns does one unit and reports numbers.

        It is called once in each worker process. The function it returns must be repeatable: the same item
        leaves the same bytes, however often and wherever it runs.
        """
        ...


class Runner(Protocol):
    """Something that runs units."""

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        """Do every unit, in any order, and report each exactly once."""
        ...


class LocalRunner:
    """One worker in this process: a for loop."""

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        """Do every unit in the given order, each up to `ATTEMPTS` times."""
        if not units:
            return
        work = job.open()
        for unit in units:
            for attempt in range(1, ATTEMPTS + 1):
                report = attempt_unit(work, unit, attempt)
                if report.error is None:
                    break
            yield report


def attempt_unit(work: Callable[[ItemT], dict[str, Any]], unit: Unit[ItemT], attempt: int) -> Report:
    """Try a unit once; what is wrong with the unit becomes part of the report.

    Raises:
        OSError: The disk is full: no other unit would fare better.
    """
    try:
        return Report(unit.key, None, work(unit.item), attempt)
    except UNIT_ERRORS as error:
        if is_disk_full(error):
            raise
        return Report(unit.key, f"{type(error).__name__}: {one_line(error)}", {}, attempt)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that storage is full (ENOSPC, EDQUOT)."""
    return isinstance(error, OSError) and error.errno in {28, 122}


def one_line(error: BaseException) -> str:
    """An error's message on one line."""
    return " ".join(str(error).split())
