"""Files that are opened when they are needed, and not too many of them at once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol, TypeVar, cast

MOST_OPEN = 64
"""Files that scenes hold open together; data sets may have tens of thousands."""


class _Closable(Protocol):
    def close(self) -> None: ...


_OpenT = TypeVar("_OpenT", bound=_Closable)


class OpenFiles:
    """What is open, by a key; what was used longest ago is closed where it becomes too much. For one thread.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int = MOST_OPEN) -> None:
        self._most = most
        self._open: OrderedDict[Hashable, _Closable] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _OpenT]) -> _OpenT:
        """What is open under a key, or else opened."""
        if key not in self._open:
            self._open[key] = make()
            while len(self._open) > self._most:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(key)
        # A key is always used with the same way to open it.
        return cast("_OpenT", self._open[key])

    def close(self) -> None:
        """Close all."""
        while self._open:
            self._open.popitem()[1].close()
