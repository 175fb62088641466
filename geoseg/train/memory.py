"""Memory that does not suffice: how it is recognized, and which batch would fit."""

import gc
from collections.abc import Callable

import torch

from geoseg.errors import GeosegError


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was short: torch's on a GPU, Python's, or that of torch's CPU allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def fitting_batch(attempt: Callable[[int], None], batch: int) -> int | None:
    """The first of batch / 2, batch / 4, ... (rounded down) whose step goes through; None where not even 1 does.

    Args:
        attempt: Does a whole step with so many crops; what it leaves is freed before the next.
        batch: What does not fit.
    """
    while batch > 1:
        batch //= 2
        release()
        if _goes_through(attempt, batch):
            return batch
    return None


def release() -> None:
    """Give back what nothing refers to any more, to the GPU, too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _goes_through(attempt: Callable[[int], None], batch: int) -> bool:
    try:
        attempt(batch)
    except GeosegError:  # a network that does not train on so few crops
        return False
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
