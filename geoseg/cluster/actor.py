"""A worker process: opens a job once, then does its units, two at a time."""

import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from geoseg.errors import GeosegError
from geoseg.heap import release_heap
from geoseg.runner import Job, Report, Unit, attempt_unit


@dataclass(frozen=True, slots=True)
class Opening:
    """What came of opening a job.

    Attributes:
        node: Ray's id of the node.
        host: Its name.
        error: Why it cannot do the job, if so.
    """

    node: str
    host: str
    error: Exception | None


class WorkerProcess:
    """The class of the Ray actors."""

    _work: Callable[[Any], dict[str, Any]] | None = None

    def __init__(self) -> None:
        self._name = f"{os.getpid()}-{time.time_ns()}"
        self._opening = threading.Lock()
        self._number = 0

    def hello(self) -> str:
        """A name that no other process has: whoever hears another one knows that the old process died."""
        return self._name

    def prepare(self, number: int, job: Job[Any]) -> Opening:
        """Open the job with this number, and say whether this node can do it."""
        error: Exception | None = None
        try:
            self._work_of(number, job)
        except (GeosegError, OSError) as failure:
            error = failure
        return Opening(ray.get_runtime_context().get_node_id(), socket.gethostname(), error)

    def run(self, number: int, job: Job[Any], unit: Unit[Any], attempt: int) -> Report:
        """Do a unit of the job with this number, opening the job first where this process has not."""
        return attempt_unit(self._work_of(number, job), unit, attempt)

    def _work_of(self, number: int, job: Job[Any]) -> Callable[[Any], dict[str, Any]]:
        with self._opening:
            if self._work is None or self._number != number:
                self._work = None  # the last job's model makes room for the next
                release_heap()
                self._work, self._number = job.open(), number
            return self._work
