"""Panoptic figures from counts: those of torchmetrics and of pycocotools, whatever windows they were counted in."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchmetrics.functional.detection import panoptic_quality

from geoseg.scores.overlaps import VOID, Overlaps, OverlapSum, Segmented
from geoseg.scores.panoptic import PanopticFigures
from geoseg.scores.segments import compare
from geoseg.scores.splits import SplitCounts, split_counts

THINGS, STUFF = (0, 1), (2, 3)
CLASSES = (*THINGS, *STUFF)
NAMES = ("house", "tree", "road", "grass")


def blocky(rng: np.random.Generator, shape: tuple[int, int], values: int) -> NDArray[np.int64]:
    """Numbers (row, column) below `values`, in rectangles: segments that overlap others by all kinds of shares."""
    height, width = shape
    small_hw = rng.integers(0, values, (-(-height // 3), -(-width // 3)))
    return np.asarray(small_hw.repeat(3, 0).repeat(3, 1)[:height, :width])


def picture(rng: np.random.Generator, shape: tuple[int, int], *, void: bool) -> Segmented:
    """Segments; ids of things from 1 on are of one class each, those of stuff are 0."""
    number_hw = blocky(rng, shape, 12)
    class_hw = np.where(number_hw < 9, number_hw % 2, number_hw % 2 + 2).astype(np.uint8)
    if void:
        class_hw[blocky(rng, shape, 4) == 0] = VOID
    return Segmented(class_hw, np.where(class_hw < 2, number_hw + 1, 0))


def like(rng: np.random.Generator, other: Segmented, *, void: bool) -> Segmented:
    """Segments that are those of another picture but for some rectangles, so that many match."""
    mine = picture(rng, other.class_hw.shape, void=void)
    kept_hw = blocky(rng, other.class_hw.shape, 4) > 0
    class_hw = np.where(kept_hw & (other.class_hw != VOID), other.class_hw, mine.class_hw)
    return Segmented(class_hw, np.where(kept_hw & (other.class_hw != VOID), other.id_hw, mine.id_hw))


SHAPE = st.tuples(st.integers(1, 24), st.integers(1, 24))
SEED = st.integers(0, 2**32 - 1)


def pair(seed: int, shape: tuple[int, int], *, void: bool) -> tuple[Segmented, Segmented]:
    rng = np.random.default_rng(seed)
    true = picture(rng, shape, void=void)
    return like(rng, true, void=void), true


def objects_of(overlaps: Overlaps) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All ids on the map's side, each with a confidence of its own."""
    ids = np.unique(overlaps.predicted_id)
    return ids, (ids * 7919 % 101) / 101


def judge(overlaps: Overlaps) -> PanopticFigures:
    return PanopticFigures.of(overlaps, CLASSES, THINGS, objects_of(overlaps))


def same(one: Overlaps, other: Overlaps) -> bool:
    return all(np.array_equal(mine, yours) for mine, yours in zip(one.columns, other.columns, strict=True))


def slow_counts(predicted: Segmented, true: Segmented) -> dict[tuple[int, int, int, int], int]:
    counts: dict[tuple[int, int, int, int], int] = {}
    for place in np.ndindex(*predicted.class_hw.shape):
        sides = (predicted.class_hw, predicted.id_hw, true.class_hw, true.id_hw)
        key = tuple(int(side[place]) for side in sides)
        assert len(key) == 4
        counts[key] = counts.get(key, 0) + 1
    return counts


@settings(max_examples=25)
@given(seed=SEED, shape=SHAPE, cuts=st.lists(st.integers(1, 23), max_size=4), void=st.booleans())
def test_counts_are_those_of_each_pixel_in_whatever_windows_and_order_they_are_seen(
    seed: int, shape: tuple[int, int], cuts: list[int], void: bool
) -> None:
    predicted, true = pair(seed, shape, void=void)
    whole = Overlaps.of(predicted, true)
    *names, pixels = (column.tolist() for column in whole.columns)
    assert dict(zip(zip(*names, strict=True), pixels, strict=True)) == slow_counts(predicted, true)
    rows = np.split(np.arange(shape[0]), sorted({cut for cut in cuts[::2] if cut < shape[0]}))
    cols = np.split(np.arange(shape[1]), sorted({cut for cut in cuts[1::2] if cut < shape[1]}))
    windows = [np.ix_(some, others) for some in rows for others in cols]
    added = OverlapSum(least_rows=10)
    for number in np.random.default_rng(seed).permutation(len(windows)):
        at = windows[number]
        added.add(
            Overlaps.of(
                Segmented(predicted.class_hw[at], predicted.id_hw[at]), Segmented(true.class_hw[at], true.id_hw[at])
            )
        )
    assert same(added.total(), whole)
    assert judge(added.total()) == judge(whole)


