"""Panoptic quality, average precision, splits and merges of a map, from counts of pixels in common."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.scores.matching import IOU_BOUNDS, Pairs, precisions
from geoseg.scores.overlaps import Overlaps
from geoseg.scores.segments import Comparison, compare
from geoseg.scores.splits import split_counts


@dataclass(frozen=True, slots=True)
class Quality:
    """How well the segments of a class were found (Kirillov et al. 2019, Panoptic segmentation, equations 1 and 2).

    Attributes:
        true: Matched pairs of segments (true positives).
        false: Predicted segments without a partner (false positives).
        missed: Segments of the reference without one (false negatives).
        iou: Sum of the IoU of the matched pairs.
    """

    true: int
    false: int
    missed: int
    iou: float

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        """Of segments of a class."""
        matched, pairs = comparison.matched, comparison.pairs
        alone, missed = comparison.predicted.counts.copy(), comparison.true.counts.copy()
        alone[pairs.predicted[matched]] = False
        missed[pairs.true[matched]] = False
        return cls(
            int(np.count_nonzero(matched)),
            int(np.count_nonzero(alone)),
            int(np.count_nonzero(missed)),
            float(pairs.iou[matched].sum()),
        )

    @property
    def judged(self) -> bool:
        """Whether there is anything of the class."""
        return self.true + self.false + self.missed > 0

    @property
    def sq(self) -> float | None:
        """Segmentation quality, the mean IoU of matched pairs; 0 where none is, None of nothing at all."""
        if not self.judged:
            return None
        return self.iou / self.true if self.true else 0.0

    @property
    def rq(self) -> float | None:
        """Recognition quality, the F1 score of segments; None of nothing at all."""
        return self.true / (self.true + (self.false + self.missed) / 2) if self.judged else None

    @property
    def pq(self) -> float | None:
        """Panoptic quality, SQ x RQ; None of nothing at all."""
        return self.iou / (self.true + (self.false + self.missed) / 2) if self.judged else None


@dataclass(frozen=True, slots=True)
class ThingFigures:
    """What is known of objects besides their quality.

    Attributes:
        ap_50: Average precision at an IoU of 0.5, None where the reference has no object.
        ap_50_95: Its mean over IoU of 0.5 to 0.95 in steps of 0.05.
        splits: Objects of the reference that were split.
        split_parts: Predicted objects that they were split into.
        merges: Predicted objects that hold several of the reference.
        merged: Objects of the reference in these.
    """

    ap_50: float | None
    ap_50_95: float | None
    splits: int
    split_parts: int
    merges: int
    merged: int

    @classmethod
    def of(cls, objects: Comparison, confidence: NDArray[np.float64]) -> Self:
        """Of objects of a class.

        AP is COCO's (pycocotools, cocoeval.py, iouType segm): greedy matching in decreasing order of confidence, by
        id among equals; precision at 101 points of recall. It differs in that all objects are judged together,
        however large (area all) and however many there are (no maxDets), as those of one image; and in what does
        not count, which is as for panoptic quality: IoU leaves out void pixels, and a prediction of which more than
        half is void or in a crowd of its class is passed over where it has no partner, while COCO asks for as large
        a share in a crowd as the bound is.

        Args:
            objects: Of a class.
            confidence: float64 (n,), of the predicted ones.
        """
        near = objects.pairs.iou >= min(IOU_BOUNDS)
        pairs = Pairs(objects.pairs.predicted[near], objects.pairs.true[near], objects.pairs.iou[near])
        _, ap_50, ap_50_95 = precisions(objects.predicted.counts, objects.true.counts, confidence, pairs)
        counts = split_counts(objects)
        return cls(ap_50, ap_50_95, counts.splits, counts.split_parts, counts.merges, counts.merged)


@dataclass(frozen=True, slots=True)
class PanopticFigures:
    """How well a map does.

    Attributes:
        classes: By class id.
        things: By id of each class of things.
    """

    classes: Mapping[int, Quality]
    things: Mapping[int, ThingFigures]

    @classmethod
    def of(
        cls,
        overlaps: Overlaps,
        classes: Collection[int],
        things: Collection[int],
        objects: tuple[NDArray[np.int64], NDArray[np.float64]],
    ) -> Self:
        """Judge what was counted over all windows.

        Args:
            overlaps: The counts.
            classes: Ids of the classes to judge.
            things: Ids of those among them that are things.
            objects: Ids of predicted objects, int64 (n,) in increasing order, and the confidence of each,
                float64 (n,); every object that was counted is among them.
        """
        comparison = compare(overlaps, classes, things)
        of_class = {class_id: comparison.of_class(class_id) for class_id in sorted(classes)}
        ids, confidence = objects
        figures = {
            class_id: ThingFigures.of(one, confidence[np.searchsorted(ids, one.predicted.id)])
            for class_id, one in of_class.items()
            if class_id in things
        }
        return cls({class_id: Quality.of(one) for class_id, one in of_class.items()}, figures)

    def to_json(self, names: tuple[str, ...]) -> dict[str, Any]:
        """All figures: of each class, and their means over things, stuff and all of which there is any.

        Args:
            names: Of the classes, by id.
        """
        return {
            "all": _means(self.classes.values()),
            "things": {
                **_means(self.classes[class_id] for class_id in self.things),
                **{
                    name: _mean(getattr(one, name) for one in self.things.values())
                    for name in ("ap_50", "ap_50_95")
                },
                **{
                    name: sum(getattr(one, name) for one in self.things.values())
                    for name in ("splits", "split_parts", "merges", "merged")
                },
            },
            "stuff": _means(one for class_id, one in self.classes.items() if class_id not in self.things),
            "classes": {
                names[class_id]: {
                    "kind": "thing" if class_id in self.things else "stuff",
                    "pq": one.pq,
                    "sq": one.sq,
                    "rq": one.rq,
                    "true": one.true,
                    "false": one.false,
                    "missed": one.missed,
                    **_of_thing(self.things.get(class_id)),
                }
                for class_id, one in self.classes.items()
            },
        }


def _of_thing(figures: ThingFigures | None) -> dict[str, float | int | None]:
    if figures is None:
        return {}
    return {name: getattr(figures, name) for name in ThingFigures.__slots__}


def _means(qualities: Iterable[Quality]) -> dict[str, float | int | None]:
    """PQ, SQ and RQ, each a mean over the classes of which there is any (section 4.1), and how many these are."""
    judged = [one for one in qualities if one.judged]
    return {
        "pq": _mean(one.pq for one in judged),
        "sq": _mean(one.sq for one in judged),
        "rq": _mean(one.rq for one in judged),
        "classes": len(judged),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
