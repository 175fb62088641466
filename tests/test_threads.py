import pytest
import torch

from geoseg.threads import torch_threads


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
