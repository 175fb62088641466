import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.train.prefetch import prefetch


class BrokenSceneError(Exception):
    pass


def prefetching() -> int:
    return sum(thread.name == "prefetch" for thread in threading.enumerate())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 30), st.integers(1, 8))
def test_items_come_in_order_each_made_once(start: int, count: int, depth: int) -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number * number

    numbers = range(start, start + count)
    assert list(prefetch(make, start, start + count, depth)) == [number * number for number in numbers]
    assert made == list(numbers)
    assert prefetching() == 0


def test_an_error_is_raised_in_its_place() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise BrokenSceneError(number)
        return number

    items = prefetch(make, 0, 10, 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BrokenSceneError, match="3"):
        next(items)
    assert prefetching() == 0


def test_leaving_early_stops_the_thread_and_bounds_the_work() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    items = prefetch(make, 0, 10_000, 3)
    assert next(items) == 0
    items.close()
    assert prefetching() == 0
    # One taken, three waiting, one in the making.
    assert len(made) <= 5


def test_items_are_made_on_another_thread() -> None:
    (thread,) = prefetch(lambda _: threading.get_ident(), 0, 1, 1)
    assert thread != threading.get_ident()