def in_torch(pictures: Sequence[Segmented]) -> torch.Tensor:
    """(image, row, column, class and id); void is a class that torchmetrics does not know."""
    return torch.from_numpy(
        np.stack([np.stack((one.class_hw.astype(np.int64), one.id_hw), axis=-1) for one in pictures])
    )


def renumbered(overlaps: Overlaps, image: int) -> Overlaps:
    """Segments of an image, apart from those of others: stuff too."""
    return overlaps.renamed(
        lambda class_id, ids: (class_id, ids + 100 * image), lambda class_id, ids: (class_id, ids + 100 * image)
    )


@settings(max_examples=30)
@given(seed=SEED, shape=SHAPE, images=st.integers(1, 3), void=st.booleans())
def test_quality_is_that_of_torchmetrics(seed: int, shape: tuple[int, int], images: int, void: bool) -> None:
    pairs = [pair(seed + number, shape, void=void) for number in range(images)]
    overlaps = Overlaps.summed([renumbered(Overlaps.of(*one), number) for number, one in enumerate(pairs)])
    figures = judge(overlaps)
    given = (in_torch([one for one, _ in pairs]), in_torch([one for _, one in pairs]), set(THINGS), set(STUFF))
    expected = panoptic_quality(
        *given, allow_unknown_preds_category=True, return_sq_and_rq=True, return_per_class=True
    )
    for class_id, (pq, sq, rq) in zip(CLASSES, expected.tolist(), strict=True):
        quality = figures.classes[class_id]
        if quality.judged:
            assert (quality.pq, quality.sq, quality.rq) == pytest.approx((pq, sq, rq), abs=1e-6)
            assert quality.pq == pytest.approx(float(quality.sq or 0) * float(quality.rq or 0))
        else:
            assert (quality.pq, pq) == (None, 0)
    if not any(one.judged for one in figures.classes.values()):
        return
    means = panoptic_quality(*given, allow_unknown_preds_category=True, return_sq_and_rq=True)
    document = figures.to_json(NAMES)["all"]
    assert [document[name] for name in ("pq", "sq", "rq")] == pytest.approx(means.tolist(), abs=1e-6)


def segments(picture: Segmented) -> dict[tuple[int, int], NDArray[np.bool_]]:
    """Masks by class and id; stuff and things alike, void and crowds too."""
    names = np.unique(np.stack((picture.class_hw.astype(np.int64), picture.id_hw)).reshape(2, -1), axis=1)
    return {
        (class_id, number): (picture.class_hw == class_id) & (picture.id_hw == number)
        for class_id, number in names.T.tolist()
    }


def paper(predicted: Segmented, true: Segmented) -> dict[int, tuple[int, int, int]]:
    """True and false positives and false negatives, written down from section 4.2 of the paper with masks."""
    found, expected = segments(predicted), segments(true)
    void_hw, blind_hw = true.class_hw == VOID, predicted.class_hw == VOID
    counts = {}
    for class_id in CLASSES:
        crowd_hw = expected.get((class_id, 0), np.zeros_like(void_hw))
        if class_id not in THINGS:
            crowd_hw = np.zeros_like(void_hw)
        mine = {key: mask for key, mask in found.items() if key[0] == class_id and (key[1] or class_id in STUFF)}
        theirs = {
            key: mask for key, mask in expected.items() if key[0] == class_id and (key[1] or class_id in STUFF)
        }
        hits = [
            (one, other)
            for one, ours in mine.items()
            for other, yours in theirs.items()
            if (ours & yours).sum() > 0.5 * ((ours & ~void_hw) | (yours & ~blind_hw)).sum()
        ]
        alone = [mask for key, mask in mine.items() if key not in [one for one, _ in hits]]
        missed = [mask for key, mask in theirs.items() if key not in [other for _, other in hits]]
        counts[class_id] = (
            len(hits),
            sum(bool((mask & (void_hw | crowd_hw)).sum() <= 0.5 * mask.sum()) for mask in alone),
            sum(bool((mask & blind_hw).sum() <= 0.5 * mask.sum()) for mask in missed),
        )
    return counts


