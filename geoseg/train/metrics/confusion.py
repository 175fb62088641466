"""How well classes match: an exact confusion matrix that windows add up to, and what follows from it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS
from geoseg.train.metrics import figures
from geoseg.train.metrics.truth import Truth


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Counts of pixels by true class and predicted class; matrices of disjoint windows add up exactly.

    Attributes:
        counts: int64 (true class, predicted class), of the pixels of which the class is known.
        beside: int64 (class, 4), what other pixels add to `decisions`: those of which it is only known what they
            are not, and all of them where classes overlap. None where there are none.
    """

    counts: NDArray[np.int64]
    beside: NDArray[np.int64] | None = None

    @classmethod
    def zero(cls, classes: int) -> Self:
        """No pixels yet."""
        return cls(np.zeros((classes, classes), np.int64))

    @classmethod
    def of(cls, target_hw: NDArray[np.uint8], predicted_hw: NDArray[np.uint8], classes: int) -> Self:
        """Count the labelled pixels of a window.

        Args:
            target_hw: True class ids; `NODATA_CLASS` where nothing is known.
            predicted_hw: Predicted class ids, of the same shape.
            classes: How many classes there are.

        Raises:
            ValueError: The shapes differ, or a labelled pixel has an id that is no class.
        """
        if target_hw.shape != predicted_hw.shape:
            raise ValueError(f"expected equal shapes, got {target_hw.shape} and {predicted_hw.shape}")
        labelled = target_hw != NODATA_CLASS
        true, predicted = target_hw[labelled].astype(np.int64), predicted_hw[labelled].astype(np.int64)
        if true.size and max(true.max(), predicted.max()) >= classes:
            raise ValueError(f"expected ids below {classes}, got {max(true.max(), predicted.max())}")
        pairs = np.bincount(true * classes + predicted, minlength=classes * classes)
        return cls(pairs.reshape(classes, classes).astype(np.int64))

    @classmethod
    def of_truth(cls, truth: Truth, predicted_hw: NDArray[np.uint8]) -> Self:
        """Count a window whose labels may say a part of the truth.

        Args:
            truth: What is known; nothing where nothing is predicted.
            predicted_hw: Predicted class ids (row, column).

        Raises:
            ValueError: The shapes differ, or a predicted id is no class where something is known.
        """
        counts = cls.of(truth.one_hw, predicted_hw, len(truth.there_khw)).counts
        # Of the rest it is known for some classes that they are not there.
        rest_khw = truth.known_khw & (truth.one_hw == NODATA_CLASS)
        if not rest_khw.any():
            return cls(counts)
        predicted_khw = predicted_hw == np.arange(len(counts), dtype=np.uint8)[:, None, None]
        false_k = np.count_nonzero(rest_khw & predicted_khw, axis=(1, 2))
        right_k = np.count_nonzero(rest_khw, axis=(1, 2)) - false_k
        nothing_k = np.zeros_like(false_k)
        return cls(counts, np.stack([nothing_k, false_k, nothing_k, right_k], 1).astype(np.int64))

    @classmethod
    def of_planes(cls, truth: Truth, predicted_khw: NDArray[np.bool_]) -> Self:
        """Count a window where classes overlap: each pixel and class by itself.

        Args:
            truth: What is known.
            predicted_khw: Whether each class is predicted (class, row, column).
        """
        cells = [
            truth.there_khw & predicted_khw,
            truth.known_khw & ~truth.there_khw & predicted_khw,
            truth.there_khw & ~predicted_khw,
            truth.known_khw & ~truth.there_khw & ~predicted_khw,
        ]
        beside = np.stack([np.count_nonzero(cell_khw, axis=(1, 2)) for cell_khw in cells], 1).astype(np.int64)
        return cls(np.zeros((len(beside), len(beside)), np.int64), beside)

    def __add__(self, other: "Confusion") -> "Confusion":
        beside = [one for one in (self.beside, other.beside) if one is not None]
        return Confusion(self.counts + other.counts, np.sum(beside, 0, dtype=np.int64) if beside else None)

    @property
    def decisions(self) -> NDArray[np.int64]:
        """Of each class the true positives, false positives, false negatives, true negatives, int64 (class, 4).

        Over the pixels of which it is known whether they are of the class.
        """
        hits = np.diag(self.counts)
        false, missed = self.counts.sum(0) - hits, self.counts.sum(1) - hits
        decisions = np.stack([hits, false, missed, self.counts.sum() - hits - false - missed], 1)
        return decisions if self.beside is None else decisions + self.beside

    @property
    def pixels(self) -> int:
        """Labelled pixels counted, for the class that is known most widely: at how many it is known."""
        return int(self.decisions.sum(1).max(initial=0))

    def iou(self) -> tuple[float | None, ...]:
        """Per class, true positives over the union of truth and prediction; None where the union is empty."""
        return figures.optional(figures.iou(self.decisions))

    def miou(self) -> float | None:
        """Mean IoU over the classes that have one; None where none has."""
        return figures.number(figures.mean(figures.iou(self.decisions)))

    def accuracy(self) -> float | None:
        """The share of the pixels of known class that are right; None without pixels.

        Where classes overlap, the share of the known pairs of a pixel and a class that are right.
        """
        return figures.number(figures.accuracy(self.counts, self.decisions))
