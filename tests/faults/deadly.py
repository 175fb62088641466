"""Jobs that go wrong, around the real ones: they stand at the seam between runner and work."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.runner import ItemT, Job, Report, Runner, Unit
from geoseg.tiling import Block
from geoseg.work.predict import PredictBlocks

_MIDDLE_S = 0.05
"""After so long a block is being worked on and not yet done."""


@dataclass(frozen=True, slots=True)
class Dying:
    """Predicts blocks, and ends its own process in the middle of some of them.

    Attributes:
        job: The real work.
        folder: Where the deaths are noted: processes forget.
        keys: Blocks that are deadly.
        times: How often each is.
    """

    job: PredictBlocks
    folder: str
    keys: frozenset[str]
    times: int

    def open(self) -> Callable[[Block], dict[str, Any]]:
        """Open the real work."""
        work = self.job.open()

        def predict(block: Block) -> dict[str, Any]:
            deaths = Path(self.folder)
            before = len(list(deaths.glob(f"{block.key}.*")))
            if block.key in self.keys and before < self.times:
                (deaths / f"{block.key}.{before}").touch()
                threading.Timer(_MIDDLE_S, os._exit, (1,)).start()
                # Not past the end, however fast the machine is.
                threading.Event().wait(_MIDDLE_S / 2)
                result = work(block)
                threading.Event().wait(10)
                return result
            return work(block)

        return predict


class Deadly(Runner):
    """A runner whose processes die while they predict some blocks.

    Args:
        runner: The real one.
        folder: Where the deaths are noted.
        keys: Blocks that are deadly.
        times: How often each is.
    """

    def __init__(self, runner: Runner, folder: Path, keys: Sequence[str], times: int) -> None:
        self._runner = runner
        self._folder = folder
        self._keys = frozenset(keys)
        self._times = times
        self.units: dict[str, int] = {}

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        """Do the units; those of the mosaic by way of `Dying`."""
        real: Any = job
        if not isinstance(real, PredictBlocks):
            yield from self._runner.run(job, units)
            return
        dying: Any = Dying(real, str(self._folder), self._keys, self._times)
        for report in self._runner.run(dying, units):
            self.units[report.key] = self.units.get(report.key, 0) + report.attempts
            yield report
