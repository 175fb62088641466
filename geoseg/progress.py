"""Progress on stderr: a live bar on a terminal, JSON lines otherwise."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

_LINE_EVERY_S = 5.0
"""Seconds between JSON lines of a stage."""


class Advance(Protocol):
    """Tells that more of a stage is done."""

    def __call__(self, pixels: int, tiles: int = 0) -> None:
        """Add finished pixels and tiles."""
        ...


@contextmanager
def stage_progress(stage: str, total_px: int) -> Iterator[Advance]:
    """Show one stage: finished share, tiles, megapixels per second and the time that is left.

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

        def advance(pixels: int, tiles: int = 0) -> None:
            meter.add(pixels, tiles)
            bar.update(task, completed=meter.pixels, figures=meter.figures())

        yield advance


class _Meter:
    """What a stage has done, and how fast."""

    def __init__(self, stage: str, total_px: int) -> None:
        self.stage = stage
        self.total_px = total_px
        self.pixels = 0
        self.tiles = 0
        self._start = self._last_line = time.monotonic()

    def add(self, pixels: int, tiles: int) -> None:
        self.pixels += pixels
        self.tiles += tiles

    def advance_and_print(self, pixels: int, tiles: int = 0) -> None:
        self.add(pixels, tiles)
        if time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self.line("progress")

    def rate(self) -> float:
        """Megapixels per second since the stage began."""
        return self.pixels / 1e6 / max(time.monotonic() - self._start, 1e-3)

    def eta_s(self) -> float | None:
        return (self.total_px - self.pixels) / 1e6 / self.rate() if self.pixels else None

    def figures(self) -> str:
        eta = self.eta_s()
        tiles = f"{self.tiles} tiles  " if self.tiles else ""
        return f"{tiles}{self.rate():.2f} Mpx/s  " + (f"{eta:.0f} s left" if eta is not None else "")

    def line(self, event: str) -> None:
        self._last_line = time.monotonic()
        eta = self.eta_s()
        content = {
            "event": event,
            "stage": self.stage,
            "done": round(self.pixels / self.total_px, 4) if self.total_px else 1.0,
            "tiles": self.tiles,
            "mpx_per_s": round(self.rate(), 3),
            "eta_s": None if eta is None else round(eta, 1),
            "seconds": round(self._last_line - self._start, 2),
        }
        sys.stderr.write(json.dumps(content) + "\n")
        sys.stderr.flush()