@given(seed=SEED, shape=SHAPE)
def test_void_and_crowds_are_passed_over_as_the_paper_says(seed: int, shape: tuple[int, int]) -> None:
    predicted, true = pair(seed, shape, void=True)
    # Objects 3 and 4 of the reference are crowds of their classes; some objects of the map have no id: none at all.
    true = Segmented(true.class_hw, np.where(np.isin(true.id_hw, (3, 4)), 0, true.id_hw))
    predicted = Segmented(predicted.class_hw, np.where(predicted.id_hw == 5, 0, predicted.id_hw))
    figures = judge(Overlaps.of(predicted, true))
    assert {key: (one.true, one.false, one.missed) for key, one in figures.classes.items()} == paper(
        predicted, true
    )


def test_more_than_half_in_void_or_a_crowd_is_no_fault() -> None:
    # Each row is an object of 6 px: void, in a crowd, and on nothing, by pixels.
    shares = [(3, 0, 3), (4, 0, 2), (0, 3, 3), (0, 4, 2), (2, 2, 2), (0, 0, 6)]
    true_class_hw = np.array([[VOID] * void + [0] * crowd + [2] * other for void, crowd, other in shares], np.uint8)
    predicted = Segmented(np.zeros((6, 6), np.uint8), np.arange(1, 7).repeat(6).reshape(6, 6))
    figures = judge(Overlaps.of(predicted, Segmented(true_class_hw, np.zeros((6, 6), np.int64))))
    assert figures.classes[0].false == 3
    assert (figures.classes[0].missed, figures.classes[2].missed) == (0, 1)


def coco_precision(
    pairs: Sequence[tuple[Segmented, Segmented]], confidence: Sequence[NDArray[np.float64]]
) -> dict[int, tuple[float, float]]:
    """AP at 0.5 and 0.5:0.95 by class, as pycocotools has it, -1 where there is none."""

    def annotations(picture: Segmented, image: int) -> list[dict[str, object]]:
        return [
            {
                "image_id": image,
                "category_id": class_id,
                "segmentation": coco_masks.encode(np.asfortranarray(mask_hw.astype(np.uint8))),
                "area": int(mask_hw.sum()),
                "iscrowd": 0,
                "number": number,
            }
            for (class_id, number), mask_hw in segments(picture).items()
            if class_id in THINGS
        ]

    height, width = pairs[0][0].class_hw.shape
    expected = [one for image, (_, true) in enumerate(pairs) for one in annotations(true, image)]
    found = [one for image, (predicted, _) in enumerate(pairs) for one in annotations(predicted, image)]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": image, "height": height, "width": width} for image in range(len(pairs))],
            "categories": [{"id": class_id} for class_id in THINGS],
            "annotations": [{**one, "id": number + 1} for number, one in enumerate(expected)],
        }
        truth.createIndex()
        claims = truth.loadRes(
            [
                {**one, "score": float(confidence[int(str(one["image_id"]))][int(str(one["number"]))])}
                for one in found
            ]
        )
        judged = COCOeval(truth, claims, "segm")
        judged.params.areaRng, judged.params.areaRngLbl, judged.params.maxDets = [[0, 1e9]], ["all"], [10_000]
        judged.evaluate()
        judged.accumulate()
    precision = judged.eval["precision"][:, :, :, 0, 0]
    return {
        class_id: (float(precision[0, :, number].mean()), float(precision[:, :, number].mean()))
        for number, class_id in enumerate(THINGS)
    }


