"""Threads: how many torch computes with, and turns among those that share what only one may use."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count

import torch


@contextmanager
def torch_threads(number: int | None) -> Iterator[None]:
    """Let torch compute with `number` CPU threads (None: as before), and put back what was set before.

    The setting is the whole process's: a caller from Python gets his own back, whatever ran in between.
    """
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


class Turns:
    """Threads that prepare side by side and then work one after the other, in the order of their ranks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._places = count()
        self._waiting: set[tuple[tuple[int, ...], int]] = set()
        self._busy = False

    @contextmanager
    def place(self, rank: tuple[int, ...]) -> Iterator[Callable[[], AbstractContextManager[None]]]:
        """Take a place; it is given up when the block ends, however that is.

        Args:
            rank: tuple[int, ...]thing with an order. Lower ranks that have a place already come first.

        Yields:
            A context manager that begins when it is this place's turn, and lets the next one begin when it ends.
        """
        with self._changed:
            mine = rank, next(self._places)
            self._waiting.add(mine)
        try:
            yield lambda: self._turn(mine)
        finally:
            self._leave(mine)

    @contextmanager
    def _turn(self, mine: tuple[tuple[int, ...], int]) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and min(self._waiting) == mine)
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
            self._leave(mine)

    def _leave(self, mine: tuple[tuple[int, ...], int]) -> None:
        with self._changed:
            self._waiting.discard(mine)
            self._changed.notify_all()
