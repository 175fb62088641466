"""How far figures can be trusted: percentile intervals by drawing pieces of the split anew."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.train.metrics.tally import Tally, named_figures

REPLICATES = 1000
"""How often the pieces are drawn."""

LEVEL = 0.95
"""How much of the figures drawn an interval holds."""

_AT_ONCE = 50


def intervals(
    tallies: Sequence[Tally], names: Sequence[str], seed: int = 0
) -> Mapping[str, tuple[float, float] | None]:
    """Percentile intervals of all figures (Efron and Tibshirani 1993, Introduction to the bootstrap, chapter 13).

    As many pieces as there are are drawn with replacement, and their counts added. Neighbouring pixels are alike,
    so pieces must be large enough to be independent of each other: blocks, or whole regions.

    Args:
        tallies: Of the pieces that hold labels.
        names: Of the classes.
        seed: Of the draws; the same one gives the same intervals.

    Returns:
        Least and greatest by the name of a figure; None with fewer than two pieces, or where no draw had one.
    """
    numbers = np.stack([tally.numbers for tally in tallies]) if tallies else np.empty((0, 0), np.int64)
    count = len(numbers)
    if count < 2:
        return dict.fromkeys(named_figures(Tally.zero(len(names)).numbers, names))
    rng = np.random.default_rng(seed)
    drawn: list[NDArray[np.int64]] = []
    for start in range(0, REPLICATES, _AT_ONCE):
        times = rng.multinomial(count, np.full(count, 1 / count), min(_AT_ONCE, REPLICATES - start))
        drawn.append(times @ numbers)
    found = named_figures(np.concatenate(drawn), names)
    return {name: _interval(values) for name, values in found.items()}


def _interval(values: NDArray[np.float64]) -> tuple[float, float] | None:
    there = values[~np.isnan(values)]
    if not there.size:
        return None
    low, high = np.quantile(there, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
