"""How well classes match: an exact confusion matrix that windows add up to, and what follows from it."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Counts of pixels by true class and predicted class; matrices of disjoint windows add up exactly.

    Attributes:
        counts: int64 (true class, predicted class).
    """

    counts: NDArray[np.int64]

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

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)

    @property
    def pixels(self) -> int:
        """Labelled pixels counted."""
        return int(self.counts.sum())

    def iou(self) -> tuple[float | None, ...]:
        """Per class, true positives over the union of truth and prediction; None where the union is empty."""
        hits = np.diag(self.counts)
        unions = self.counts.sum(0) + self.counts.sum(1) - hits
        return tuple(float(hit / union) if union else None for hit, union in zip(hits, unions, strict=True))

    def miou(self) -> float | None:
        """Mean IoU over the classes that have one; None where none has."""
        values = [value for value in self.iou() if value is not None]
        return float(np.mean(values)) if values else None

    def accuracy(self) -> float | None:
        """The share of labelled pixels that are right; None without pixels."""
        return float(np.trace(self.counts) / self.pixels) if self.pixels else None
