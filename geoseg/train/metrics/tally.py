"""All counts of a window together, and all figures by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.labels import NODATA_CLASS
from geoseg.train.metrics import figures
from geoseg.train.metrics.calibration import BINS, Reliability, expected_calibration_error
from geoseg.train.metrics.confusion import Confusion
from geoseg.train.metrics.edges import EdgeCounts, boundary_f1, boundary_iou
from geoseg.train.metrics.truth import Truth

OF_CLASSES = ("iou", "precision", "recall", "f1", "boundary_iou", "boundary_f1")
"""Figures of each class."""

OF_ALL = ("miou", "accuracy", "mean_accuracy", "fwiou", "mean_f1", "mean_boundary_iou", "mean_boundary_f1", "ece")
"""Figures of all classes together."""


def figure_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """All figures of a model with these classes: those of `OF_ALL`, and such as "building.iou"."""
    return (*OF_ALL, *(f"{name}.{figure}" for name in class_names for figure in OF_CLASSES))


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts of a window; those of disjoint windows, read with their halos, add up to those of the whole.

    Attributes:
        confusion: Classes against classes.
        edges: Of boundaries.
        reliability: By confidence.
    """

    confusion: Confusion
    edges: EdgeCounts
    reliability: Reliability

    @classmethod
    def zero(cls, classes: int) -> Self:
        """No pixels yet."""
        return cls(Confusion.zero(classes), EdgeCounts.zero(classes), Reliability.zero())

    @classmethod
    def of(
        cls,
        truth: Truth,
        classes_hw: NDArray[np.uint8],
        confidence_hw: NDArray[np.uint8],
        inner: tuple[slice, slice],
    ) -> Self:
        """Count a window where classes exclude each other.

        Args:
            truth: What is known, with a halo of `geoseg.train.metrics.edges.HALO_PX`; nothing where nothing is
                predicted.
            classes_hw: Predicted classes (row, column), `NODATA_CLASS` where there are none, with that halo.
            confidence_hw: Their probability x 254 (row, column), likewise.
            inner: The window within those.
        """
        predicted_khw = classes_hw == np.arange(len(truth.there_khw), dtype=np.uint8)[:, None, None]
        one_hw, inner_classes_hw = truth.one_hw[inner], classes_hw[inner]
        known_hw = one_hw != NODATA_CLASS
        return cls(
            Confusion.of_truth(truth.inside(inner), inner_classes_hw),
            EdgeCounts.of(truth, predicted_khw, inner),
            Reliability.of(confidence_hw[inner][known_hw], (one_hw == inner_classes_hw)[known_hw]),
        )

    @classmethod
    def of_planes(cls, truth: Truth, probability_khw: NDArray[np.uint8], inner: tuple[slice, slice]) -> Self:
        """Count a window where classes overlap: a class is predicted where its probability is at least 1/2.

        Args:
            truth: As in `of`.
            probability_khw: Of each class x 254 (class, row, column), with the halo.
            inner: The window within.
        """
        predicted_khw = probability_khw * 2.0 >= PROBABILITY_SCALE
        within = truth.inside(inner)
        return cls(
            Confusion.of_planes(within, predicted_khw[:, *inner]),
            EdgeCounts.of(truth, predicted_khw, inner),
            Reliability.of(probability_khw[:, *inner][within.known_khw], within.there_khw[within.known_khw]),
        )

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.confusion + other.confusion,
            self.edges + other.edges,
            self.reliability + other.reliability,
        )

    @property
    def numbers(self) -> NDArray[np.int64]:
        """All counts in a row, int64 (n,), as `named_figures` reads them."""
        parts = (self.confusion.counts, self.confusion.decisions, self.edges.counts, self.reliability.counts)
        return np.concatenate([part.ravel() for part in parts])


def named_figures(numbers: NDArray[np.int64], names: Sequence[str]) -> Mapping[str, NDArray[np.float64]]:
    """All figures by names such as "miou" and "building.iou", NaN where there is nothing to measure.

    Args:
        numbers: Of a tally, or of many, shape (..., n).
        names: Of the classes.

    Returns:
        A number for each tally, (...).
    """
    classes, lead = len(names), numbers.shape[:-1]
    shapes = ((classes, classes), (classes, 4), (classes, 6), (BINS, 3))
    ends = np.cumsum([rows * cols for rows, cols in shapes])[:-1]
    counts, decisions, edges, bins = (
        part.reshape(*lead, *shape) for part, shape in zip(np.split(numbers, ends, -1), shapes, strict=True)
    )
    of_classes = {
        "iou": figures.iou(decisions),
        "precision": figures.precision(decisions),
        "recall": figures.recall(decisions),
        "f1": figures.f1(decisions),
        "boundary_iou": boundary_iou(edges),
        "boundary_f1": boundary_f1(edges),
    }
    found = {
        "miou": figures.mean(of_classes["iou"]),
        "accuracy": figures.accuracy(counts, decisions),
        "mean_accuracy": figures.mean(of_classes["recall"]),
        "fwiou": figures.frequency_weighted_iou(decisions),
        "mean_f1": figures.mean(of_classes["f1"]),
        "mean_boundary_iou": figures.mean(of_classes["boundary_iou"]),
        "mean_boundary_f1": figures.mean(of_classes["boundary_f1"]),
        "ece": expected_calibration_error(bins),
    }
    for figure, values in of_classes.items():
        found |= {f"{name}.{figure}": values[..., label] for label, name in enumerate(names)}
    return found
