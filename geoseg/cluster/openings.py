"""Workers that open a job: none gets a unit before it has, and none at all before each node of the start has."""

import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from geoseg.cluster.crew import Crew
from geoseg.errors import GeosegError, InputChangedError, StoppedError
from geoseg.progress import warn
from geoseg.runner import ATTEMPTS, is_disk_full, one_line


@dataclass(frozen=True, slots=True)
class _Asked:
    """A worker that was asked to open the job: whether its process was new then, and since when it is at it."""

    worker: int
    new_process: bool
    since_s: float


@dataclass(frozen=True, slots=True)
class Opened:
    """A worker is ready for units."""

    worker: int
    new_process: bool


class Openings:
    """The openings of one job.

    Args:
        crew: The workers.
        job: Number of the job, and the reference to it.
        nodes: Ids of the nodes that have room for a worker as the job begins.
        size: Workers that are asked for.
    """

    def __init__(self, crew: Crew, job: tuple[int, Any], nodes: frozenset[str], size: int) -> None:
        self._crew = crew
        self._number, self._job = job
        self._nodes = nodes
        self._size = size
        self._asked: dict[Any, _Asked] = {}
        self._fallen: set[int] = set()
        self._deaths = 0
        self._ready: dict[int, str] = {}
        self._begun = False
        self._began_s = time.monotonic()

    def ask(self, worker: int, *, new_process: bool) -> None:
        """Have a worker that answers open the job.

        Raises:
            StoppedError: Processes die of it again and again.
        """
        if new_process and worker in self._fallen:
            self._deaths += 1
        self._fallen.discard(worker)
        if self._deaths >= ATTEMPTS * self._size:
            raise StoppedError(
                f"worker processes died {self._deaths} times while they opened their work (a model that needs more "
                "memory than they have?): see to the cause, then run the same command again"
            )
        answer = self._crew.handle(worker).prepare.remote(self._number, self._job)
        self._asked[answer] = _Asked(worker, new_process, time.monotonic())

    def references(self) -> list[Any]:
        """References that become ready when a worker has opened the job."""
        return list(self._asked)

    def forget(self, worker: int) -> None:
        """A worker is gone, or its answers are from before something went wrong with it."""
        self._asked = {answer: asked for answer, asked in self._asked.items() if asked.worker != worker}
        self._ready.pop(worker, None)

    def answered(self, reference: Any) -> Opened | None:  # noqa: ANN401  # Ray's references have no type
        """A worker that is ready for units; None of one that is not, and of what is no answer to an opening.

        Raises:
            GeosegError: A node cannot do the job, and none has begun to.
            StoppedError: What one found no node could go on with.
        """
        asked = self._asked.pop(reference, None)
        if asked is None:
            return None
        try:
            opening = ray.get(reference)
        except RayTaskError as error:
            raise error.cause from error  # a bug
        except RayError:
            self._fallen.add(asked.worker)
            self._crew.doubt(asked.worker)
            return None
        if opening.error is not None:
            self._refuse(asked.worker, opening.host, opening.error)
            return None
        self._deaths = 0
        self._ready[asked.worker] = opening.node
        return Opened(asked.worker, asked.new_process)

    def hung(self) -> list[int]:
        """Workers whose opening takes too long."""
        latest_s = time.monotonic() - self._crew.patience.opening_s
        return [asked.worker for asked in self._asked.values() if asked.since_s < latest_s]

    def kill(self, worker: int) -> None:
        """End the process of a worker that hangs; another one opens the job anew."""
        self.forget(worker)
        self._fallen.add(worker)
        self._crew.kill(worker)

    def may_begin(self) -> bool:
        """Whether units may be handed out: each node of the start has opened the job, or takes too long to."""
        self._begun = self._begun or (
            bool(self._ready)
            and (
                self._nodes.issubset(self._ready.values())
                or len(self._ready) >= self._crew.size
                or time.monotonic() - self._began_s > self._crew.patience.start_s
            )
        )
        return self._begun

    def _refuse(self, worker: int, host: str, error: Exception) -> None:
        """Stop where nothing has begun; a node that came later is left out, and its workers are not replaced."""
        if is_disk_full(error):
            raise error
        named: GeosegError
        if isinstance(error, GeosegError):
            named = type(error)(f"node {host}: {error}")
        else:
            named = StoppedError(f"node {host}: {one_line(error)}")
        # What changed for all is noticed by the others, too, before they mark a block as done.
        stops = isinstance(named, StoppedError) and not isinstance(named, InputChangedError)
        if not self._begun or stops or self._crew.size == 1:
            raise named from error
        warn(f"{named}; the run goes on without this worker")
        self._crew.refuse(worker)
