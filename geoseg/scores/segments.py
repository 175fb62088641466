"""Segments of a map and of a reference beside one another: how large each is, and which overlap how far."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.scores.matching import Pairs
from geoseg.scores.overlaps import VOID, Overlaps


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The segments of one side, sorted by class and id.

    Attributes:
        class_id: int64 (n,).
        id: int64 (n,).
        known: int64 (n,); pixels of each of which the other side says anything.
        counts: Boolean (n,); false for a segment that is no fault where it has no partner: more than half of its
            pixels are void on the other side, or, of a predicted one, void or in a crowd of its class.
    """

    class_id: NDArray[np.int64]
    id: NDArray[np.int64]
    known: NDArray[np.int64]
    counts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)

    def at(self, index: slice) -> "Segments":
        """Some of them, one after the other."""
        return Segments(self.class_id[index], self.id[index], self.known[index], self.counts[index])


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Segments of both sides, and the pairs of equal class that have pixels in common.

    Attributes:
        predicted: Segments of the map.
        true: Segments of the reference, without crowds.
        pairs: Their indices and IoU, in the order of the predicted ones.
        pixels: int64 (n,), n being the number of pairs; what each has in common.
    """

    predicted: Segments
    true: Segments
    pairs: Pairs
    pixels: NDArray[np.int64]

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Which pairs (n,) are true positives: those with an IoU above 0.5, at most one for each segment.

        Segments of a side do not overlap, so that each has at most one partner (Kirillov et al. 2019, Panoptic
        segmentation, section 4.1, theorem 1).
        """
        both = self.predicted.known[self.pairs.predicted] + self.true.known[self.pairs.true] - self.pixels
        return np.asarray(2 * self.pixels > both)

    def of_class(self, class_id: int) -> "Comparison":
        """What there is of one class."""
        found, expected = (
            slice(*np.searchsorted(side.class_id, (class_id, class_id + 1)).tolist())
            for side in (self.predicted, self.true)
        )
        pairs = slice(*np.searchsorted(self.pairs.predicted, (found.start, found.stop)).tolist())
        own = Pairs(
            self.pairs.predicted[pairs] - found.start,
            self.pairs.true[pairs] - expected.start,
            self.pairs.iou[pairs],
        )
        return Comparison(self.predicted.at(found), self.true.at(expected), own, self.pixels[pairs])


def compare(overlaps: Overlaps, classes: Collection[int], things: Collection[int]) -> Comparison:
    """Bring counts to segments and pairs.

    What is void on one side is left out of the areas on the other, as in the paper (Kirillov et al. 2019, section
    4.2, void labels): its pixels are in no union. An unmatched prediction of whose pixels more than half are void,
    or in a crowd of its class (group of instances), is no false positive. Void in the map, which the paper does not
    know, is treated likewise, as torchmetrics does: a run says nothing where its scenes have no data.

    Args:
        overlaps: Counts over all windows.
        classes: Ids of the classes that are judged; all others are none on both sides.
        things: Ids of those among them whose segments have ids.
    """
    predicted_class, predicted_id, true_class, true_id, pixels = overlaps.columns
    judged, is_thing = _table(classes), _table(things)
    found = judged[predicted_class] & (~is_thing[predicted_class] | (predicted_id > 0))
    of_class = judged[true_class]
    crowd = of_class & is_thing[true_class] & (true_id == 0)
    expected = of_class & ~crowd
    passed = (true_class == VOID) | (crowd & (true_class == predicted_class))

    predicted, at_predicted = _segments(
        predicted_class[found], predicted_id[found], pixels[found], true_class[found] == VOID, passed[found]
    )
    is_void = predicted_class[expected] == VOID
    true, at_true = _segments(true_class[expected], true_id[expected], pixels[expected], is_void, is_void)
    row_of_predicted, row_of_true = np.full(len(overlaps), -1, np.int64), np.full(len(overlaps), -1, np.int64)
    row_of_predicted[found], row_of_true[expected] = at_predicted, at_true
    # Rows are sorted by the predicted segment first, then by the true one; so are the pairs.
    both = found & expected & (predicted_class == true_class)
    one, other, common = row_of_predicted[both], row_of_true[both], pixels[both]
    iou = common / (predicted.known[one] + true.known[other] - common)
    return Comparison(predicted, true, Pairs(one, other, iou), common)


def _table(class_ids: Collection[int]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[list(class_ids)] = True
    return table


def _segments(
    class_id: NDArray[np.int64],
    ids: NDArray[np.int64],
    pixels: NDArray[np.int64],
    void: NDArray[np.bool_],
    passed: NDArray[np.bool_],
) -> tuple[Segments, NDArray[np.int64]]:
    """The segments of rows (n,), and which of them each row is of (n,)."""
    order = np.lexsort((ids, class_id))
    new = np.ones(len(order), np.bool_)
    new[1:] = (np.diff(class_id[order]) != 0) | (np.diff(ids[order]) != 0)
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(new) - 1
    first = order[new]

    def total(of: NDArray[np.int64]) -> NDArray[np.int64]:
        sums = np.zeros(len(first), np.int64)
        np.add.at(sums, number, of)
        return sums

    counts = 2 * total(np.where(passed, pixels, 0)) <= total(pixels)
    return Segments(class_id[first], ids[first], total(np.where(void, 0, pixels)), counts), number
