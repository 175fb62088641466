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
def test_turns_are_taken_by_rank_and_given_up_by_whoever_fails(failing: int | None) -> None:
    turns, order = Turns(), list[int]()
    all_there = threading.Barrier(6)

    def use(rank: int) -> None:
        with turns.place((rank,)) as turn:
            all_there.wait(10)
            if rank == failing:
                raise ValueError("within")
            if rank % 2 == 0:
                time.sleep(0.01)  # those that are ready first still wait
            with turn():
                order.append(rank)
                time.sleep(0.001)
                assert order[-1] == rank, "only one at a time"

    with ThreadPoolExecutor(6) as pool:
        done = [pool.submit(use, rank) for rank in (4, 0, 5, 2, 1, 3)]
    assert [isinstance(one.exception(), ValueError) for one in done].count(True) == (failing is not None)
    assert order == [rank for rank in range(6) if rank != failing]


def test_equal_ranks_have_a_turn_each() -> None:
    turns, both_there = Turns(), threading.Barrier(2)

    def use() -> str:
        with turns.place((1,)) as turn:
            both_there.wait(10)
            with turn():
                return "done"

    with ThreadPoolExecutor(2) as pool:
        assert [one.result(10) for one in (pool.submit(use), pool.submit(use))] == ["done", "done"]
