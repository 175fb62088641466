"""Units that nobody has tried yet, in lanes: neighbours go to one worker, which then reads shared pixels once."""

from collections import deque
from collections.abc import Sequence
from typing import Generic

from geoseg.runner import ItemT, Unit


class Lanes(Generic[ItemT]):
    """Hands out units: a worker goes along its lane; without one it takes a fresh lane, or helps out.

    Taking a unit costs the same however many wait (a helper looks at one lane for each worker).

    Args:
        units: All units; those of one lane keep their order, lanes that of their first units.
    """

    def __init__(self, units: Sequence[Unit[ItemT]]) -> None:
        self._queues: dict[int, deque[Unit[ItemT]]] = {}
        for unit in units:
            self._queues.setdefault(unit.lane, deque()).append(unit)
        self._fresh = deque(self._queues)
        self._lane_of: dict[int, int] = {}

    def take(self, worker: int) -> Unit[ItemT] | None:
        """The next unit for a worker, or None where there is none left."""
        lane = self._lane_of.pop(worker, None)
        if (lane is None or not self._queues[lane]) and self._fresh:
            lane = self._fresh.popleft()
        if lane is not None and self._queues[lane]:
            self._lane_of[worker] = lane
            return self._queues[lane].popleft()
        # From the far end, where the lane's own worker comes last.
        longest = max((self._queues[lane] for lane in self._lane_of.values()), key=len, default=None)
        return longest.pop() if longest else None

    def release(self, worker: int) -> None:
        """Leave a worker's lane to others: it is gone."""
        lane = self._lane_of.pop(worker, None)
        if lane is not None and self._queues[lane]:
            self._fresh.appendleft(lane)
