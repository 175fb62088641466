"""Units that nobody has tried yet, in lanes: neighbours go to one worker, which then reads shared pixels once."""

from collections import deque
from collections.abc import Sequence
from typing import Generic

from geoseg.runner import ItemT, Unit


class Lanes(Generic[ItemT]):
    """Hands out units: a worker goes along its lane; without one it takes a fresh lane, or half of another's.

    Taking a unit costs the same however many wait, but for a lane that is halved, which happens to few of them.

    Args:
        units: All units; those of one lane keep their order, lanes that of their first units.
    """

    def __init__(self, units: Sequence[Unit[ItemT]]) -> None:
        lanes: dict[int, deque[Unit[ItemT]]] = {}
        for unit in units:
            lanes.setdefault(unit.lane, deque()).append(unit)
        self._fresh = deque(lanes.values())
        self._lane_of: dict[int, deque[Unit[ItemT]]] = {}

    def take(self, worker: int) -> Unit[ItemT] | None:
        """The next unit for a worker, or None where there is none left."""
        lane = self._lane_of.pop(worker, None)
        if not lane and self._fresh:
            lane = self._fresh.popleft()
        if not lane:
            lane = self._half_of_the_longest()
        if not lane:
            return None
        self._lane_of[worker] = lane
        return lane.popleft()

    def release(self, worker: int) -> None:
        """Leave a worker's lane to others: it is gone."""
        lane = self._lane_of.pop(worker, None)
        if lane:
            self._fresh.appendleft(lane)

    def _half_of_the_longest(self) -> deque[Unit[ItemT]]:
        """The far half of a lane, where its own worker comes last; it keeps its order."""
        longest = max(self._lane_of.values(), key=len, default=None)
        far: deque[Unit[ItemT]] = deque()
        if longest:
            far.extendleft(longest.pop() for _ in range((len(longest) + 1) // 2))
        return far
