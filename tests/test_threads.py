import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from geoseg.threads import Turns, torch_threads


@pytest.mark.parametrize("count", [1, 3, None])
def test_threads_are_as_before_afterwards(count: int | None) -> None:
    before = torch.get_num_threads()
    with torch_threads(count):
        assert torch.get_num_threads() == (before if count is None else count)
        torch.set_num_threads(before + 1)
    assert torch.get_num_threads() == before


def test_threads_are_as_before_after_an_error() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="within"), torch_threads(before + 2):
        raise ValueError("within")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("failing", [None, 0, 3])
def test_turns_are_taken_in_the_order_of_the_places_and_given_up_by_whoever_fails(failing: int | None) -> None:
    turns, order = Turns(), list[int]()
    ready = [threading.Event() for _ in range(6)]

    def use(number: int) -> None:
        with turns.turn() as mine:
            ready[number].set()
            if number == failing:
                raise ValueError("within")
            if number % 2 == 0:
                time.sleep(0.01)  # those that are ready first still wait
            mine.wait()
            order.append(number)

    with ThreadPoolExecutor(6) as pool:
        done = []
        for number in range(6):
            done.append(pool.submit(use, number))
            assert ready[number].wait(10)
    assert [number for number, one in enumerate(done) if one.exception()] == [failing] * (failing is not None)
    assert order == [number for number in range(6) if number != failing]
