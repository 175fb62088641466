"""How long a unit may take before its worker counts as hung."""

import statistics
from collections import deque

_KEPT = 101
"""Finished units that the median is taken of: the last ones, so that it costs nothing and follows the work."""


class Watchdog:
    """Compares units with those that finished.

    A unit may take `floor_s` or `factor` times the median of those that finished, whichever is longer. Before the
    first one has finished nobody knows what is usual: then it is `factor` times `floor_s`.

    Args:
        floor_s: Nothing shorter than this counts as hung, in seconds.
        factor: Times the median.
    """

    def __init__(self, floor_s: float, factor: float) -> None:
        self._floor_s = floor_s
        self._factor = factor
        self._last_s: deque[float] = deque(maxlen=_KEPT)

    def finished(self, seconds: float) -> None:
        """Remember how long a unit took."""
        self._last_s.append(seconds)

    def limit_s(self) -> float:
        """Seconds that a unit may take."""
        if not self._last_s:
            return self._factor * self._floor_s
        return max(self._floor_s, self._factor * statistics.median(self._last_s))
