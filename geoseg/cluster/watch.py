"""What a driver hears of the workers of its training, and says of it."""

import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayError

from geoseg.cluster.board import News
from geoseg.errors import GeosegError, StoppedError
from geoseg.progress import warn
from geoseg.runner import one_line
from geoseg.train.steps import Step

_PATIENCE_S = 30.0
"""Workers that have not begun after this are warned about: the cluster may be busy, or grow first."""


class Watch:
    """What the driver knows of its workers.

    Attributes:
        error: Why no worker can go on, if one said so.
    """

    def __init__(self, board: Any, report: Callable[[Step], None], failures: int) -> None:  # noqa: ANN401  # Ray's
        """Begin to wait for them.

        Args:
            board: The actor that hears from them.
            report: Called with each iteration.
            failures: Times that workers may die, for messages.
        """
        self._board = board
        self._report = report
        self._failures = failures
        self._asked_s: float | None = None
        self._began_s: float | None = time.monotonic()
        self._starts = 0
        self.error: GeosegError | None = None

    def look(self) -> None:
        """Hand on what is new.

        Raises:
            StoppedError: Ray is gone.
        """
        news = self._news()
        for iteration in news.starts:
            self._starts += 1
            self._began_s = None
            if self._starts > 1:
                warn(
                    f"workers died; they go on from iteration {iteration} (start {self._starts} of "
                    f"{self._failures + 1})"
                )
        for step in news.steps:
            self._report(step)
        self.error = self.error or news.error
        if self._began_s is not None and time.monotonic() - self._began_s > _PATIENCE_S:
            self._began_s = None
            warn(f"the workers have not begun for {_PATIENCE_S:.0f} s: the cluster is busy, or grows first")

    def _news(self) -> News:
        try:
            return ray.get(self._board.news.remote())
        except RayError as error:
            raise StoppedError(
                f"Ray is gone ({type(error).__name__}: {one_line(error)}): run the same command again"
            ) from error

    def ask_to_stop(self) -> float:
        """Ask the workers to stop; returns for how many seconds they have been asked."""
        if self._asked_s is None:
            self._asked_s = time.monotonic()
            self._board.ask_to_stop.remote()
        return time.monotonic() - self._asked_s
