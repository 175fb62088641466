"""Signals that ask a training to stop: the step is finished and kept first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked to stop.

    Attributes:
        asked: Whether a signal came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False

    def take(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal: remember the first, stop at the second.

        Raises:
            KeyboardInterrupt: It is the second, or nothing must be finished first.
        """
        if self.asked or self._at_once:
            raise KeyboardInterrupt
        self.asked = True

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A signal raises KeyboardInterrupt within."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False


@contextmanager
def stops() -> Iterator[Stop]:
    """Take SIGINT and SIGTERM for a while; those that are ignored (Ctrl-C, in the background) stay so.

    Outside the main thread no signal arrives, and none is taken.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    now = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # SIGTERM's default would end the process in the middle of a step; from Python it is taken over likewise.
    before = {number: handler for number, handler in now.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop.take)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
