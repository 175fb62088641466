"""Units of work on Ray: actors that hold the model and do whole units; only addresses and reports travel."""

import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self

import ray
from ray.exceptions import RayActorError, RayTaskError

from geoseg.errors import StoppedError
from geoseg.io.gdal_environment import gdal_environment
from geoseg.runner import ATTEMPTS, ItemT, Job, Report, Unit, attempt_unit

_IN_FLIGHT = 2
"""Units given to an actor at once: the next one is there when the last one ends."""

_OBJECT_STORE_BYTES = 80 * 2**20
"""Ray's least, nearly: nothing but addresses and reports goes through it."""


class RayRunner:
    """Runs units on Ray actors, in a local Ray by default.

    Args:
        workers: Actors.
        threads: CPU threads of each.
        gpu: Whether each actor has a GPU of its own (which it then sees as the only one).
        address: A running cluster ("auto", HOST:PORT), or None for a Ray of this process's own.
        trust_vrt: Whether workers may read a .vrt that the user vouches for.
    """

    def __init__(
        self, workers: int, threads: int, *, gpu: bool, address: str | None = None, trust_vrt: bool = False
    ) -> None:
        self._workers = workers
        self._threads = threads
        self._trust_vrt = trust_vrt
        self._address = address
        self._options: dict[str, Any] = {
            "num_cpus": threads,
            "num_gpus": 1 if gpu else 0,
            # The process comes back for other units; whether its unit is tried again is the driver's to say.
            "max_restarts": -1,
            "max_task_retries": 0,
            "runtime_env": {"env_vars": self._environment()},
        }
        self._actors: list[Any] = []
        self._jobs = 0
        self._started_ray = False

    def _environment(self) -> dict[str, str]:
        """Set before a worker's libraries load; Ray would set the thread counts from num_cpus by itself."""
        return {
            **gdal_environment(trust_vrt=self._trust_vrt),
            "OMP_NUM_THREADS": str(self._threads),
            "MKL_NUM_THREADS": str(self._threads),
            # An actor that Ray gives no GPU may still have been told which one to use (--device cuda:1).
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }

    def __enter__(self) -> Self:
        if ray.is_initialized():  # a caller's own, from Python: used, and left running
            return self
        # Nothing leaves the machine unasked.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        local: dict[str, Any] = {}
        if self._address is None:
            local = {
                "num_cpus": self._workers * self._threads,
                "include_dashboard": False,
                "object_store_memory": _OBJECT_STORE_BYTES,
            }
        try:
            with _sigterm_kept():
                # Not None as address: that would join whatever cluster RAY_ADDRESS names.
                ray.init(
                    address=self._address or "local", logging_level=logging.ERROR, log_to_driver=False, **local
                )
        except ConnectionError as error:
            raise StoppedError(
                f"no Ray cluster answers at {self._address}: start it with `ray start --head`, or leave out "
                "--address for a local one"
            ) from error
        self._started_ray = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started_ray:
            ray.shutdown()
        else:
            for actor in self._actors:
                ray.kill(actor)
        self._actors.clear()

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        """Do every unit, each up to `ATTEMPTS` times, and report it when it ends, in no fixed order.

        A unit that fails, or whose process dies, goes to the end of the queue and to another actor if there is
        one. The processes stay for the next job.

        Raises:
            OSError: A worker's disk is full.
            GeosegError: The job cannot be opened (no model there, say).
        """
        while len(self._actors) < min(self._workers, len(units)):
            self._actors.append(ray.remote(_Actor).options(**self._options).remote())
        # The reference names the job: an actor that was restarted, or never had it, opens it again.
        self._jobs += 1
        reference = ray.put(job)
        waiting = deque(_Flight(-1, unit, 1) for unit in units)
        flying: dict[Any, _Flight[ItemT]] = {}
        while waiting or flying:
            for index, actor in enumerate(self._actors):
                while waiting and sum(flight.actor == index for flight in flying.values()) < _IN_FLIGHT:
                    flight = _take(waiting, index, len(self._actors))
                    answer = actor.run.remote(self._jobs, reference, flight.unit, flight.attempt)
                    flying[answer] = _Flight(index, flight.unit, flight.attempt)
            finished, _ = ray.wait(list(flying), num_returns=1)
            for answer in finished:
                flight = flying.pop(answer)
                report = _result(answer, flight)
                if report.error is not None and flight.attempt < ATTEMPTS:
                    waiting.append(_Flight(flight.actor, flight.unit, flight.attempt + 1))
                else:
                    yield report


@dataclass(frozen=True, slots=True)
class _Flight(Generic[ItemT]):
    """A unit on its way: the actor it is with (or was with last, -1 for none) and which attempt this is."""

    actor: int
    unit: Unit[ItemT]
    attempt: int


class _Actor:
    """A worker process: opens a job once, then does its units."""

    def __init__(self) -> None:
        self._number = 0
        self._work: Callable[[Any], dict[str, Any]] | None = None

    def run(self, number: int, job: Job[Any], unit: Unit[Any], attempt: int) -> Report:
        if self._work is None or self._number != number:
            self._work, self._number = job.open(), number
        return attempt_unit(self._work, unit, attempt)


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """ray.init takes SIGTERM for itself; who set it before decides what it means."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():  # elsewhere neither Ray nor we may set it
        signal.signal(signal.SIGTERM, before)


def _take(waiting: deque[_Flight[ItemT]], index: int, actors: int) -> _Flight[ItemT]:
    """The next unit for an actor: the first that it has not just failed, where there is another actor."""
    for position, flight in enumerate(waiting):
        if flight.actor != index or actors == 1:
            del waiting[position]
            return flight
    return waiting.popleft()


def _result(reference: Any, flight: _Flight[Any]) -> Report:  # noqa: ANN401  # Ray's references have no type
    try:
        report: Report = ray.get(reference)
    except RayActorError as error:
        # The unit may have been done, or not: doing it again leaves the same bytes.
        return Report(flight.unit.key, f"its worker process died ({type(error).__name__})", {}, flight.attempt)
    except RayTaskError as error:
        raise error.cause from error
    return report
