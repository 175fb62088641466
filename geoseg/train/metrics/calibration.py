"""Whether a model is as often right as it says: counts by confidence, and the expected calibration error."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.io.mosaic import PROBABILITY_SCALE
from geoseg.train.metrics import figures

BINS = 15
"""As in Guo et al. 2017."""


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """Counts by confidence; those of disjoint windows add up exactly.

    Attributes:
        counts: int64 (bin, 3), bin m of 15 holding confidences from above m / 15 to (m + 1) / 15, 0 in the first:
            how many, how many were right, and the sum of the confidences as they are stored, x 254: shape (15, 3).
    """

    counts: NDArray[np.int64]

    @classmethod
    def zero(cls) -> Self:
        """No pixels yet."""
        return cls(np.zeros((BINS, 3), np.int64))

    @classmethod
    def of(cls, confidence: NDArray[np.uint8], right: NDArray[np.bool_]) -> Self:
        """Count pixels, or pairs of a pixel and a class.

        Args:
            confidence: The probability of what is predicted, x 254, as maps store it, (n,).
            right: Whether that is so (n,).
        """
        pairs = np.bincount(confidence.astype(np.int64) * 2 + right, minlength=512)[:512].reshape(256, 2)
        stored = np.arange(256)
        place = np.maximum(-(-stored * BINS // PROBABILITY_SCALE) - 1, 0)
        counts = np.zeros((BINS + 1, 3), np.int64)
        np.add.at(counts, place, np.stack([pairs.sum(1), pairs[:, 1], pairs.sum(1) * stored], 1))
        return cls(counts[:BINS])

    def __add__(self, other: "Reliability") -> "Reliability":
        return Reliability(self.counts + other.counts)


def expected_calibration_error(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The mean distance of confidence and accuracy in 15 bins, weighted by pixels, from counts of 15 bins.

    Guo et al. 2017, On calibration of modern neural networks, equation 3, of confidences as maps store them, in
    steps of 1 / 254.

    Args:
        counts: As those of `Reliability`, or of many at once: shape (..., 15, 3).

    Returns:
        One for each, shape (...); NaN without any.
    """
    gaps = np.abs(counts[..., 1] - counts[..., 2] / PROBABILITY_SCALE).sum(-1)
    return figures.divide(gaps, counts[..., 0].sum(-1))
