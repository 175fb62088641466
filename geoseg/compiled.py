"""How loops are compiled: by numba, once on each machine where that can be kept."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Loop = TypeVar("_Loop", bound=Callable[..., Any])


def compiled(loop: _Loop) -> _Loop:
    """Compile a function over arrays and numbers when it is first called."""
    try:
        return cast("_Loop", njit(cache=True, nogil=True)(loop))
    except RuntimeError:  # neither beside the code nor in the user's cache can anything be written
        return cast("_Loop", njit(nogil=True)(loop))


@compiled
def with_room(values: NDArray[Any], count: int) -> NDArray[Any]:
    """The same values (n,), and room for so many at least."""
    if count <= len(values):
        return values
    longer = np.empty(2 * count, values.dtype)
    for i in range(len(values)):
        longer[i] = values[i]
    return longer
