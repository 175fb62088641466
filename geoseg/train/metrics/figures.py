"""Figures from counts, of one evaluation or of many at once; NaN where there is nothing to measure."""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Values = NDArray[np.float64]


def iou(decisions: Counts) -> Values:
    """Intersection over union of each class (..., class), from decisions (..., class, 4)."""
    hits, false, missed, _ = np.moveaxis(decisions, -1, 0)
    return divide(hits, hits + false + missed)


def precision(decisions: Counts) -> Values:
    """The share of what is predicted that is right, of each class (..., class), from decisions (..., class, 4)."""
    return divide(decisions[..., 0], decisions[..., 0] + decisions[..., 1])


def recall(decisions: Counts) -> Values:
    """The share of what is there that is predicted, of each class (..., class), from decisions (..., class, 4)."""
    return divide(decisions[..., 0], decisions[..., 0] + decisions[..., 2])


def f1(decisions: Counts) -> Values:
    """The harmonic mean of precision and recall, of each class (..., class), from decisions (..., class, 4)."""
    hits, false, missed, _ = np.moveaxis(decisions, -1, 0)
    return divide(2 * hits, 2 * hits + false + missed)


def accuracy(counts: Counts, decisions: Counts) -> Values:
    """The share of pixels that are right (...), from counts (..., class, class) and decisions (..., class, 4).

    Of pixels of known class; where there are none (classes overlap), of known pairs of a pixel and a class.
    """
    pixels = counts.sum((-1, -2))
    of_pixels = divide(np.trace(counts, axis1=-2, axis2=-1), pixels)
    of_pairs = divide(decisions[..., [0, 3]].sum((-1, -2)), decisions.sum((-1, -2)))
    return np.where(pixels > 0, of_pixels, of_pairs)


def frequency_weighted_iou(decisions: Counts) -> Values:
    """The mean IoU of classes weighted by their true pixels (...), from decisions (..., class, 4).

    Long et al. 2015, Fully convolutional networks for semantic segmentation, section 5.
    """
    true = decisions[..., 0] + decisions[..., 2]
    return divide(np.where(true > 0, true * np.nan_to_num(iou(decisions)), 0).sum(-1), true.sum(-1))


def mean(values: Values) -> Values:
    """The mean over classes (..., class) of the figures that there are."""
    there = ~np.isnan(values)
    return divide(np.where(there, values, 0).sum(-1), there.sum(-1))


def divide(above: NDArray[np.number], below: NDArray[np.number]) -> Values:
    """Element by element, arrays of one shape (...); NaN where the divisor is 0."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below > 0)


def number(value: Values) -> float | None:
    """One figure, shape (); None for NaN."""
    return None if np.isnan(value) else float(value)


def optional(values: Values) -> tuple[float | None, ...]:
    """Figures of classes (class,); None for NaN."""
    return tuple(number(value) for value in values)
