"""Files on web servers, looked at side by side: they are waited for together, all else one thread does at a time.

Each raster that rasterio opens for us adds a file system to GDAL's table of them, which has no lock: where threads
add, search and remove at once, the process dies of a segmentation fault, some time in a minute. So a thread has the
turn while it opens or closes such a raster, and lets go of it only while it waits for a server: then GDAL is in the
midst of reading the thread's own file, and of nothing that is shared. Where many files are looked at, a thread has
the turn for all that it does.

The waiting itself is for a thread that knows nothing of GDAL: who is interrupted leaves it behind, and need not
wait for a server first.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

from geoseg.errors import SceneError

MOST_AT_ONCE = 8
"""Files that are looked at together: so many requests are under way, and so many files' parts kept in memory."""

_LISTEN_S = 0.5
"""A signal that comes just as a thread begins to wait for a lock does not wake it: who waits looks up so often."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_turn = threading.Lock()


class _Here(threading.local):
    """What a thread knows of itself: whether it has the turn, and when it is to stop (None: never)."""

    has_turn = False
    stop: Future[None] | None = None


_here = _Here()


@contextmanager
def turn() -> Iterator[None]:
    """Have the turn, unless this thread has it already."""
    if _here.has_turn:
        yield
        return
    with _turn:
        _here.has_turn = True
        try:
            yield
        finally:
            _here.has_turn = False


def waiting(ask: Callable[[], _Result]) -> _Result:
    """What a function gives that waits for a server and does nothing else; others have the turn meanwhile.

    Raises:
        SceneError: The work was stopped before there was an answer.
    """
    if not _here.has_turn:
        return ask()
    _turn.release()
    try:
        return ask() if _here.stop is None else _left_behind(ask, _here.stop)
    finally:
        _turn.acquire()


def _left_behind(ask: Callable[[], _Result], stop: Future[None]) -> _Result:
    """An answer, unless the work is stopped before it comes."""
    answer: Future[_Result] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits and raised there
            answer.set_exception(error)

    threading.Thread(target=work, name="server", daemon=True).start()
    ends: list[Future[Any]] = [answer, stop]
    wait(ends, return_when=FIRST_COMPLETED)
    if stop.done():
        raise SceneError("stopped before the server answered")
    return answer.result()


def side_by_side(
    work: Callable[[_Item], _Result], items: Sequence[_Item], at_once: int = MOST_AT_ONCE
) -> list[_Result]:
    """What a function gives for each item, in their order; while it waits for one's server it goes on with others.

    Args:
        work: The function. It may be in the midst of several items at a time, but runs for one of them only.
        items: The items.
        at_once: It is in the midst of so many at most.

    Raises:
        Exception: What the function raised for the first item that it raised for.
    """
    if min(len(items), at_once) < 2:
        return [work(item) for item in items]
    stop: Future[None] = Future()
    # An interruption while threads are being started would leave one behind that nobody waits for.
    all_started = threading.Event()

    def in_turn(item: _Item) -> _Result:
        all_started.wait()
        if stop.done():
            raise SceneError("stopped before it began")
        _here.stop = stop
        with turn():
            return work(item)

    pool = ThreadPoolExecutor(min(at_once, len(items)), thread_name_prefix="scene")
    try:
        futures = [pool.submit(in_turn, item) for item in items]
        all_started.set()
        return list(map(_result, futures))
    finally:
        # After an interruption (and an error) what is under way ends at once, and nothing else begins: nobody wants
        # its answers any more.
        pool.shutdown(wait=False, cancel_futures=True)
        stop.set_result(None)
        all_started.set()
        pool.shutdown()


def _result(future: Future[_Result]) -> _Result:
    """What a future holds, once it is done; until then an interruption is noticed."""
    while not future.done():
        wait((future,), _LISTEN_S)
    return future.result()
