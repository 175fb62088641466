"""Learning curves as lines to draw in a page: points in a frame, ticks and words."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from geoseg.report.training_facts import CurvePoint, TrainingFacts

WIDTH, HEIGHT = 430, 250
"""Of a plot, in its own units."""

LEFT, RIGHT, TOP, BOTTOM = 50, 416, 14, 214
"""Where the frame of a plot lies in it."""

_TICKS = 4


@dataclass(frozen=True, slots=True)
class Tick:
    """A value on an axis.

    Attributes:
        at: Where, in units of the plot.
        words: The value.
    """

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Plot:
    """One curve over iterations.

    Attributes:
        title: What it shows.
        parts: Points "x,y x,y" of its unbroken parts; a validation without a value breaks it.
        dots: (x, y) of every value.
        chosen: (x, y) of the iteration whose weights were packed, or None where it has no value.
        x_ticks: Iterations.
        y_ticks: Values.
    """

    title: str
    parts: tuple[str, ...]
    dots: tuple[tuple[float, float], ...]
    chosen: tuple[float, float] | None
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def plots(facts: TrainingFacts) -> tuple[Plot, ...]:
    """Loss, mean IoU and learning rate over the iterations; none where nothing was validated."""
    if not facts.curve:
        return ()
    return (
        _plot("Loss on training crops", facts, lambda point: point.loss),
        _plot("Mean IoU on validation tiles", facts, lambda point: point.miou),
        _plot("Learning rate", facts, lambda point: point.lr),
    )


def _plot(title: str, facts: TrainingFacts, value: Callable[[CurvePoint], float | None]) -> Plot:
    values = [value(point) for point in facts.curve]
    known = [one for one in values if one is not None and math.isfinite(one)]
    last = facts.curve[-1].iteration
    x_values = _ticks(0, last)
    y_values = _ticks(min(known), max(known)) if known else [0.0, 1.0]
    low, high = y_values[0], y_values[-1]

    def place(iteration: float, height: float) -> tuple[float, float]:
        x = LEFT + (RIGHT - LEFT) * iteration / max(last, 1)
        return round(x, 2), round(BOTTOM - (BOTTOM - TOP) * (height - low) / (high - low), 2)

    parts: list[list[tuple[float, float]]] = [[]]
    chosen = None
    for point, one in zip(facts.curve, values, strict=True):
        if one is None or not math.isfinite(one):
            parts.append([])
            continue
        parts[-1].append(place(point.iteration, one))
        if point.iteration == facts.best_iteration:
            chosen = parts[-1][-1]
    return Plot(
        title=title,
        parts=tuple(" ".join(f"{x:g},{y:g}" for x, y in part) for part in parts if part),
        dots=tuple(dot for part in parts for dot in part),
        chosen=chosen,
        x_ticks=tuple(Tick(place(one, low)[0], f"{one:g}") for one in x_values if one <= last),
        y_ticks=tuple(Tick(place(0, one)[1], _short(one)) for one in y_values),
    )


def _short(value: float) -> str:
    """A value in at most seven characters."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:.3g}"
    digits, _, exponent = f"{value:.1e}".partition("e")
    return f"{digits.removesuffix('.0')}e{int(exponent)}"


def _ticks(low: float, high: float) -> Sequence[float]:
    """Round values that span a range, at least two."""
    if high <= low:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    return [float(one) for one in MaxNLocator(_TICKS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
