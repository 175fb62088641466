"""Progress of a training run on stderr: a bar on a terminal, JSON lines otherwise."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from geoseg.train.steps import Step

_LINE_EVERY = 20
"""Iterations between JSON lines."""


@contextmanager
def training_progress(class_names: tuple[str, ...]) -> Iterator[Callable[[Step], None]]:
    """Give a function that shows each step.

    Args:
        class_names: By class id, for validations.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: _line(step, class_names)
        return
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  val mIoU {task.fields[miou]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=None, loss=float("nan"), miou="-")

        def show(step: Step) -> None:
            bar.update(task, completed=step.iteration, total=step.iterations, loss=step.loss)
            if step.validation is not None:
                bar.update(task, miou=_rounded(step.validation.miou()))

        yield show


def _line(step: Step, class_names: tuple[str, ...]) -> None:
    if step.validation is None and step.iteration % _LINE_EVERY and step.iteration != 1:
        return
    values: dict[str, object] = {
        "event": "train",
        "iteration": step.iteration,
        "iterations": step.iterations,
        "lr": float(f"{step.lr:.4g}"),
        "loss": round(step.loss, 5),
        "seconds": round(step.seconds, 1),
    }
    if step.validation is not None:
        ious = zip(class_names, map(_rounded, step.validation.iou()), strict=True)
        values |= {"val_miou": _rounded(step.validation.miou()), "val_iou": dict(ious)}
    sys.stderr.write(json.dumps(values) + "\n")
    sys.stderr.flush()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
