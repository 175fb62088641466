"""Work ahead on another thread, so that whoever consumes the results does not wait."""

import queue
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Generic, TypeVar

_Item = TypeVar("_Item")

_LOOK_UP_S = 0.1
"""How often a thread that waits for room looks whether it is still wanted."""


@dataclass(frozen=True, slots=True)
class _Made(Generic[_Item]):
    item: _Item


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


def prefetch(make: Callable[[int], _Item], start: int, stop: int, depth: int) -> Generator[_Item, None, None]:
    """Yield make(start) to make(stop - 1) in order, made ahead on one background thread.

    An exception in `make` is raised here, in its place in the order. Closing the generator stops the thread
    after the item that it is working on.

    Args:
        make: Called on the background thread only.
        start: The first argument.
        stop: One past the last argument.
        depth: Items that may wait, at least 1; the thread rests while there are that many.
    """
    waiting: queue.Queue[_Made[_Item] | _Failed] = queue.Queue(max(1, depth))
    unwanted = threading.Event()

    def work() -> None:
        for number in range(start, stop):
            entry = _attempt(make, number)
            _put(waiting, entry, unwanted)
            if unwanted.is_set() or isinstance(entry, _Failed):
                return

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        for _ in range(start, stop):
            match waiting.get():
                case _Made(item):
                    yield item
                case _Failed(error):
                    raise error
    finally:
        unwanted.set()
        thread.join()


def _attempt(make: Callable[[int], _Item], number: int) -> _Made[_Item] | _Failed:
    try:
        return _Made(make(number))
    except BaseException as error:  # noqa: BLE001 - carried to the consumer's thread and raised there
        return _Failed(error)


def _put(
    waiting: "queue.Queue[_Made[_Item] | _Failed]", entry: _Made[_Item] | _Failed, unwanted: threading.Event
) -> None:
    """Wait for room, unless nobody wants the entry any more."""
    while not unwanted.is_set():
        try:
            waiting.put(entry, timeout=_LOOK_UP_S)
        except queue.Full:
            continue
        return
