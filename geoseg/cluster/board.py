"""Where workers of a training tell the driver how it goes, and learn whether to stop."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray

from geoseg.errors import GeosegError
from geoseg.train.steps import Step
from geoseg.train.stopping import Stop

_EVERY_S = 0.25
"""Between messages of the leading worker: steps that are done meanwhile go together."""


@dataclass(frozen=True, slots=True)
class News:
    """What came since somebody last looked.

    Attributes:
        steps: Iterations that were done.
        starts: Iterations that the workers began from, each time that they did.
        error: Why no worker can go on, if so.
    """

    steps: tuple[Step, ...]
    starts: tuple[int, ...]
    error: GeosegError | None


class Board:
    """The class of the Ray actor; nothing waits in it."""

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._starts: list[int] = []
        self._error: GeosegError | None = None
        self._stop = False

    def begin(self, iteration: int) -> None:
        """The workers begin, or begin again, after an iteration."""
        self._starts.append(iteration)

    def tell(self, steps: tuple[Step, ...]) -> bool:
        """Iterations are done; returns whether the workers are asked to stop."""
        self._steps += steps
        return self._stop

    def fail(self, error: GeosegError) -> None:
        """No worker can go on, however often it is started again; the first who says so is heard."""
        self._error = self._error or error

    def is_over(self) -> bool:
        """Whether workers that are started again have nothing to do: one failed, or all are asked to stop."""
        return self._error is not None or self._stop

    def ask_to_stop(self) -> None:
        """Ask the workers to finish their step, keep it and end."""
        self._stop = True

    def news(self) -> News:
        """What came since this was called last."""
        steps, self._steps = self._steps, []
        starts, self._starts = self._starts, []
        return News(tuple(steps), tuple(starts), self._error)


class Reporter:
    """The leading worker's line to the board: steps are sent now and then, on a thread of their own."""

    def __init__(self, board: Any, stop: Stop) -> None:  # noqa: ANN401  # Ray's handles have no type
        """Remember whom to tell.

        Args:
            board: The actor.
            stop: Gets what the board answers.
        """
        self._board = board
        self._stop = stop
        self._steps: list[Step] = []
        self._lock = threading.Lock()
        self._over = threading.Event()

    def report(self, step: Step) -> None:
        """Take note of an iteration."""
        with self._lock:
            self._steps.append(step)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send what is reported meanwhile; all of it is sent when the block ends."""
        thread = threading.Thread(target=self._send_on, name="reporter", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._send()

    def _send_on(self) -> None:
        while not self._over.wait(_EVERY_S):
            self._send()

    def _send(self) -> None:
        with self._lock:
            steps, self._steps = tuple(self._steps), []
        if ray.get(self._board.tell.remote(steps)):
            self._stop.asked = True
