"""Horizontal bars of several series side by side, which differ by pattern as well as by colour."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from geoseg.report.figure_file import save_figure

_COLORS = ((0.0, 0.45, 0.70), (0.84, 0.37, 0.0), (0.0, 0.62, 0.45), (0.8, 0.47, 0.65))
"""Okabe and Ito's, which the colour-blind tell apart."""

_HATCHES = ("", "//", "..", "xx")

Series = Sequence[tuple[str, Sequence[float | None]]]
"""For each series its name and a value for each row."""


def write_bars(path: Path, rows: Sequence[str], series: Series, axis: str, words: Callable[[float], str]) -> None:
    """Draw values from 0 to 1, as a PNG that appears whole or not at all.

    Args:
        path: PNG to write.
        rows: Names of the rows.
        series: Their values; None where there is none.
        axis: What they are.
        words: A value for people.
    """
    count = max(1, len(series))
    figure = Figure((8, max(2.5, 0.33 * len(rows) * count + 1)), layout="constrained")
    axes = figure.subplots()
    thick = 0.8 / count
    for number, (name, values) in enumerate(series):
        places = np.arange(len(rows)) + (number - (count - 1) / 2) * thick
        axes.barh(
            places,
            [value or 0.0 for value in values],
            thick,
            color=_COLORS[number % len(_COLORS)],
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            label=name,
        )
        for place, value in zip(places, values, strict=True):
            axes.text(
                (value or 0) + 0.01, place, "not there" if value is None else words(value), va="center", size=8
            )
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.set(xlabel=axis, xlim=(0, 1.12))
    if series:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(4, count), frameon=False)
    save_figure(figure, path)
