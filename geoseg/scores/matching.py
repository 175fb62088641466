"""Which predicted object is which true one: pairs by IoU, matched greedily by confidence as COCO does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.scores.areas import share

IOU_BOUNDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""0.5 to 0.95: over which AP is averaged."""

_RECALLS = np.linspace(0, 1, 101)
"""At which precision is read: COCO's 101 points."""

_ROUNDING = 1e-10
"""An IoU that is a bound but for rounding reaches it, as in COCO."""


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Predicted and true objects that overlap as much as asked for.

    Attributes:
        predicted: int64 (n,); index of the predicted one, in increasing order.
        true: int64 (n,); index of the true one, increasing for each predicted one.
        iou: float64 (n,); common area over that of both together.
    """

    predicted: NDArray[np.int64]
    true: NDArray[np.int64]
    iou: NDArray[np.float64]


def overlapping(predicted: NDArray[np.object_], true: NDArray[np.object_], least_iou: float) -> Pairs:
    """All pairs whose IoU reaches a bound.

    Args:
        predicted: Valid polygons or multipolygons (n,) in a plane.
        true: Likewise (m,).
        least_iou: The bound, more than 0.
    """
    one, other = shapely.STRtree(true).query(predicted)
    area, true_area = shapely.area(predicted)[one], shapely.area(true)[other]
    # IoU is at most the smaller area over the larger: what cannot reach the bound is not cut, and that is most.
    near = np.minimum(area, true_area) >= least_iou * (1 - 1e-9) * np.maximum(area, true_area)
    one, other, area, true_area = one[near], other[near], area[near], true_area[near]
    common = shapely.area(shapely.intersection(predicted[one], true[other]))
    iou = common / (area + true_area - common)
    kept = iou >= least_iou * (1 - 1e-9)
    one, other, iou = one[kept], other[kept], iou[kept]
    order = np.lexsort((other, one))
    return Pairs(one[order].astype(np.int64), other[order].astype(np.int64), iou[order])


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """Objects to match.

    Attributes:
        polygons: Valid polygons or multipolygons (n,) in a plane.
        counts: Boolean (n,); false for objects that count neither for nor against (COCO's `ignore`).
    """

    polygons: NDArray[np.object_]
    counts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.polygons)


@dataclass(frozen=True, slots=True, eq=False)
class Matched:
    """A matching at one bound of IoU.

    Attributes:
        true_of: int64 (n,); for each predicted object the true one that is its own, -1 for none.
        iou: float64 (n,); of that pair, 0 for none.
        counts: Boolean (n,); whether the predicted object counts: not one that was matched to a true object that
            does not, nor one that does not itself and has no match.
    """

    true_of: NDArray[np.int64]
    iou: NDArray[np.float64]
    counts: NDArray[np.bool_]


def match(
    predicted: NDArray[np.bool_],
    true: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    pairs: Pairs,
    bound: float,
) -> Matched:
    """Match objects as COCO's evaluation does (cocoeval.py, evaluateImg; Lin et al. 2014, Microsoft COCO).

    In decreasing order of confidence, each predicted object takes the true one of highest IoU that reaches the
    bound and is still free; those that do not count only where no other is free.

    Args:
        predicted: Which predicted objects (n,) count.
        true: Which true objects (m,) do.
        confidence: float64 (n,).
        pairs: Those whose IoU reaches the bound, and others.
        bound: Least IoU.
    """
    true_of = np.full(len(predicted), -1, np.int64)
    iou = np.zeros(len(predicted))
    counts = predicted.copy()
    taken = np.zeros(len(true), np.bool_)
    starts = np.searchsorted(pairs.predicted, np.arange(len(predicted) + 1))
    for one in np.argsort(-confidence, kind="stable").tolist():
        best, best_iou = -1, min(bound, 1 - _ROUNDING)
        for counting in (True, False):
            for at in range(starts[one], starts[one + 1]):
                other = int(pairs.true[at])
                # Of equals the later one, as in COCO.
                if true[other] == counting and not taken[other] and pairs.iou[at] >= best_iou:
                    best, best_iou = other, float(pairs.iou[at])
            if best >= 0:
                break
        if best >= 0:
            taken[best] = True
            true_of[one], iou[one], counts[one] = best, best_iou, true[best]
    return Matched(true_of, iou, counts)


def average_precision(matched: Matched, confidence: NDArray[np.float64], true_count: int) -> float | None:
    """AP: precision, made monotonous, averaged over recall at 101 points (cocoeval.py, accumulate).

    Args:
        matched: At a bound.
        confidence: float64 (n,), of the predicted objects.
        true_count: True objects that count.

    Returns:
        0 to 1; None where no true object counts.
    """
    if true_count == 0:
        return None
    order = np.argsort(-confidence, kind="stable")
    order = order[matched.counts[order]]
    hit = matched.true_of[order] >= 0
    hits = np.cumsum(hit)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / true_count, _RECALLS, side="left")
    reached = at < len(precision)
    return float(np.where(reached, np.append(precision, 0)[np.minimum(at, len(precision))], 0).mean())


def detection_figures(
    predicted: Objects, true: Objects, confidence: NDArray[np.float64], bounds: Sequence[float] = IOU_BOUNDS
) -> tuple[dict[str, float | int | None], Matched]:
    """Precision, recall and F1 at an IoU of 0.5 over all predicted objects; AP at 0.5 and over the bounds.

    Args:
        predicted: Predicted objects (n,).
        true: True objects (m,).
        confidence: float64 (n,).
        bounds: IoU bounds, 0.5 first.

    Returns:
        The figures by name, None where undefined, and the matching at 0.5.
    """
    pairs = overlapping(predicted.polygons, true.polygons, min(bounds))
    first, ap, over_all = precisions(predicted.counts, true.counts, confidence, pairs, bounds)
    expected = int(np.count_nonzero(true.counts))
    found = int(np.count_nonzero(first.counts & (first.true_of >= 0)))
    claimed = int(np.count_nonzero(first.counts))
    figures: dict[str, float | int | None] = {
        "true": found,
        "false": claimed - found,
        "missed": expected - found,
        "precision": share(found, claimed),
        "recall": share(found, expected),
        "f1": share(2 * found, claimed + expected),
        "ap_50": ap,
        "ap_50_95": over_all,
    }
    return figures, first


def precisions(
    predicted: NDArray[np.bool_],
    true: NDArray[np.bool_],
    confidence: NDArray[np.float64],
    pairs: Pairs,
    bounds: Sequence[float] = IOU_BOUNDS,
) -> tuple[Matched, float | None, float | None]:
    """Match at each bound of IoU.

    Args:
        predicted: Which predicted objects (n,) count.
        true: Which true objects (m,) do.
        confidence: float64 (n,).
        pairs: Those whose IoU reaches the least bound, and others.
        bounds: IoU bounds, 0.5 first.

    Returns:
        The matching at the first bound; AP there, and its mean over all bounds, None where no true object counts.
    """
    matchings = [match(predicted, true, confidence, pairs, bound) for bound in bounds]
    expected = int(np.count_nonzero(true))
    found = [average_precision(one, confidence, expected) for one in matchings]
    known = [one for one in found if one is not None]
    return matchings[0], found[0], float(np.mean(known)) if known else None
