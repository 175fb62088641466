"""A worker process: opens a job once, then does its units, two at a time."""

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from geoseg.heap import release_heap
from geoseg.runner import Job, Report, Unit, attempt_unit


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

    def run(self, number: int, job: Job[Any], unit: Unit[Any], attempt: int) -> Report:
        """Do a unit of the job with this number, opening the job first where this process has not."""
        with self._opening:
            if self._work is None or self._number != number:
                self._work = None  # the last job's model makes room for the next
                release_heap()
                self._work, self._number = job.open(), number
            work = self._work
        return attempt_unit(work, unit, attempt)
