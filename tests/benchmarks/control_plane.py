"""How many units of work per second one driver hands out, and workers commit to the ledger.

    python tests/benchmarks/control_plane.py [--blocks 1000,10000,100000] [--workers 2] [--write]

The work itself is nothing; the rest is real: Ray's actors, the reports, and a marker in the ledger for each unit.
The workers are started, and have opened the job, before the clock runs.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import add_section, machine, table

from geoseg.cluster.runner import RayRunner
from geoseg.io.ledger import Ledger
from geoseg.runner import Unit

_LANE = 20
"""Units of a lane."""


@dataclass(frozen=True)
class CommitOnly:
    """Commits a marker such as a block of the mosaic has, and does nothing else."""

    ledger: Ledger

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Nothing to open."""

        def commit(key: str) -> dict[str, Any]:
            self.ledger.commit(key, {"valid_px": 1, "chunks": {"0/classes/0.0": "0" * 64}})
            return {"tiles": 1, "seconds": 0.0}

        return commit


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", default="1000,10000,100000", help="numbers of units")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    rows = []
    with RayRunner(asked.workers, 1, gpu=False) as runner:
        for blocks in map(int, asked.blocks.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                rows.append(measure(runner, blocks, asked.workers, Path(folder)))
                print(*rows[-1], flush=True)
    header = (
        "blocks",
        "seconds",
        "blocks/s",
        "first tenth, blocks/s",
        "last tenth, blocks/s",
        "driver's peak RSS, MB",
    )
    lines = [f"{asked.workers} worker(s); {machine()}.", "", *table(header, rows)]
    print("\n".join(lines))
    if asked.write:
        add_section(f"Control plane, {asked.workers} worker(s)", lines)


def measure(runner: RayRunner, blocks: int, workers: int, folder: Path) -> tuple[str, ...]:
    """One row: a run of so many units.

    Raises:
        SystemExit: Something was not done.
    """
    warm = [Unit(f"warm-{number}", f"warm-{number}") for number in range(10 * workers)]
    list(runner.run(CommitOnly(Ledger(folder / "warm")), warm))
    ledger = Ledger(folder / "blocks")
    units = [Unit(f"b-{number:08}", f"b-{number:08}", lane=number // _LANE) for number in range(blocks)]
    times = [time.perf_counter()]
    for report in runner.run(CommitOnly(ledger), units):
        if report.error is not None:
            raise SystemExit(f"{report.key}: {report.error}")
        times.append(time.perf_counter())
    if sum(1 for _ in os.scandir(ledger.folder)) != blocks or len(times) != blocks + 1:
        raise SystemExit("not every block was committed once")
    tenth = blocks // 10
    spans = (times[-1] - times[0], times[tenth] - times[0], times[-1] - times[-1 - tenth])
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rates = (blocks / spans[0], tenth / spans[1], tenth / spans[2])
    return (f"{blocks:,}", f"{spans[0]:.1f}", *(f"{rate:.0f}" for rate in rates), f"{peak_mb:.0f}")


if __name__ == "__main__":
    main()
