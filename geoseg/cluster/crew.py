"""The actors of a runner: hired, greeted, replaced, dismissed.

A worker gets units only after it answered a greeting, and again after each error, because Ray's own errors do not
say whether a process died or only an answer was lost. The name in the answer does: another name, another process.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RuntimeEnvSetupError

from geoseg.cluster.actor import WorkerProcess
from geoseg.errors import StoppedError
from geoseg.progress import warn
from geoseg.runner import one_line

_GREETINGS = "greetings"
"""A thread of its own in each actor, so that a busy one answers too."""

_AGAIN_S = 0.2
"""Between greetings to a worker that does not answer."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds.

    Attributes:
        start_s: Workers that have not started after this are warned about; the run goes on with the others.
        return_s: A worker that has not come back after this is replaced.
        silence_s: Without any worker for so long the run stops.
        opening_s: A worker that opens its job for longer is killed, and opens it anew.
    """

    start_s: float = 15.0
    return_s: float = 30.0
    silence_s: float = 600.0
    opening_s: float = 1800.0


@dataclass(slots=True, eq=False)
class _Member:
    """An actor: since when it is silent, the greeting on its way, the process it was last, one that was killed."""

    handle: Any
    silent_since_s: float
    greet_at_s: float
    greeting: Any = None
    stale: bool = False
    process: str | None = None
    killed: str | None = None
    up: bool = False


@dataclass(frozen=True, slots=True)
class Arrival:
    """A worker answered a greeting."""

    worker: int
    new_process: bool


@dataclass(frozen=True, slots=True)
class Departure:
    """A worker will not come back; another one was hired in its place."""

    worker: int


class Crew:
    """Actors by number; a number is never used twice.

    Args:
        options: Of each actor: its CPUs, GPUs and environment.
        patience: How long to wait for what.

    Attributes:
        patience: The same.
    """

    def __init__(self, options: dict[str, Any], patience: Patience) -> None:
        self._options = options
        grouped: dict[str, Any] = {**options, "concurrency_groups": {_GREETINGS: 1}}
        self._class = ray.remote(**grouped)(WorkerProcess)
        self.patience = patience
        self._members: dict[int, _Member] = {}
        self._greetings: dict[Any, int] = {}
        self._hired = 0
        self._refused = 0
        self._warned = False
        self._silent_since_s: float | None = None

    def hire(self, size: int) -> None:
        """Start actors until there are `size`, less those that were refused, but one at least."""
        self._silent_since_s = None
        while len(self._members) < max(1, size - self._refused):
            now_s = time.monotonic()
            handle = self._class.remote()
            self._hired += 1
            self._members[self._hired] = _Member(handle, silent_since_s=now_s, greet_at_s=now_s)

    @property
    def size(self) -> int:
        """How many workers there are, whether they answer or not."""
        return len(self._members)

    def refuse(self, worker: int) -> None:
        """Do without a worker, whose node cannot do the work, and without another one in its place."""
        self.dismiss([worker])
        self._refused += 1

    def up(self) -> list[int]:
        """Workers that may be given units."""
        return [worker for worker, member in self._members.items() if member.up]

    def handle(self, worker: int) -> Any:  # noqa: ANN401  # Ray's handles have no type
        """A worker's actor."""
        return self._members[worker].handle

    def greetings(self) -> list[Any]:
        """References that become ready when a worker answers."""
        return list(self._greetings)

    def doubt(self, worker: int) -> None:
        """Something went wrong with a worker: it counts as silent until it answers another greeting."""
        member = self._members[worker]
        if member.up:
            member.up = False
            member.silent_since_s = member.greet_at_s = time.monotonic()
        # An answer that is on its way may be from before what went wrong.
        member.stale = member.greeting is not None

    def kill(self, worker: int) -> None:
        """End a worker's process; Ray starts another one for it."""
        member = self._members[worker]
        member.killed = member.process  # it may answer until the kill arrives
        ray.kill(member.handle, no_restart=False)
        self.doubt(worker)

    def dismiss(self, workers: list[int] | None = None) -> None:
        """End workers for good, all by default."""
        for worker in list(self._members) if workers is None else workers:
            member = self._members.pop(worker, None)
            if member is not None:
                self._greetings.pop(member.greeting, None)
                if ray.is_initialized():
                    ray.kill(member.handle)

    def answered(self, reference: Any) -> Arrival | Departure | None:  # noqa: ANN401  # Ray's references have no type
        """What the answer to a greeting says; None if it has to be asked again.

        Raises:
            StoppedError: Workers cannot be started there at all.
        """
        worker = self._greetings.pop(reference, None)
        if worker is None:  # dismissed meanwhile
            return None
        member = self._members[worker]
        member.greeting = None
        now_s = time.monotonic()
        try:
            process: str = ray.get(reference)
        except RuntimeEnvSetupError as error:
            raise _cannot_start(error) from error
        except ActorUnavailableError:
            member.greet_at_s = now_s + _AGAIN_S
            return None
        except RayActorError as error:
            if error.actor_init_failed:
                raise _cannot_start(error) from error
            return self._replace(worker)
        except RayError:
            member.greet_at_s = now_s + _AGAIN_S
            return None
        if member.stale or process == member.killed:
            member.greet_at_s = now_s if member.stale else now_s + _AGAIN_S
            member.stale = False
            return None
        new, member.process, member.up = process != member.process, process, True
        return Arrival(worker, new)

    def look_after(self, size: int) -> Iterator[Departure]:
        """Greet who is silent, replace who stays silent, and say so where there are too few.

        Args:
            size: Workers that are asked for.

        Raises:
            StoppedError: Nobody has answered for too long.
        """
        now_s = time.monotonic()
        silent = [(worker, member) for worker, member in self._members.items() if not member.up]
        if not silent:
            self._silent_since_s = None
            return
        for worker, member in silent:
            silent_s = now_s - member.silent_since_s
            if member.process is not None and silent_s > self.patience.return_s:
                yield self._replace(worker)
            elif member.greeting is None and member.greet_at_s <= now_s:
                member.greeting = member.handle.hello.options(concurrency_group=_GREETINGS).remote()
                self._greetings[member.greeting] = worker
        self._speak_up(size, len(self._members) - len(silent), now_s)

    def _replace(self, worker: int) -> Departure:
        size, silent_since_s = len(self._members), self._silent_since_s
        self.dismiss([worker])
        self.hire(size + self._refused)
        self._silent_since_s = silent_since_s
        return Departure(worker)

    def _speak_up(self, size: int, up: int, now_s: float) -> None:
        if up:
            self._silent_since_s = None
        elif self._silent_since_s is None:
            self._silent_since_s = now_s
        elif now_s - self._silent_since_s > self.patience.silence_s:
            raise StoppedError(
                f"no worker has answered for {self.patience.silence_s:g} s ({self._asked(size)}): "
                "bring the cluster back or ask for less, then run the same command again"
            )
        waited_s = now_s - min(member.silent_since_s for member in self._members.values() if not member.up)
        if not self._warned and up < size and waited_s > self.patience.start_s:
            self._warned = True
            warn(f"{size - up} of {size} workers have not answered for {waited_s:.0f} s ({self._asked(size)})")

    def _asked(self, size: int) -> str:
        each = ", ".join(
            f"{self._options[option]:g} {kind}"
            for option, kind in (("num_cpus", "CPU"), ("num_gpus", "GPU"))
            if self._options[option]
        )
        has = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray's own
        free = ray.available_resources()  # type: ignore[no-untyped-call]  # Ray's own
        cluster = ", ".join(f"{has.get(kind, 0):g} {kind}, {free.get(kind, 0):g} free" for kind in ("CPU", "GPU"))
        return f"asked for {size} workers of {each} each; the cluster has {cluster}"


def _cannot_start(error: RayError) -> StoppedError:
    return StoppedError(
        f"the cluster's workers cannot start: {one_line(error)[-300:]}: install the same geoseg there, "
        "then run the same command again"
    )
