"""The driver's loop: hands out units, waits for answers, and tells the dispatch what each one means."""

import time
from collections.abc import Iterator
from typing import Any, Generic

import ray
from ray.exceptions import (
    ActorUnavailableError,
    LocalRayletDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayError,
    RayTaskError,
    WorkerCrashedError,
)

from geoseg.cluster.crew import Arrival, Crew, Departure
from geoseg.cluster.dispatch import Dispatch, Flight
from geoseg.cluster.metrics import Metrics
from geoseg.cluster.openings import Opened, Openings
from geoseg.errors import StoppedError
from geoseg.runner import ItemT, Report, one_line

_DEATHS = (RayActorError, WorkerCrashedError, OutOfMemoryError, NodeDiedError, LocalRayletDiedError)
"""The process is gone, whatever took it (ActorDiedError is a RayActorError)."""

_LOOK_S = 1.0
"""Between looks for hung workers; the longest that the loop waits for an answer."""

_LOOK_SILENT_S = 0.2
"""The same while a worker does not answer."""


def drive(
    crew: Crew, dispatch: Dispatch[ItemT], metrics: Metrics, size: int, job: tuple[int, Any], nodes: frozenset[str]
) -> Iterator[Report]:
    """Do all units of a dispatch; whoever is still at work when this ends early is dismissed.

    Args:
        crew: The workers.
        dispatch: The units.
        metrics: What the reports are counted in.
        size: Workers that are asked for.
        job: Number of the job, and the reference to it.
        nodes: Ids of the nodes that have room for a worker: no unit is handed out before each has opened the job.

    Raises:
        GeosegError: A node cannot do the job.
        StoppedError: No worker answers, or Ray is gone.
    """
    loop = _Loop(crew, dispatch, size, job, nodes)
    try:
        loop.begin()
        while dispatch.left:
            for report in loop.step():
                metrics.report(report)
                yield report
            metrics.state(dispatch.left - dispatch.flying, len(crew.up()))
        metrics.state(0, len(crew.up()), last=True)
    finally:
        crew.dismiss(loop.at_work())


