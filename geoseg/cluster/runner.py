"""Units of work on Ray: actors that hold the model and do whole units; only addresses and reports travel."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import ray

from geoseg.cluster.crew import Crew, Patience
from geoseg.cluster.dispatch import Dispatch, Rules
from geoseg.cluster.drive import drive
from geoseg.cluster.metrics import Instruments, Metrics, RayInstruments
from geoseg.cluster.places import nodes_with_room
from geoseg.cluster.session import ray_session
from geoseg.io.gdal_environment import gdal_environment
from geoseg.runner import ItemT, Job, Report, Unit


class RayRunner:
    """Runs units on Ray actors, in a local Ray by default.

    Args:
        workers: Actors.
        threads: CPU threads of each.
        gpu: Whether each actor has a GPU of its own (which it then sees as the only one).
        address: A running cluster ("auto", HOST:PORT), or None for a Ray of this process's own.
        gdal: Environment variables for the workers' GDAL (`geoseg.io.gdal_environment`), the usual by default.
        rules: How failures of units are met.
        patience: How long workers may stay away.
        instruments: Where the numbers for who watches go, Ray's own by default.
    """

    def __init__(
        self,
        workers: int,
        threads: int,
        *,
        gpu: bool,
        address: str | None = None,
        gdal: Mapping[str, str] | None = None,
        rules: Rules = Rules(),  # noqa: B008  # a frozen value
        patience: Patience = Patience(),  # noqa: B008  # a frozen value
        instruments: Instruments | None = None,
    ) -> None:
        self._workers = workers
        self._threads = threads
        self._gdal = gdal_environment() if gdal is None else gdal
        self._address = address
        self._rules = rules
        self._patience = patience
        self._instruments = instruments
        self._options: dict[str, Any] = {
            "num_cpus": threads,
            "num_gpus": 1 if gpu else 0,
            # The process comes back for other units; whether its unit is tried again is the driver's to say.
            "max_restarts": -1,
            "max_task_retries": 0,
            "max_concurrency": rules.in_flight,
            "runtime_env": {"env_vars": self._environment()},
        }
        self._crew: Crew | None = None
        self._jobs = 0
        self._started = ExitStack()

    def _environment(self) -> dict[str, str]:
        """Set before a worker's libraries load; Ray would set the thread counts from num_cpus by itself."""
        return {
            **self._gdal,
            "OMP_NUM_THREADS": str(self._threads),
            "MKL_NUM_THREADS": str(self._threads),
            # Each thread's own heap would keep what it once held: two are enough for three threads.
            "MALLOC_ARENA_MAX": "2",
            # An actor that Ray gives no GPU may still have been told which one to use (--device cuda:1).
            "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        }

    def __enter__(self) -> Self:
        self._started.enter_context(ray_session(self._address, self._workers * self._threads))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._crew is not None:
                self._crew.dismiss()
                self._crew = None
        finally:
            self._started.close()

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Generator[Report]:
        """Do every unit and report it when it is done or given up, in no fixed order.

        A unit that fails goes to another worker if there is one, after a pause. The processes stay for the next
        job. Leaving early ends the processes that are at work.

        Raises:
            OSError: A worker's disk is full.
            GeosegError: A node cannot open the job (no model there, say).
            StoppedError: No worker answers.
        """
        if not units:
            return
        if self._crew is None:
            self._crew = Crew(self._options, self._patience)
        if self._instruments is None:
            self._instruments = RayInstruments()
        self._jobs += 1
        metrics = Metrics(self._instruments, type(job).__name__)
        size = min(self._workers, len(units))
        self._crew.hire(size)
        # The number names the job: a process that was started again, or never had it, opens it.
        dispatch = Dispatch(units, self._rules, size)
        nodes = nodes_with_room(self._threads, gpu=self._options["num_gpus"] > 0)
        yield from drive(self._crew, dispatch, metrics, size, (self._jobs, ray.put(job)), nodes)
