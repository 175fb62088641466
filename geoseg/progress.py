"""Progress on stderr: a live bar on a terminal, JSON lines otherwise; and what bounded a run."""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_LINE_EVERY_S = 5.0
"""Seconds between JSON lines of a stage."""


_WAITING = 0.05
"""A model that waits for a greater share of its time than this may not be what bounds the mosaic."""


class Advance(Protocol):
    """Tells that more of a stage is done."""

    def __call__(self, pixels: int, tiles: int = 0, *, retries: int = 0, quarantined: int = 0) -> None:
        """Add finished pixels and tiles, units that had to be tried again, and units that were given up."""
        ...


@contextmanager
def stage_progress(stage: str, total_px: int) -> Iterator[Advance]:
    """Show one stage: finished share, tiles, megapixels per second, the time left, retries and quarantined units.

    Args:
        stage: Its name.
        total_px: Pixels that it covers.
    """
    console = Console(stderr=True)
    meter = _Meter(stage, total_px)
    if not console.is_terminal:
        meter.line("start")
        yield meter.advance_and_print
        meter.line("end")
        return
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(stage, total=total_px, figures="")

        def advance(pixels: int, tiles: int = 0, *, retries: int = 0, quarantined: int = 0) -> None:
            meter.add(pixels, tiles, retries, quarantined)
            bar.update(task, completed=meter.pixels, figures=meter.figures())

        yield advance


class _Meter:
    """What a stage has done, and how fast."""

    def __init__(self, stage: str, total_px: int) -> None:
        self.stage = stage
        self.total_px = total_px
        self.pixels = 0
        self.tiles = 0
        self.retries = 0
        self.quarantined = 0
        self._start = self._last_line = time.monotonic()

    def add(self, pixels: int, tiles: int, retries: int, quarantined: int) -> None:
        self.pixels += pixels
        self.tiles += tiles
        self.retries += retries
        self.quarantined += quarantined

    def advance_and_print(self, pixels: int, tiles: int = 0, *, retries: int = 0, quarantined: int = 0) -> None:
        self.add(pixels, tiles, retries, quarantined)
        if time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self.line("progress")

    def rate(self) -> float:
        """Megapixels per second since the stage began."""
        return self.pixels / 1e6 / max(time.monotonic() - self._start, 1e-3)

    def eta_s(self) -> float | None:
        return (self.total_px - self.pixels) / 1e6 / self.rate() if self.pixels else None

    def figures(self) -> str:
        eta_s = self.eta_s()
        parts = [
            f"{self.tiles} tiles" if self.tiles else "",
            # A stage that is one piece of work has no rate.
            f"{self.rate():.2f} Mpx/s" if self.total_px > 1 else "",
            f"{eta_s:.0f} s left" if eta_s is not None and self.total_px > 1 else "",
            f"{self.retries} retries" if self.retries else "",
            f"{self.quarantined} quarantined" if self.quarantined else "",
        ]
        return "  ".join(part for part in parts if part)

    def line(self, event: str) -> None:
        self._last_line = time.monotonic()
        eta_s = self.eta_s()
        _write_line(
            {
                "event": event,
                "stage": self.stage,
                "done": round(min(1.0, self.pixels / self.total_px), 4) if self.total_px else 1.0,
                "tiles": self.tiles,
                "mpx_per_s": round(self.rate(), 3),
                "eta_s": None if eta_s is None else round(eta_s, 1),
                "retries": self.retries,
                "quarantined": self.quarantined,
                "seconds": round(self._last_line - self._start, 2),
            }
        )


def warn(message: str) -> None:
    """Tell of something doubtful while a run goes on."""
    if Console(stderr=True).is_terminal:
        sys.stderr.write(f"warning  {message}\n")
    else:
        _write_line({"event": "warning", "message": message})


def bounded_by(stages: Mapping[str, Mapping[str, float]]) -> str | None:
    """Say in one line which stage took most of a run, and within the mosaic what held it up.

    The model bounds the mosaic where it hardly waits for pixels. Else what took longest does: in a worker one block
    is read, one computed and one written at a time.

    Args:
        stages: For each stage its "seconds" on the clock, and, summed over workers, "read_s", "infer_s",
            "write_s" and "wait_s" (the model's waiting for pixels); any may be missing.

    Returns:
        The line, or None where no stage took any time.
    """
    seconds = {stage: sums.get("seconds", 0.0) for stage, sums in stages.items()}
    whole_s = sum(seconds.values())
    if whole_s <= 0:
        return None
    longest = max(seconds, key=lambda stage: seconds[stage])
    share = f"bounded by {longest}: {seconds[longest]:.1f} of {whole_s:.1f} s"
    sums = stages[longest]
    read_s, infer_s, write_s, wait_s = (sums.get(f"{part}_s", 0.0) for part in ("read", "infer", "write", "wait"))
    if longest != "mosaic" or read_s + infer_s + write_s <= 0:
        return share
    hardly_waits = infer_s > 0 and wait_s <= _WAITING * (infer_s + wait_s)
    _, longest_part = max((infer_s, "the model"), (read_s, "reading"), (write_s, "writing"))
    what = "the model" if hardly_waits else longest_part
    return (
        f"{share}, and there by {what} (summed over workers: reading {read_s:.1f} s, model {infer_s:.1f} s, "
        f"writing {write_s:.1f} s; the model waited {wait_s:.1f} s)"
    )


def _write_line(content: Mapping[str, object]) -> None:
    sys.stderr.write(json.dumps(content) + "\n")
    sys.stderr.flush()
