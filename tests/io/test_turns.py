"""Work that waits for servers: side by side while it waits, one at a time otherwise, and left at once when told."""

import signal
import threading
from collections.abc import Callable

import pytest

from geoseg.errors import SceneError
from geoseg.io.turns import MOST_AT_ONCE, side_by_side, turn, waiting

PATIENCE_S = 60
"""Nobody waits so long unless something is wrong."""


class Most:
    """How many threads were in a part of the work at once, at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1


def test_results_come_in_the_order_of_the_items() -> None:
    # The first of two answers only after the second has asked.
    asked = [threading.Event() for _ in range(3)]

    def work(item: int) -> int:
        asked[item].set()
        return waiting(lambda: asked[item + 1].wait(PATIENCE_S)) * item if item < 2 else item

    assert side_by_side(work, range(3)) == [0, 1, 2]


def test_only_waiting_is_done_together_and_not_without_end() -> None:
    waits, works = Most(), Most()
    all_wait = threading.Barrier(MOST_AT_ONCE)

    def ask() -> int:
        with waits:
            return all_wait.wait(PATIENCE_S)

    def work(_: int) -> int:
        with turn():  # it has it already
            with works:
                pass
            found = waiting(ask)
            with works:
                return found

    found = side_by_side(work, range(5 * MOST_AT_ONCE))
    assert sorted(found) == sorted(5 * list(range(MOST_AT_ONCE)))
    assert (waits.most, works.most) == (MOST_AT_ONCE, 1)


def test_without_others_nothing_is_handed_to_threads() -> None:
    here = threading.get_ident()
    for items, at_once in ((["one"], 8), (["one", "two"], 1)):
        assert side_by_side(lambda _: waiting(threading.get_ident), items, at_once) == [here] * len(items)


def test_who_reads_alone_lets_others_open_meanwhile() -> None:
    opened = threading.Event()

    def other() -> None:
        with turn():
            opened.set()

    with turn():
        thread = threading.Thread(target=other)
        thread.start()
        assert waiting(lambda: opened.wait(PATIENCE_S))
    thread.join()


def refused() -> None:
    raise SceneError("no answer")


def mistaken() -> None:
    raise ZeroDivisionError  # a bug: nobody waits for ever


@pytest.mark.parametrize(("ask", "error"), [(refused, SceneError), (mistaken, ZeroDivisionError)])
def test_errors_reach_who_asked(ask: Callable[[], None], error: type[Exception]) -> None:
    def work(item: int) -> None:
        waiting(ask if item else lambda: None)

    with pytest.raises(error):
        side_by_side(work, range(3))


def test_an_interruption_waits_for_no_server() -> None:
    both, never, ended = threading.Barrier(3), threading.Event(), []

    def ask() -> bool:
        both.wait(PATIENCE_S)
        return never.wait(PATIENCE_S)

    def work(item: int) -> None:
        try:
            waiting(ask)
        except SceneError as error:
            ended.append((item, str(error)))
            raise

    def interrupt() -> None:
        both.wait(PATIENCE_S)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(work, range(10), 2)
    # They ended while the server still kept silent, and the others were never begun.
    assert sorted(ended) == [(item, "stopped before the server answered") for item in range(2)]
    assert not never.is_set()
    never.set()
    thread.join()