@settings(max_examples=25)
@given(seed=SEED, shape=SHAPE, images=st.integers(1, 3), levels=st.integers(1, 20))
def test_average_precision_is_that_of_pycocotools(
    seed: int, shape: tuple[int, int], images: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    pairs = [pair(seed + number, shape, void=False) for number in range(images)]
    # Of few levels many are equal.
    confidence = [rng.integers(0, levels, 100) / levels for _ in range(images)]
    if not any((predicted.class_hw < 2).any() for predicted, _ in pairs):
        return
    overlaps = Overlaps.summed([renumbered(Overlaps.of(*one), number) for number, one in enumerate(pairs)])
    figures = PanopticFigures.of(overlaps, CLASSES, THINGS, (np.arange(100 * images), np.concatenate(confidence)))
    for class_id, expected in coco_precision(pairs, confidence).items():
        found = figures.things[class_id]
        if expected[0] < 0:
            assert (found.ap_50, found.ap_50_95) == (None, None)
        else:
            assert (found.ap_50, found.ap_50_95) == pytest.approx(expected, abs=1e-9)


def hoover(predicted: Segmented, true: Segmented, class_id: int) -> SplitCounts:
    """Written down from the paper with masks, for more than half."""
    found, expected = (
        [mask_hw for key, mask_hw in segments(side).items() if key[0] == class_id] for side in (predicted, true)
    )

    def taken_apart(
        wholes: list[NDArray[np.bool_]], parts: list[NDArray[np.bool_]]
    ) -> list[list[NDArray[np.bool_]]]:
        within = [[part for part in parts if (part & whole).sum() > 0.5 * part.sum()] for whole in wholes]
        return [
            some
            for whole, some in zip(wholes, within, strict=True)
            if len(some) > 1 and (np.any(some, axis=0) & whole).sum() > 0.5 * whole.sum()
        ]

    splits, merges = taken_apart(expected, found), taken_apart(found, expected)
    return SplitCounts(len(splits), sum(map(len, splits)), len(merges), sum(map(len, merges)))


@given(seed=SEED, shape=SHAPE, coarse=st.booleans())
def test_splits_and_merges_are_those_of_the_definition(seed: int, shape: tuple[int, int], coarse: bool) -> None:
    predicted, true = pair(seed, shape, void=False)
    if coarse:  # runs pairs of objects together
        predicted = Segmented(predicted.class_hw, np.where(predicted.id_hw > 0, (predicted.id_hw - 1) // 4 + 1, 0))
    comparison = compare(Overlaps.of(predicted, true), CLASSES, THINGS)
    for class_id in THINGS:
        assert split_counts(comparison.of_class(class_id)) == hoover(predicted, true, class_id)


def row_of_houses(*lengths: int) -> Segmented:
    """Houses (4, column) one beside the other."""
    ids = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    return Segmented(np.zeros((4, len(ids)), np.uint8), np.tile(ids, (4, 1)))


def test_a_row_run_together_is_a_merge_and_a_house_cut_in_two_a_split() -> None:
    row = row_of_houses(10, 10, 10, 10)

    def counted(predicted: Segmented, true: Segmented) -> SplitCounts:
        return split_counts(compare(Overlaps.of(predicted, true), CLASSES, THINGS).of_class(0))

    assert counted(row, row) == SplitCounts(0, 0, 0, 0)
    assert counted(row_of_houses(40), row) == SplitCounts(0, 0, 1, 4)
    assert counted(row, row_of_houses(40)) == SplitCounts(1, 4, 0, 0)
    assert counted(row_of_houses(9, 11, 10, 10), row) == SplitCounts(0, 0, 0, 0)
    # A shed of a tenth is swallowed: the house is found, and yet two are one.
    assert counted(row_of_houses(10), row_of_houses(9, 1)) == SplitCounts(0, 0, 1, 2)


@settings(max_examples=25)
@given(seed=SEED, shape=SHAPE)
def test_ids_are_names_alone_and_a_map_is_perfect_against_itself(seed: int, shape: tuple[int, int]) -> None:
    predicted, true = pair(seed, shape, void=True)
    overlaps = Overlaps.of(predicted, true)
    shuffled = np.concatenate(([0], 1 + np.random.default_rng(seed).permutation(99))) * 2**40

    def renamed(class_id: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return class_id, shuffled[ids]

    ids, confidence = objects_of(overlaps)
    other = PanopticFigures.of(
        overlaps.renamed(renamed, renamed),
        CLASSES,
        THINGS,
        (np.sort(shuffled[ids]), confidence[np.argsort(shuffled[ids])]),
    )
    mine = judge(overlaps)
    assert {key: (one.true, one.false, one.missed) for key, one in other.classes.items()} == {
        key: (one.true, one.false, one.missed) for key, one in mine.classes.items()
    }
    for class_id in CLASSES:
        assert other.classes[class_id].iou == pytest.approx(mine.classes[class_id].iou)
    for class_id in THINGS:
        assert other.things[class_id].ap_50_95 == pytest.approx(mine.things[class_id].ap_50_95)
    perfect = judge(Overlaps.of(true, true))
    for class_id, quality in perfect.classes.items():
        present = bool((true.class_hw == class_id).any())
        assert (quality.pq, quality.sq, quality.rq) == ((1, 1, 1) if present else (None, None, None))
        if class_id in THINGS:
            figures = perfect.things[class_id]
            assert (figures.ap_50, figures.ap_50_95) == ((1, 1) if present else (None, None))
            assert (figures.splits, figures.merges) == (0, 0)
