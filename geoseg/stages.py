"""How a stage of a run is done: by workers, unit by unit or as one; resumable and timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from geoseg.errors import StoppedError
from geoseg.heap import release_heap, trim_heap
from geoseg.io.run_folder import RunFolder
from geoseg.outcome import Outcome
from geoseg.progress import stage_progress
from geoseg.runner import ItemT, Job, Runner, Unit

_LONG_S = 1.0
"""A stage of more seconds may leave much behind that only a search for cycles finds."""


class Stages:
    """The stages of one run, whose figures go into its outcome.

    Args:
        run: The RUN folder.
        runner: What does units of work.
        outcome: What became of the run, as it unfolds.
    """

    def __init__(self, run: RunFolder, runner: Runner, outcome: Outcome) -> None:
        self.run = run
        self.runner = runner
        self.outcome = outcome

    def units(
        self, stage: str, job: Job[ItemT], units: Sequence[Unit[ItemT]], pixels: Callable[[ItemT], int]
    ) -> dict[str, str]:
        """Do units of a stage with a progress bar.

        Args:
            stage: Its name.
            job: The kind of work.
            units: What is left to do.
            pixels: How many pixels a unit stands for in the progress bar.

        Returns:
            The error of each unit that failed for good, by key.
        """
        if not units:
            return {}
        sizes = {unit.key: pixels(unit.item) for unit in units}
        failed: dict[str, str] = {}
        sums = self.outcome.stages.setdefault(stage, {})
        start = time.perf_counter()
        with self.timed(stage), stage_progress(stage, sum(sizes.values())) as advance:
            for report in self.runner.run(job, units):
                if report.error is not None:
                    failed[report.key] = report.error
                if "start_s" not in sums and "seconds" in report.result:
                    # Until the first unit began, workers started: their libraries take seconds to load.
                    sums["start_s"] = max(0.0, time.perf_counter() - start - report.result["seconds"])
                sums["units"] = sums.get("units", 0) + 1
                for name, value in report.result.items():
                    # A stage's own seconds are those of the clock on the wall.
                    counted = "worker_s" if name == "seconds" else name
                    sums[counted] = sums.get(counted, 0) + value
                sums["retries"] = sums.get("retries", 0) + len(report.earlier)
                advance(
                    sizes.pop(report.key),
                    report.result.get("tiles", 0),
                    retries=len(report.earlier),
                    quarantined=int(report.error is not None),
                )
        return failed

    def once(self, stage: str, key: str, depends: dict[str, Any], job: Job[ItemT], item: ItemT) -> None:
        """Have one unit of a stage done, unless its outputs are there and depend on the same.

        Args:
            stage: Its name.
            key: The unit's key.
            depends: All that the outputs depend on.
            job: Writes them, and a marker with `depends` and the `outputs`, as run.json has them.
            item: What the job is asked for.

        Raises:
            StoppedError: It failed three times; the same again tries it anew.
        """
        ledger = self.run.ledger(stage)
        if key in ledger.done():
            marker = ledger.record(key)
            there = all((self.run.path / output["path"]).exists() for output in marker["outputs"])
            if marker["depends"] == depends and there:
                self._wrote(marker["outputs"])
                return
            # A marker that exists is true: there is none while what it vouches for is written again.
            ledger.forget(key)
        for error in self.units(stage, job, [Unit(key, item)], lambda _: 1).values():
            raise StoppedError(
                f"{stage} cannot be written: {error}; mend what is wrong, then run the same command again"
            )
        self._wrote(ledger.record(key)["outputs"])

    def _wrote(self, outputs: list[dict[str, Any]]) -> None:
        # Formats share the file of a layer's style.
        self.outcome.outputs += [output for output in outputs if output not in self.outcome.outputs]

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a with-block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            sums = self.outcome.stages.setdefault(stage, {})
            sums["seconds"] = round(sums.get("seconds", 0) + seconds, 2)
            # The search for cycles looks at all that the libraries loaded: it takes longer than a short stage.
            (release_heap if seconds > _LONG_S else trim_heap)()
