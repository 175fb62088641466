"""Objects that were taken apart or run together, by counts of pixels in common."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.scores.segments import Comparison, Segments


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """How often objects were split and merged.

    Attributes:
        splits: Objects of the reference that were split.
        split_parts: Predicted objects that they were split into.
        merges: Predicted objects that hold several of the reference.
        merged: Objects of the reference in these.
    """

    splits: int
    split_parts: int
    merges: int
    merged: int


def split_counts(comparison: Comparison) -> SplitCounts:
    """Count over- and under-segmented objects, as Hoover et al. define them.

    1996, An experimental comparison of range image segmentation algorithms, IEEE TPAMI 18(7), performance metrics:
    an object of the reference is split where there are two or more predicted ones of which each lies in it by at
    least a share T of its own pixels, and that together hold at least T of the object's. A predicted object is a
    merge where two or more objects of the reference lie in it by at least T each, and make up at least T of it. T
    is the least that the definition allows, more than one half: an object is a part of one other at most. Unlike
    there, what is also matched to a single partner is counted all the same: a house that swallowed a shed is a
    merge.

    Pixels that are void on the other side are left out; objects mostly void there are neither parts nor wholes.

    Args:
        comparison: Objects of a class.
    """
    found, expected = comparison.pairs.predicted, comparison.pairs.true
    splits, split_parts = _wholes(comparison.true, expected, comparison.predicted, found, comparison.pixels)
    merges, merged = _wholes(comparison.predicted, found, comparison.true, expected, comparison.pixels)
    return SplitCounts(splits, split_parts, merges, merged)


def _wholes(
    whole: Segments,
    of_whole: NDArray[np.int64],
    part: Segments,
    of_part: NDArray[np.int64],
    pixels: NDArray[np.int64],
) -> tuple[int, int]:
    """How many wholes have two parts or more that make up most of them, and how many parts these have."""
    inside = (2 * pixels > part.known[of_part]) & part.counts[of_part]
    parts = np.bincount(of_whole[inside], minlength=len(whole))
    held = np.zeros(len(whole), np.int64)
    np.add.at(held, of_whole[inside], pixels[inside])
    several = (parts >= 2) & (2 * held > whole.known) & whole.counts
    return int(np.count_nonzero(several)), int(parts[several].sum())