class _Loop(Generic[ItemT]):
    """What is on its way, and what each answer means."""

    def __init__(
        self, crew: Crew, dispatch: Dispatch[ItemT], size: int, job: tuple[int, Any], nodes: frozenset[str]
    ) -> None:
        self._crew = crew
        self._openings = Openings(crew, job, nodes, size)
        self._dispatch = dispatch
        self._size = size
        self._number, self._job = job
        self._flying: dict[Any, Flight[ItemT]] = {}
        self._doubtful: dict[int, list[Flight[ItemT]]] = {}
        self._looked_s = time.monotonic()

    def at_work(self) -> list[int]:
        """Workers that may be at work on a unit."""
        return sorted({flight.worker for flight in self._flying.values()} | set(self._doubtful))

    def begin(self) -> None:
        """Have the workers that are there already open the job."""
        for worker in self._crew.up():
            self._openings.ask(worker, new_process=False)

    def step(self) -> Iterator[Report]:
        """Send what can be sent, wait for answers, and report the units that are finished with.

        Raises:
            GeosegError: A node cannot do the job.
            StoppedError: No worker answers, or Ray is gone.
        """
        for departure in self._crew.look_after(self._size):
            yield from self._departed(departure.worker)
        self._send()
        for reference in self._answers():
            flight = self._flying.pop(reference, None)
            if flight is not None:
                yield from self._landed(reference, flight)
                continue
            match self._openings.answered(reference) or self._crew.answered(reference):
                case Opened(worker, new_process):
                    self._dispatch.arrived(worker, new_process=new_process)
                case Arrival(worker, new_process):
                    yield from self._arrived(worker, new_process=new_process)
                case Departure(worker):
                    yield from self._departed(worker)
        if time.monotonic() - self._looked_s >= _LOOK_S:
            self._looked_s = time.monotonic()
            yield from self._end_hung()

    def _send(self) -> None:
        now_s = time.monotonic()
        up = self._crew.up() if self._openings.may_begin() else []
        while up:
            flights = [self._dispatch.next_flight(worker, now_s) for worker in up]
            for flight in flights:
                if flight is not None:
                    run = self._crew.handle(flight.worker).run
                    answer = run.remote(self._number, self._job, flight.task.unit, flight.attempt)
                    self._flying[answer] = flight
            up = [flight.worker for flight in flights if flight is not None]

    def _answers(self) -> list[Any]:
        """References that are ready, all at once; none after a while."""
        wait_s = _LOOK_S if len(self._crew.up()) >= self._size else _LOOK_SILENT_S
        wake_s = self._dispatch.wake_s()
        if wake_s is not None:
            wait_s = min(wait_s, max(wake_s - time.monotonic(), 0.0))
        references = [*self._flying, *self._openings.references(), *self._crew.greetings()]
        if not references:
            time.sleep(wait_s)
            return []
        try:
            ready, others = ray.wait(references, num_returns=1, timeout=wait_s)
            if ready and others:
                ready += ray.wait(others, num_returns=len(others), timeout=0)[0]
        except RayError as error:
            raise StoppedError(
                f"Ray is gone ({type(error).__name__}: {one_line(error)}): run the same command again"
            ) from error
        return ready

    def _landed(self, reference: Any, flight: Flight[ItemT]) -> Iterator[Report]:  # noqa: ANN401  # Ray's have no type
        now_s = time.monotonic()
        report: Report | None
        try:
            report = ray.get(reference)
        except RayTaskError as error:
            # Not a unit's fault: a job that cannot be opened, a full disk, or a bug.
            raise error.cause from error
        except ActorUnavailableError:
            # The process died, or only the answer was lost: the next greeting tells.
            self._doubtful.setdefault(flight.worker, []).append(flight)
            self._doubt(flight.worker)
            return
        except _DEATHS as error:
            self._doubt(flight.worker)
            innocent = isinstance(error, RayActorError) and error.preempted
            report = self._dispatch.died(flight, _died(type(error).__name__), now_s, innocent=innocent)
        except RayError as error:
            self._doubt(flight.worker)
            report = self._dispatch.lost(flight, f"its answer was lost ({type(error).__name__})", now_s)
        else:
            if report.error is None:
                report = self._dispatch.finished(flight, report, now_s)
            else:
                report = self._dispatch.failed(flight, report.error, now_s)
        if report is not None:
            yield report

    def _doubt(self, worker: int) -> None:
        self._crew.doubt(worker)
        self._openings.forget(worker)
        self._dispatch.paused(worker)

    def _arrived(self, worker: int, *, new_process: bool) -> Iterator[Report]:
        now_s = time.monotonic()
        for flight in self._doubtful.pop(worker, []):
            if new_process:
                report = self._dispatch.died(flight, _died(ActorUnavailableError.__name__), now_s)
            else:
                report = self._dispatch.lost(flight, "its answer was lost (ActorUnavailableError)", now_s)
            if report is not None:
                yield report
        self._openings.ask(worker, new_process=new_process)

    def _departed(self, worker: int) -> Iterator[Report]:
        self._doubtful.pop(worker, None)
        self._openings.forget(worker)
        self._flying = {answer: flight for answer, flight in self._flying.items() if flight.worker != worker}
        for flight in self._dispatch.flights(worker):
            report = self._dispatch.died(flight, _died("it did not come back"), time.monotonic())
            if report is not None:
                yield report
        self._dispatch.gone(worker)

    def _end_hung(self) -> Iterator[Report]:
        now_s = time.monotonic()
        for worker in self._openings.hung():
            self._openings.kill(worker)
        for flight in self._dispatch.hung(now_s):
            self._crew.kill(flight.worker)
            self._openings.forget(flight.worker)
            self._dispatch.paused(flight.worker)
            self._flying = {answer: other for answer, other in self._flying.items() if other is not flight}
            error = f"no answer for {now_s - flight.sent_s:.0f} s"
            report = self._dispatch.killed(flight, error, now_s)
            if report is not None:
                yield report


def _died(why: str) -> str:
    return f"its worker process died ({why})"
