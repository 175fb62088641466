"""Progress of a training run on stderr: a bar on a terminal, JSON lines otherwise; and events for TensorBoard."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from geoseg.train.events import events_writer
from geoseg.train.steps import Step

_LINE_EVERY = 20
"""Iterations between JSON lines."""


@dataclass(slots=True)
class Pace:
    """How fast a training goes, validations included; a resumed one counts from where it goes on.

    Attributes:
        samples: Crops of an iteration.
    """

    samples: int
    _before: int | None = None
    _done: int = 0
    _left: int = 0
    _seconds: float = 0.0

    def add(self, step: Step) -> None:
        """Take note of an iteration."""
        if self._before is None:
            self._before = step.iteration - 1
        self._done, self._left = step.iteration - self._before, step.iterations - step.iteration
        self._seconds = step.seconds

    @property
    def samples_per_s(self) -> float | None:
        """Crops a second; None while no time has passed."""
        return self.samples * self._done / self._seconds if self._done and self._seconds > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds to the end of the run at this pace; None while no time has passed."""
        return self._left * self._seconds / self._done if self._done and self._seconds > 0 else None


@contextmanager
def training_progress(
    class_names: tuple[str, ...], samples: int, events: Path | None = None
) -> Iterator[Callable[[Step], None]]:
    """Give a function that shows each step: loss, mean IoU of the last validation, samples a second, time left.

    Args:
        class_names: By class id, for validations.
        samples: Crops of an iteration.
        events: A folder for events that TensorBoard shows; None for none.

    Raises:
        GeosegError: Events are asked for, and TensorBoard is not installed.
    """
    pace = Pace(samples)
    with events_writer(events, class_names) as write, _shown(class_names, pace) as show:

        def report(step: Step) -> None:
            pace.add(step)
            show(step)
            write(step, pace.samples_per_s)

        yield report


@contextmanager
def _shown(class_names: tuple[str, ...], pace: Pace) -> Iterator[Callable[[Step], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: _line(step, class_names, pace)
        return
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=None, figures="")
        miou: float | None = None

        def show(step: Step) -> None:
            nonlocal miou
            if step.validation is not None:
                miou = step.validation.miou()
            bar.update(
                task, completed=step.iteration, total=step.iterations, figures=figures(step.loss, miou, pace)
            )

        yield show


def figures(loss: float, miou: float | None, pace: Pace) -> str:
    """What the bar says: loss, mean IoU, samples a second and the time left.

    Args:
        loss: Of the last iteration.
        miou: Of the last validation; None before the first.
        pace: How fast it goes.
    """
    parts = [f"loss {loss:.3f}", f"val mIoU {'-' if miou is None else format(miou, '.3f')}"]
    if pace.samples_per_s is not None and pace.eta_s is not None:
        minutes, seconds = divmod(math.ceil(pace.eta_s), 60)
        hours, minutes = divmod(minutes, 60)
        parts += [f"{pace.samples_per_s:.1f} samples/s", f"{hours}:{minutes:02}:{seconds:02} left"]
    return "  ".join(parts)


def _line(step: Step, class_names: tuple[str, ...], pace: Pace) -> None:
    # The first, every twentieth and the last iteration, and all that were validated.
    if step.validation is None and step.iteration % _LINE_EVERY and step.iteration not in {1, step.iterations}:
        return
    values: dict[str, object] = {
        "event": "train",
        "iteration": step.iteration,
        "iterations": step.iterations,
        "lr": float(f"{step.lr:.4g}"),
        "loss": round(step.loss, 5),
        "samples_per_s": _rounded(pace.samples_per_s, 2),
        "eta_s": _rounded(pace.eta_s, 1),
        "seconds": round(step.seconds, 1),
    }
    if step.validation is not None:
        ious = zip(class_names, map(_rounded, step.validation.iou()), strict=True)
        values |= {"val_miou": _rounded(step.validation.miou()), "val_iou": dict(ious)}
    sys.stderr.write(json.dumps(values) + "\n")
    sys.stderr.flush()


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
