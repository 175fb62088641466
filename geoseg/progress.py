"""Progress on stderr: a live bar on a terminal, JSON lines otherwise; and what bounded a run."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_LINE_EVERY_S = 5.0
"""Seconds between JSON lines of a stage."""

_EVENTS = frozenset({"start", "progress", "end", "train", "warning"})
"""What JSON lines tell of: stages, the iterations of a training, and what is doubtful."""

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
    with _bars(console) as bar:
        task = bar.add_task(stage, total=total_px, figures="")

        def advance(pixels: int, tiles: int = 0, *, retries: int = 0, quarantined: int = 0) -> None:
            meter.add(pixels, tiles, retries, quarantined)
            bar.update(task, completed=meter.pixels, figures=meter.figures())

        yield advance


@contextmanager
def relayed_progress() -> Iterator[Callable[[str], None]]:
    """Show what a command elsewhere writes: its progress as here, all else as it is, on stdout.

    Yields:
        Takes each line that the command wrote: JSON lines of its stages, warnings, and words.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _relay_line
        return
    with _bars(console) as bars:
        tasks: dict[str, TaskID] = {}

        def relay(line: str) -> None:
            event = _event(line)
            if event is None:
                bars.console.print(line, markup=False, highlight=False, soft_wrap=True)
            elif event["event"] == "warning":
                bars.console.print(f"warning  {event.get('message')}", markup=False, highlight=False)
            else:
                stage = str(event.get("stage", "training"))
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=1.0, figures="")
                done = event.get("done", event.get("iteration", 0) / event.get("iterations", 1))
                bars.update(tasks[stage], completed=done, figures=_relayed_figures(event))

        yield relay


def _bars(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[figures]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


def _relay_line(line: str) -> None:
    stream = sys.stdout if _event(line) is None else sys.stderr
    stream.write(f"{line}\n")
    stream.flush()


def _event(line: str) -> dict[str, Any] | None:
    """What a line of progress says; None of a line that is none."""
    if not line.startswith("{"):
        return None
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and event.get("event") in _EVENTS else None


def _relayed_figures(event: Mapping[str, Any]) -> str:
    if event["event"] == "train":
        loss, samples_per_s = event.get("loss"), event.get("samples_per_s")
        figures = _figures(0, None, event.get("eta_s"), 0, 0)
        return f"loss {loss}  {samples_per_s or '-'} samples/s  {figures}"
    return _figures(
        event.get("tiles", 0),
        event.get("mpx_per_s") or None,
        None if event["event"] == "end" else event.get("eta_s"),
        event.get("retries", 0),
        event.get("quarantined", 0),
    )


def _figures(tiles: int, mpx_per_s: float | None, eta_s: float | None, retries: int, quarantined: int) -> str:
    parts = [
        f"{tiles} tiles" if tiles else "",
        "" if mpx_per_s is None else f"{mpx_per_s:.2f} Mpx/s",
        "" if eta_s is None else f"{eta_s:.0f} s left",
        f"{retries} retries" if retries else "",
        f"{quarantined} quarantined" if quarantined else "",
    ]
    return "  ".join(part for part in parts if part)


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
        # A stage that is one piece of work has no rate.
        rate, eta_s = (self.rate(), self.eta_s()) if self.total_px > 1 else (None, None)
        return _figures(self.tiles, rate, eta_s, self.retries, self.quarantined)

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
