"""Threads: how many torch computes with, and turns among those that share what only one may use."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with `count` CPU threads (None: as before), and put back what was set before.

    The setting is the whole process's: a caller from Python gets his own back, whatever ran in between.
    """
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


class Turn:
    """A place in a queue."""

    def __init__(self, turns: "Turns", number: int) -> None:
        self._turns = turns
        self._number = number

    def wait(self) -> None:
        """Return when all that came before are through."""
        self._turns.wait(self._number)


class Turns:
    """A queue of threads: each takes a place at once, prepares, and waits for its turn when it is ready."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken = 0
        self._through: set[int] = set()
        self._next = 0

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Take the next place; it is given up when the block ends, however that is."""
        with self._changed:
            number = self._taken
            self._taken += 1
        try:
            yield Turn(self, number)
        finally:
            with self._changed:
                self._through.add(number)
                while self._next in self._through:
                    self._through.remove(self._next)
                    self._next += 1
                self._changed.notify_all()

    def wait(self, number: int) -> None:
        """Return when it is a place's turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._next == number)
