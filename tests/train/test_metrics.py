from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.stats import bootstrap
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_accuracy,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_jaccard_index,
    multiclass_precision,
    multiclass_recall,
)

from geoseg.labels import NODATA_CLASS
from geoseg.train.candidates import Candidates
from geoseg.train.metrics import Confusion
from geoseg.train.metrics.bootstrap import intervals
from geoseg.train.metrics.calibration import Reliability, expected_calibration_error
from geoseg.train.metrics.edges import HALO_PX, REACH_PX, EdgeCounts, boundary_f1, boundary_iou
from geoseg.train.metrics.tally import Tally, named_figures
from geoseg.train.metrics.truth import Truth

K = 3
CODING = Candidates.of(K, [frozenset({0}), frozenset({0, 2})])


def maps(seed: int, classes: int, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    target_hw = rng.integers(0, classes, shape).astype(np.uint8)
    target_hw[rng.random(shape) < 0.3] = NODATA_CLASS
    return target_hw, rng.integers(0, classes, shape).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 7), st.integers(1, 6), st.integers(1, 6))
def test_figures_equal_sets_of_pixels(seed: int, classes: int, height: int, width: int) -> None:
    target_hw, predicted_hw = maps(seed, classes, (height, width))
    confusion = Confusion.of(target_hw, predicted_hw, classes)
    known = [at for at, label in np.ndenumerate(target_hw) if label != NODATA_CLASS]
    ious: list[float | None] = []
    for label in range(classes):
        true = {at for at in known if target_hw[at] == label}
        predicted = {at for at in known if predicted_hw[at] == label}
        ious.append(len(true & predicted) / len(true | predicted) if true | predicted else None)
    assert confusion.iou() == tuple(ious)
    there = [iou for iou in ious if iou is not None]
    assert confusion.miou() == (pytest.approx(sum(there) / len(there)) if there else None)
    right = sum(bool(target_hw[at] == predicted_hw[at]) for at in known)
    assert confusion.accuracy() == (right / len(known) if known else None)
    assert confusion.pixels == len(known)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 7))
def test_windows_add_up_to_the_whole(seed: int, row: int, col: int) -> None:
    target_hw, predicted_hw = maps(seed, 4, (8, 8))
    parts = Confusion.zero(4)
    for rows in (slice(0, row), slice(row, 8)):
        for cols in (slice(0, col), slice(col, 8)):
            parts += Confusion.of(target_hw[rows, cols], predicted_hw[rows, cols], 4)
    whole = Confusion.of(target_hw, predicted_hw, 4)
    assert np.array_equal(parts.counts, whole.counts)


def test_counts_beyond_32_bits_stay_exact() -> None:
    many = Confusion(np.array([[2**40 + 1, 0], [0, 1]], np.int64))
    assert (many + many).pixels == 2**41 + 4


def test_a_class_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="ids below 2"):
        Confusion.of(np.array([[2]], np.uint8), np.array([[0]], np.uint8), 2)
    with pytest.raises(ValueError, match="ids below 2"):
        Confusion.of(np.array([[0]], np.uint8), np.array([[2]], np.uint8), 2)


def test_maps_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        Confusion.of(np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.uint8), 2)


