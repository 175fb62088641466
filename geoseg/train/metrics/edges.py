"""How well the boundaries of classes match: boundary IoU and the boundary F-score, from counts of windows."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.train.metrics import figures
from geoseg.train.metrics.boundaries import boundary, count_within
from geoseg.train.metrics.truth import Truth

REACH_PX = 3
"""Width of the bands of boundary IoU, and distance at which boundaries match: about half a percent of the diagonal
of a square of 512 px. Wide bands would hold whole houses, and say no more than IoU does."""

HALO_PX = REACH_PX + 1
"""Pixels around a window that decide what is counted in it."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeCounts:
    """Counts of each class; those of disjoint windows, read with their halos, add up to those of the whole.

    Attributes:
        counts: int64 (class, 6): pixels in both bands, in either band; boundary pixels predicted, and of these near
            a true one; boundary pixels that are true, and of these near a predicted one.
    """

    counts: NDArray[np.int64]

    @classmethod
    def zero(cls, classes: int) -> Self:
        """No pixels yet."""
        return cls(np.zeros((classes, 6), np.int64))

    @classmethod
    def of(cls, truth: Truth, predicted_khw: NDArray[np.bool_], inner: tuple[slice, slice]) -> Self:
        """Count a window.

        Args:
            truth: What is known, with `HALO_PX` pixels around the window where the grid has them.
            predicted_khw: Whether each class is predicted (class, row, column), with the same halo.
            inner: The window within those.
        """
        counts = np.zeros((len(predicted_khw), 6), np.int64)
        inner_hw = np.zeros(predicted_khw.shape[1:], np.bool_)
        inner_hw[inner] = True
        for label, (there_hw, known_hw, predicted_hw) in enumerate(
            zip(truth.there_khw, truth.known_khw, predicted_khw, strict=True)
        ):
            if not (there_hw.any() or predicted_hw[known_hw].any()):
                continue
            true_band_hw, band_hw = _band(there_hw, known_hw)[inner], _band(predicted_hw, known_hw)[inner]
            true_edge_hw, edge_hw = boundary(there_hw, known_hw), boundary(predicted_hw, known_hw)
            asked_hw, true_asked_hw = edge_hw & inner_hw, true_edge_hw & inner_hw
            counts[label] = (
                np.count_nonzero(true_band_hw & band_hw),
                np.count_nonzero(true_band_hw | band_hw),
                np.count_nonzero(asked_hw),
                count_within(asked_hw, true_edge_hw, (1.0, 1.0), (float(REACH_PX),))[0],
                np.count_nonzero(true_asked_hw),
                count_within(true_asked_hw, edge_hw, (1.0, 1.0), (float(REACH_PX),))[0],
            )
        return cls(counts)

    def __add__(self, other: "EdgeCounts") -> "EdgeCounts":
        return EdgeCounts(self.counts + other.counts)


def boundary_iou(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of the bands along boundaries, of each class (..., class), from counts of shape (..., class, 6).

    A band is what of a mask lies at most `REACH_PX` pixels from a known pixel outside of it (Cheng et al. 2021,
    Boundary IoU: improving object-centric image segmentation evaluation, section 4); NaN without any boundary.
    """
    return figures.divide(counts[..., 0], counts[..., 1])


def boundary_f1(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Boundary F-score of each class (..., class), from counts of shape (..., class, 6).

    The harmonic mean of the shares of boundary pixels that lie at most `REACH_PX` pixels from one on the other side
    (Csurka et al. 2013, What is a good evaluation measure for semantic segmentation?, section 2.3). 0 where one
    side has no boundary, NaN where neither has.
    """
    predicted, predicted_near, true, true_near = np.moveaxis(counts[..., 2:], -1, 0)
    precision = np.nan_to_num(figures.divide(predicted_near, predicted))
    recall = np.nan_to_num(figures.divide(true_near, true))
    score = np.nan_to_num(figures.divide(2 * precision * recall, precision + recall))
    return np.where(predicted + true > 0, score, np.nan)


def _band(mask_hw: NDArray[np.bool_], known_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What of a mask is near a known pixel outside of it, by shifts: there are few within a small distance."""
    outside_hw = known_hw & ~mask_hw
    near_hw = np.zeros_like(outside_hw)
    height, width = near_hw.shape
    for down in range(-REACH_PX, REACH_PX + 1):
        for right in range(-REACH_PX, REACH_PX + 1):
            if down**2 + right**2 <= REACH_PX**2:
                (to_rows, from_rows), (to_cols, from_cols) = _shift(down, height), _shift(right, width)
                near_hw[to_rows, to_cols] |= outside_hw[from_rows, from_cols]
    return near_hw & mask_hw & known_hw


def _shift(by: int, length: int) -> tuple[slice, slice]:
    """Where pixels go, and where they come from, along one axis."""
    return slice(max(by, 0), max(length + min(by, 0), 0)), slice(max(-by, 0), max(length - max(by, 0), 0))
