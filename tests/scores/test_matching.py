"""Matching and AP: those of COCO's own evaluation; figures of cases made by hand."""

import contextlib
import io

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval, Params

from geoseg.scores.matching import IOU_BOUNDS, Objects, detection_figures, match, overlapping

IGNORED_AREA = 1e9
"""COCO ignores objects whose area is out of range; areas are whatever the file says."""


Box = tuple[float, float, float, float]


def boxes(rows: list[Box]) -> NDArray[np.object_]:
    polygons = np.empty(len(rows), object)
    polygons[:] = [shapely.box(x, y, x + width, y + height) for x, y, width, height in rows]
    return polygons


def all_count(polygons: NDArray[np.object_]) -> Objects:
    return Objects(polygons, np.ones(len(polygons), np.bool_))


def coco(
    true: list[Box],
    true_counts: list[bool],
    found: list[Box],
    found_counts: list[bool],
    confidence: NDArray[np.float64],
) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": 1}],
            "categories": [{"id": 1}],
            "annotations": [
                {"id": i + 1, "image_id": 1, "category_id": 1, "bbox": list(box), "iscrowd": 0, "area": area}
                for i, (box, counts) in enumerate(zip(true, true_counts, strict=True))
                for area in [1.0 if counts else IGNORED_AREA]
            ],
        }
        truth.createIndex()
        claims = truth.loadRes(
            [
                {"image_id": 1, "category_id": 1, "bbox": list(box), "score": float(score)}
                for box, score in zip(found, confidence, strict=True)
            ]
        )
        for annotation, counts in zip(claims.dataset["annotations"], found_counts, strict=True):
            annotation["area"] = 1.0 if counts else IGNORED_AREA
        judged = COCOeval(truth, claims, "bbox")
        judged.params.areaRng = [[0, 1e6]]
        judged.params.areaRngLbl = ["all"]
        judged.params.maxDets = [1000]
        judged.evaluate()
        judged.accumulate()
    return judged


BOX = st.tuples(*(st.integers(0, 12), st.integers(0, 12)), *(st.integers(2, 8), st.integers(2, 8)))


@settings(max_examples=25)
@given(
    true=st.lists(st.tuples(BOX, st.integers(0, 4)), min_size=1, max_size=10),
    found=st.lists(st.tuples(BOX, st.integers(0, 4)), min_size=1, max_size=10),
    copies=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_precision_recall_and_ap_are_those_of_pycocotools(
    true: list[tuple[Box, int]],
    found: list[tuple[Box, int]],
    copies: int,
    seed: int,
) -> None:
    # One object in five does not count; some of those found are nearly true ones.
    moved = [((x + 1, y, width, height), 1) for (x, y, width, height), _ in true[:copies]]
    found = [*found, *moved]
    true_boxes, true_counts = [box for box, _ in true], [number > 0 for _, number in true]
    found_boxes, found_counts = [box for box, _ in found], [number > 0 for _, number in found]
    confidence = np.random.default_rng(seed).integers(0, 6, len(found)) / 6
    figures, first = detection_figures(
        Objects(boxes(found_boxes), np.array(found_counts)),
        Objects(boxes(true_boxes), np.array(true_counts)),
        confidence,
    )
    judged = coco(true_boxes, true_counts, found_boxes, found_counts, confidence)
    precision = judged.eval["precision"][:, :, 0, 0, 0]
    if not any(true_counts):
        assert figures["ap_50"] is None
        assert figures["ap_50_95"] is None
        return
    assert figures["ap_50"] == pytest.approx(precision[0].mean(), abs=1e-9)
    assert figures["ap_50_95"] == pytest.approx(precision.mean(), abs=1e-9)
    images = judged.evalImgs[0]
    kept = ~images["dtIgnore"][0].astype(bool)
    hits = int((images["dtMatches"][0][kept] > 0).sum())
    assert figures["true"] == hits
    assert figures["false"] == int(kept.sum()) - hits
    assert figures["missed"] == sum(true_counts) - hits
    assert first.counts.sum() == kept.sum()


def test_bounds_are_those_of_coco() -> None:
    assert pytest.approx(Params(iouType="bbox").iouThrs) == IOU_BOUNDS


def test_figures_computed_by_hand() -> None:
    true = boxes([(0, 0, 10, 10), (20, 0, 10, 10), (40, 0, 10, 10)])
    # IoU 1; 9 / 11; nothing. The one that is nothing is surest.
    found = boxes([(0, 0, 10, 10), (21, 0, 10, 10), (60, 0, 10, 10)])
    figures, matched = detection_figures(all_count(found), all_count(true), np.array([0.8, 0.7, 0.9]))
    assert matched.true_of.tolist() == [0, 1, -1]
    assert matched.iou == pytest.approx([1, 9 / 11, 0])
    assert (figures["true"], figures["false"], figures["missed"]) == (2, 1, 1)
    assert figures["precision"] == figures["recall"] == figures["f1"] == pytest.approx(2 / 3)
    # Precision is 2/3 up to a recall of 2/3, which 67 of the 101 points lie below.
    assert figures["ap_50"] == pytest.approx(2 / 3 * 67 / 101)
    # Above an IoU of 0.8 (3 of the 10 bounds) one is right: precision 1/2 up to a recall of 1/3, for 34 points.
    assert figures["ap_50_95"] == pytest.approx((7 * 2 / 3 * 67 / 101 + 3 * 1 / 2 * 34 / 101) / 10)


def test_the_surer_takes_what_two_claim() -> None:
    true = boxes([(0, 0, 10, 10)])
    found = boxes([(0, 0, 10, 10), (1, 0, 10, 10)])
    pairs = overlapping(found, true, 0.5)
    both, it = np.ones(2, np.bool_), np.ones(1, np.bool_)
    assert match(both, it, np.array([0.5, 0.6]), pairs, 0.5).true_of.tolist() == [-1, 0]
    assert match(both, it, np.array([0.6, 0.5]), pairs, 0.5).true_of.tolist() == [0, -1]


@pytest.mark.parametrize(("found", "true"), [(0, 0), (0, 2), (2, 0), (2, 2)])
def test_nothing_and_perfection(found: int, true: int) -> None:
    rows = [(0.0, 0.0, 4.0, 4.0), (9.0, 0.0, 4.0, 4.0)]
    figures, _ = detection_figures(all_count(boxes(rows[:found])), all_count(boxes(rows[:true])), np.ones(found))
    right = 1.0 if found and true else 0.0
    assert figures["precision"] == (right if found else None)
    assert figures["recall"] == (right if true else None)
    assert figures["f1"] == (right if found or true else None)
    assert figures["ap_50"] == figures["ap_50_95"] == (pytest.approx(right) if true else None)
