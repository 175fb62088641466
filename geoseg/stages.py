"""How a stage of a run is done: by workers, unit by unit, or in this process, once; resumable and timed."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from geoseg.heap import release_heap
from geoseg.io.ledger import file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.outcome import Outcome
from geoseg.progress import stage_progress
from geoseg.runner import ItemT, Job, Runner, Unit


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

    def once(self, stage: str, key: str, depends: dict[str, Any], work: Callable[[], list[dict[str, Any]]]) -> None:
        """Do one unit of a stage in this process, unless its outputs are there and depend on the same.

        Args:
            stage: Its name.
            key: The unit's key.
            depends: All that the outputs depend on.
            work: Writes them, and says of each what `output` does.
        """
        ledger = self.run.ledger(stage)
        if key in ledger.done():
            marker = ledger.record(key)
            there = all((self.run.path / output["path"]).exists() for output in marker["outputs"])
            if marker["depends"] == depends and there:
                self.outcome.outputs += marker["outputs"]
                return
        with self.timed(stage), stage_progress(stage, 1) as advance:
            outputs = work()
            advance(1)
        ledger.commit(key, {"depends": depends, "outputs": outputs})
        self.outcome.outputs += outputs

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the seconds of a with-block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            sums = self.outcome.stages.setdefault(stage, {})
            sums["seconds"] = round(sums.get("seconds", 0) + time.perf_counter() - start, 2)
            release_heap()

    def output(self, path: Path, kind: str, features: int | None) -> dict[str, Any]:
        """What the record says of a file that is written: its kind, how many features, its sha256."""
        name = path.relative_to(self.run.path).as_posix()
        return {"path": name, "format": kind, "features": features, "sha256": file_sha256(path)}