def coded(seed: int, shape: tuple[int, int] = (20, 24)) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Patches of labels, some of them partial, and a prediction that is near them."""
    rng = np.random.default_rng(seed)
    values = [0, 1, 2, NODATA_CLASS, *(value for _, value in CODING.rests)]
    patches = rng.choice(values, (shape[0] // 4, shape[1] // 4)).repeat(4, 0).repeat(4, 1).astype(np.uint8)
    predicted_hw = np.where(rng.random(shape) < 0.8, np.roll(patches, 1, 1), rng.integers(0, K, shape))
    predicted_hw[predicted_hw >= K] = 0
    return patches, predicted_hw.astype(np.uint8)


def whole(labels_hw: NDArray[np.uint8]) -> tuple[slice, slice]:
    return slice(0, labels_hw.shape[0]), slice(0, labels_hw.shape[1])


@settings(max_examples=5)
@given(st.integers(0, 2**32))
def test_a_partly_labelled_pixel_counts_for_what_it_labels(seed: int) -> None:
    labels_hw, predicted_hw = coded(seed)
    confusion = Confusion.of_truth(Truth.of_labels(labels_hw, CODING), predicted_hw)
    expected = np.zeros((K, 4), np.int64)
    for at, value in np.ndenumerate(labels_hw):
        allowed = [k for k in range(K) if CODING.allowed_vk[value, k]]
        for k in range(K):
            if allowed == [k] or k not in allowed:
                true, mapped = allowed == [k], bool(predicted_hw[at] == k)
                expected[k, [[3, 1], [2, 0]][true][mapped]] += 1
    assert np.array_equal(confusion.decisions, expected)
    hits, false, missed, _ = expected.T
    assert confusion.iou() == tuple(
        h / (h + f + m) if h + f + m else None for h, f, m in zip(hits, false, missed, strict=True)
    )


@settings(max_examples=10)
@given(st.integers(0, 2**32), st.integers(1, 19), st.integers(1, 23))
def test_all_counts_of_windows_with_halos_add_up_to_the_whole(seed: int, row: int, col: int) -> None:
    labels_hw, predicted_hw = coded(seed)
    confidence_hw = np.random.default_rng(seed).integers(0, 255, labels_hw.shape).astype(np.uint8)
    predicted_hw[:3, :3] = NODATA_CLASS
    height, width = labels_hw.shape

    def tally(rows: slice, cols: slice) -> Tally:
        top, left = max(rows.start - HALO_PX, 0), max(cols.start - HALO_PX, 0)
        wide = slice(top, min(rows.stop + HALO_PX, height)), slice(left, min(cols.stop + HALO_PX, width))
        truth = Truth.of_labels(labels_hw[wide], CODING, predicted_hw[wide] != NODATA_CLASS)
        inner = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        return Tally.of(truth, predicted_hw[wide], confidence_hw[wide], inner)

    parts = Tally.zero(K)
    for rows in (slice(0, row), slice(row, height)):
        for cols in (slice(0, col), slice(col, width)):
            parts += tally(rows, cols)
    assert np.array_equal(parts.numbers, tally(slice(0, height), slice(0, width)).numbers)


@settings(max_examples=10)
@given(st.integers(0, 2**32))
def test_figures_are_those_of_torchmetrics(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Every class is there and predicted: what others say of a class without pixels differs.
    labels_hw, predicted_hw = (rng.permutation(np.arange(400) % K).reshape(20, 20).astype(np.uint8) for _ in "ab")
    labels_hw[rng.random(labels_hw.shape) < 0.3] = NODATA_CLASS
    confidence_hw = rng.integers(1, 254, labels_hw.shape).astype(np.uint8)
    truth = Truth.of_labels(labels_hw, Candidates.of(K))
    tally = Tally.of(truth, predicted_hw, confidence_hw, whole(labels_hw))
    found = named_figures(tally.numbers, ("a", "b", "c"))
    ours, theirs = torch.from_numpy(predicted_hw).long(), torch.from_numpy(labels_hw).long()
    for name, metric in (
        ("iou", multiclass_jaccard_index),
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ):
        expected = metric(ours, theirs, K, average=None, ignore_index=NODATA_CLASS)
        assert [found[f"{one}.{name}"] for one in "abc"] == pytest.approx(expected.tolist(), rel=1e-6)
    expected_accuracy = multiclass_accuracy(ours, theirs, K, average="micro", ignore_index=NODATA_CLASS)
    assert found["accuracy"] == pytest.approx(expected_accuracy.item(), rel=1e-6)
    expected_mean = multiclass_accuracy(ours, theirs, K, average="macro", ignore_index=NODATA_CLASS)
    assert found["mean_accuracy"] == pytest.approx(expected_mean.item(), rel=1e-6)
    expected_matrix = multiclass_confusion_matrix(ours, theirs, K, ignore_index=NODATA_CLASS)
    assert np.array_equal(tally.confusion.counts, expected_matrix.numpy())
    weights = np.bincount(labels_hw[labels_hw < K], minlength=K)
    ious = [float(found[f"{one}.iou"]) for one in "abc"]
    assert found["fwiou"] == pytest.approx(np.average(ious, weights=weights))
    assert found["miou"] == pytest.approx(np.mean(ious))
    # Of two classes the binary form takes a probability for what is said, and whether it is so for the truth.
    known_hw = labels_hw != NODATA_CLASS
    said = torch.from_numpy(confidence_hw[known_hw] / 254)
    so = torch.from_numpy((labels_hw == predicted_hw)[known_hw].astype(np.int64))
    assert found["ece"] == pytest.approx(slow_ece(said.numpy(), so.numpy()), rel=1e-9)
    high = said > 0.5  # below a half the binary form takes the other class's side
    counts = Reliability.of(confidence_hw[known_hw][high.numpy()], so.numpy()[high.numpy()].astype(bool)).counts
    expected_ece = binary_calibration_error(said[high], so[high], n_bins=15)
    assert float(expected_calibration_error(counts)) == pytest.approx(expected_ece.item(), rel=1e-5)


def slow_ece(said: NDArray[np.float64], so: NDArray[np.int64]) -> float:
    """Guo et al. 2017, equation 3."""
    total = 0.0
    for m in range(15):
        chosen = [i for i, p in enumerate(said) if m / 15 < p <= (m + 1) / 15]
        if chosen:
            total += len(chosen) / len(said) * abs(float(np.mean(so[chosen])) - float(np.mean(said[chosen])))
    return total


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_boundary_figures_are_those_of_distance_transforms(seed: int) -> None:
    labels_hw, predicted_hw = coded(seed)
    truth = Truth.of_labels(labels_hw, CODING)
    predicted_khw = predicted_hw == np.arange(K)[:, None, None]
    counts = EdgeCounts.of(truth, predicted_khw, whole(labels_hw)).counts

    def within(mask_hw: NDArray[np.bool_], distance_px: float) -> NDArray[np.bool_]:
        """Pixels at most so far from one of a mask."""
        if not mask_hw.any():
            return np.zeros_like(mask_hw)
        return np.asarray(distance_transform_edt(~mask_hw) <= distance_px)

    for k in range(K):
        known_hw = truth.known_khw[k]
        there_hw, mapped_hw = truth.there_khw[k], predicted_khw[k] & known_hw
        bands = [mask_hw & within(known_hw & ~mask_hw, REACH_PX) for mask_hw in (there_hw, mapped_hw)]
        edges = [mask_hw & within(known_hw & ~mask_hw, 1) for mask_hw in (there_hw, mapped_hw)]
        both, either = np.count_nonzero(bands[0] & bands[1]), np.count_nonzero(bands[0] | bands[1])
        iou = float(boundary_iou(counts[k]))
        assert np.isnan(iou) if not either else iou == both / either
        if not edges[0].any() and not edges[1].any():
            assert np.isnan(boundary_f1(counts[k]))
            continue
        precision = np.mean(within(edges[0], REACH_PX)[edges[1]]) if edges[1].any() else 0
        recall = np.mean(within(edges[1], REACH_PX)[edges[0]]) if edges[0].any() else 0
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert float(boundary_f1(counts[k])) == pytest.approx(expected)


def test_where_classes_overlap_a_pixel_may_be_of_several() -> None:
    planes_khw = np.array([[[1, 1, 0]], [[1, 0, NODATA_CLASS]]], np.uint8)
    probability_khw = np.array([[[200, 126, 127]], [[127, 0, 254]]], np.uint8)
    tally = Tally.of_planes(Truth.of_planes(planes_khw), probability_khw, (slice(0, 1), slice(0, 3)))
    assert tally.confusion.decisions.tolist() == [[1, 1, 1, 0], [1, 0, 0, 1]]
    assert tally.confusion.accuracy() == 3 / 5
    assert tally.confusion.pixels == 3


def test_intervals_are_those_of_scipy() -> None:
    rng = np.random.default_rng(2)
    right = rng.integers(50, 100, 40)
    tallies = [
        replace(Tally.zero(2), confusion=Confusion(np.array([[hits, 100 - hits], [0, 0]], np.int64)))
        for hits in right
    ]
    found = intervals(tallies, ("a", "b"))
    again = intervals(tallies, ("a", "b"))
    theirs = bootstrap(
        (right / 100,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    ).confidence_interval
    assert found["accuracy"] == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert found["accuracy"] == again["accuracy"] != intervals(tallies, ("a", "b"), seed=1)["accuracy"]
    assert found["b.precision"] == (0.0, 0.0)
    assert found["b.recall"] is None
    assert set(intervals(tallies[:1], ("a", "b")).values()) == {None}


@settings(max_examples=5)
@given(st.integers(0, 2**32), st.integers(2, 6))
def test_pieces_that_are_alike_leave_nothing_to_chance(seed: int, pieces: int) -> None:
    labels_hw, predicted_hw = coded(seed)
    confidence_hw = np.full_like(labels_hw, 100)
    one = Tally.of(Truth.of_labels(labels_hw, CODING), predicted_hw, confidence_hw, whole(labels_hw))
    found = intervals([one] * pieces, ("a", "b", "c"))
    for name, value in named_figures(one.numbers, ("a", "b", "c")).items():
        assert found[name] == (None if np.isnan(value) else pytest.approx((float(value), float(value))))
