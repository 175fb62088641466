from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logsumexp
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_calibration_error

from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS, Activation
from geoseg.train.candidates import Candidates
from geoseg.train.logits import LogitSample
from geoseg.train.scenes import LabelCoding, LabelledScene, Source
from geoseg.train.score import TileShape
from geoseg.train.temperature import (
    GREATEST,
    LEAST,
    calibration_error,
    fit_temperature,
    negative_log_likelihood,
)

WriteScene = Callable[..., Source]

CLASSES = 4
PARTIAL = Candidates.of(CLASSES, [frozenset({0, 1})])
REST = PARTIAL.rest(frozenset({0, 1}))


def sample(logits_nk: Tensor, labels: Tensor, activation: Activation = "softmax") -> LogitSample:
    return LogitSample(logits_nk, labels, PARTIAL, activation)


def drawn(pixels: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits, and labels as probable as these say: logits of temperature 1."""
    rng = torch.Generator().manual_seed(seed)
    logits_nk = torch.randn(pixels, CLASSES, generator=rng) * spread
    labels_n = torch.multinomial(logits_nk.softmax(1), 1, generator=rng)[:, 0].to(torch.uint8)
    return logits_nk, labels_n


@pytest.mark.parametrize("factor", [0.3, 1.0, 2.5, 6.0])
def test_the_factor_of_scaled_logits_is_found(factor: float) -> None:
    logits_nk, labels_n = drawn(40_000, 1.5)
    assert fit_temperature(sample(logits_nk * factor, labels_n)).value == pytest.approx(factor, rel=0.04)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_logits_scaled_once_more_have_a_temperature_so_much_greater(activation: Activation) -> None:
    logits_nk, labels_n = drawn(3_000, 2.0)
    labels_n[::3] = REST
    once = fit_temperature(sample(logits_nk, labels_n, activation)).value
    assert fit_temperature(sample(logits_nk * 3, labels_n, activation)).value == pytest.approx(3 * once, rel=1e-3)


@given(
    st.lists(
        st.tuples(
            st.lists(st.floats(-30, 30, width=32), min_size=4, max_size=4), st.sampled_from([0, 1, 2, 3, REST])
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["softmax", "sigmoid"]),
)
@settings(max_examples=25, deadline=None)
def test_a_fit_never_costs_likelihood_and_changes_no_order(
    pixels: list[tuple[list[float], int]], activation: Activation
) -> None:
    logits_nk = torch.tensor([logits for logits, _ in pixels])
    labelled = sample(logits_nk, torch.tensor([label for _, label in pixels], dtype=torch.uint8), activation)
    found = fit_temperature(labelled)
    assert LEAST <= found.value <= GREATEST
    before, after = negative_log_likelihood(labelled), negative_log_likelihood(labelled, found.value)
    assert np.isfinite(after)
    assert after <= before
    # Division may round two logits to one number, never swap them.
    divided_nk = logits_nk / found.value
    chosen_n = divided_nk.gather(1, logits_nk.argmax(1, keepdim=True))[:, 0]
    assert torch.equal(chosen_n, divided_nk.amax(1))


@given(st.integers(0, 2**16), st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=10, deadline=None)
def test_the_likelihood_is_that_of_the_formulas(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    logits_nk = rng.normal(0, 4, (30, CLASSES)).astype(np.float32)
    labels_n = rng.choice([0, 1, 2, 3, REST], 30).astype(np.uint8)
    scaled_nk = logits_nk.astype(np.float64) / temperature
    costs, pairs = [], []
    for scaled_k, label in zip(scaled_nk, labels_n, strict=True):
        allowed = [2, 3] if label == REST else [label]
        costs.append(logsumexp(scaled_k) - logsumexp(scaled_k[allowed]))
        for class_id, one in enumerate(scaled_k):
            if label == REST and class_id in (2, 3):
                continue
            pairs.append(-np.log(expit(one if class_id == label else -one)))
    tensors = torch.from_numpy(logits_nk), torch.from_numpy(labels_n)
    assert negative_log_likelihood(sample(*tensors), temperature) == pytest.approx(np.mean(costs))
    assert negative_log_likelihood(sample(*tensors, "sigmoid"), temperature) == pytest.approx(np.mean(pairs))


def test_pixels_in_pieces_count_like_all_at_once() -> None:
    logits_nk, labels_n = drawn(150_000, 2.0)
    parts = [(logits_nk[part], labels_n[part]) for part in (slice(0, 70_000), slice(70_000, None))]
    sizes = [len(part) for _, part in parts]
    mean = np.average([negative_log_likelihood(sample(*part)) for part in parts], weights=sizes)
    assert negative_log_likelihood(sample(logits_nk, labels_n)) == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_calibration_error_is_torchmetrics(temperature: float) -> None:
    logits_nk, labels_n = drawn(20_000, 1.5)
    found = calibration_error(sample(logits_nk * 2.5, labels_n), temperature)
    probability_nk = (logits_nk * 2.5 / temperature).softmax(1)
    expected = multiclass_calibration_error(probability_nk, labels_n.long(), CLASSES, 15, "l1")
    # Maps store confidences in steps of 1 / 254, which moves some to the bin beside.
    assert found == pytest.approx(float(expected), abs=0.004)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_calibration_error_of_a_model_that_is_too_sure_falls(activation: Activation) -> None:
    logits_nk, labels_n = drawn(20_000, 1.5)
    if activation == "sigmoid":
        # Logits whose sigmoids are the probabilities from which the labels were drawn.
        logits_nk = logits_nk.softmax(1).logit()
    too_sure = sample(logits_nk * 4, labels_n, activation)
    before, after = calibration_error(too_sure), calibration_error(too_sure, fit_temperature(too_sure).value)
    assert before is not None
    assert after is not None
    assert before > 0.1
    assert after < 0.03


def test_overlapping_classes_are_judged_pair_by_pair() -> None:
    rng = torch.Generator().manual_seed(1)
    logits_nk = torch.randn(20_000, CLASSES, generator=rng)
    planes_nk = torch.bernoulli(logits_nk.sigmoid(), generator=rng).to(torch.uint8)
    unknown_nk = torch.rand(planes_nk.shape, generator=rng) < 0.3
    planes_nk[unknown_nk] = NODATA_CLASS
    # What is not known counts for nothing, whatever the logits are there.
    logits_nk[unknown_nk] = 25.0
    too_sure = sample(logits_nk * 5, planes_nk, "sigmoid")
    fitted = fit_temperature(too_sure)
    assert fitted.value == pytest.approx(5, rel=0.05)
    before, after = calibration_error(too_sure), calibration_error(too_sure, fitted.value)
    assert before is not None
    assert after is not None
    assert after < 0.02 < before


@pytest.mark.parametrize("label", [None, 2])
def test_labels_that_decide_nothing_leave_the_logits_and_say_so(label: int | None) -> None:
    logits_nk, _ = drawn(500, 2.0)
    if label is not None:
        logits_nk[:, label] = 9.0
    right = sample(logits_nk, logits_nk.argmax(1).to(torch.uint8))
    found = fit_temperature(right)
    assert found.value == 1.0
    assert found.note is not None
    assert "undecided" in found.note
    assert calibration_error(right, found.value) is not None


def test_answers_that_are_always_wrong_leave_the_logits_and_say_so() -> None:
    logits_nk, _ = drawn(500, 2.0)
    found = fit_temperature(sample(logits_nk, logits_nk.argmin(1).to(torch.uint8)))
    assert (found.value, found.note is not None) == (1.0, True)


def test_no_pixel_no_temperature() -> None:
    nothing = sample(torch.empty(0, CLASSES), torch.empty(0, dtype=torch.uint8))
    assert calibration_error(nothing) is None
    with pytest.raises(ValueError, match="got none"):
        fit_temperature(nothing)


class Bands(nn.Module):
    """Logits that are the first two bands."""

    def forward(self, images_nchw: Tensor) -> Tensor:
        return images_nchw[:, :2]


@pytest.mark.parametrize("least_px", [50, 10**6])
def test_a_sample_holds_labelled_pixels_of_all_tiles_with_their_own_logits(
    write_scene: WriteScene, imagery: Imagery, least_px: int
) -> None:
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, 50, 70)).astype(np.uint8)
    labels_hw = rng.integers(0, 3, (50, 70)).astype(np.uint8)
    valid_hw = rng.random((50, 70)) < 0.8
    source = write_scene("scene", image_chw, labels_hw, valid_hw)
    coding, known_hw = LabelCoding({1: 0, 2: 1}), valid_hw & (labels_hw > 0)
    with LabelledScene(source, imagery, coding) as scene:
        found, again = (
            LogitSample.of(
                Bands(),
                [scene],
                TileShape(32, 8),
                torch.device("cpu"),
                coding.candidates,
                "softmax",
                least_px=least_px,
            )
            for _ in range(2)
        )
    assert torch.equal(found.logits_nk, again.logits_nk)
    assert found.tiles == 20
    everything = known_hw.sum()
    assert found.pixels == everything if least_px > everything else least_px * 0.7 <= found.pixels <= 2 * least_px
    expected = {(*image_chw[:2, row, col].tolist(), labels_hw[row, col] - 1) for row, col in np.argwhere(known_hw)}
    bands_nk = (found.logits_nk * 50 + 100).round().int().tolist()
    kept = {(*bands, label) for bands, label in zip(bands_nk, found.labels.tolist(), strict=True)}
    assert kept <= expected
    assert kept == expected or least_px < everything
