"""A step: accumulated gradients, blended labels, clipping, and memory that does not suffice."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from geoseg.config.losses import LossConfig
from geoseg.errors import ModelError, StoppedError
from geoseg.labels import NODATA_CLASS
from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.freeze import Frozen
from geoseg.train.losses import build_loss
from geoseg.train.memory import fitting_batch, is_out_of_memory
from geoseg.train.objective import Answers
from geoseg.train.recipe import Recipe
from geoseg.train.stepper import Stepper
from geoseg.train.target import Target

CPU = torch.device("cpu")
RECIPE = Recipe(batch=2, iterations=10, optimizer="sgd", lr=0.1, validate_every=10)


class Network(nn.Sequential):
    """Two convolutions without batch statistics, and a limit of crops."""

    def __init__(self, most: int = 99, error: BaseException | None = None) -> None:
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, 3, 1))
        self.most, self.error = most, error

    def forward(self, images_nchw: Tensor) -> Tensor:
        if len(images_nchw) > self.most and self.error is not None:
            raise self.error
        if len(images_nchw) > self.most:
            torch.empty(2**62, dtype=torch.uint8)  # no machine has that: the allocator's own error
        answer: Tensor = super().forward(images_nchw)  # type: ignore[no-untyped-call]  # torch's own
        return answer


def stepper(
    recipe: Recipe = RECIPE, network: nn.Module | None = None, dtype: torch.dtype = torch.float64
) -> Stepper:
    torch.manual_seed(0)
    network = (network or Network()).to(dtype)
    optimizer = torch.optim.SGD(network.parameters(), recipe.lr)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    terms = LossConfig.model_validate({"cross_entropy": 0.7, "dice": 1.3, "focal": 0.5})
    loss, candidates = build_loss(terms, 3), Candidates.of(3)
    return Stepper(network, optimizer, scaler, None, Frozen(network, ()), loss, candidates, recipe, CPU)


def crops(count: int, seed: int, mixed: bool = False) -> Batch:
    rng = np.random.default_rng(seed)
    # In double precision, unlike real ones: sums in another order then agree to many digits.
    images_nchw: Any = rng.normal(size=(count, 1, 6, 6))
    # Crops with few labels and with none: parts of a batch then weigh differently.
    labels = [rng.choice(3, (count, 6, 6)).astype(np.uint8) for _ in range(2)]
    for labels_nhw in labels:
        for crop_hw in labels_nhw:
            crop_hw[rng.random((6, 6)) < rng.choice([0, 0.5, 0.9, 1])] = NODATA_CLASS
    names = tuple(f"crop {number}" for number in range(count))
    shares_n: Any = rng.random(count) if mixed else None
    return Batch(images_nchw, labels[0], names, labels[1] if mixed else None, shares_n)


def part(batch: Batch, rows: slice) -> Batch:
    return Batch(
        batch.images_nchw[rows],
        batch.labels_nhw[rows],
        batch.names[rows],
        None if batch.others_nhw is None else batch.others_nhw[rows],
        None if batch.shares_n is None else batch.shares_n[rows],
    )


def gradients(done: Stepper) -> list[Tensor]:
    return [parameter.grad for parameter in done.model.parameters() if parameter.grad is not None]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 3), min_size=2, max_size=4), st.booleans())
def test_accumulated_gradients_are_those_of_one_batch(seed: int, sizes: list[int], mixed: bool) -> None:
    whole = crops(sum(sizes), seed, mixed)
    starts = np.cumsum([0, *sizes])
    parts = [part(whole, slice(start, start + size)) for start, size in zip(starts, sizes, strict=False)]
    one, several = stepper(), stepper(replace(RECIPE, accumulate=len(sizes)))
    value = one.step([whole], 1)
    assert several.step(parts, 1) == pytest.approx(value, rel=1e-6, abs=1e-9)
    # The weights of the terms are kept in single precision, all else is computed in double.
    for expected, found in zip(gradients(one), gradients(several), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_a_blend_counts_both_labels_by_their_shares(seed: int) -> None:
    """Against the formula, pixel by pixel, for the cross-entropy."""
    batch = crops(3, seed, mixed=True)
    loss = build_loss(LossConfig.model_validate({"cross_entropy": 1, "dice": 0}), 3)
    assert batch.others_nhw is not None
    assert batch.shares_n is not None
    logits_nkhw = torch.randn(3, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    answers = Answers.of(batch, Candidates.of(3), CPU)
    found = loss.value(answers.numerators(loss, logits_nkhw), answers.denominators(loss)).item()
    log_nkhw = logits_nkhw.log_softmax(1).numpy()
    cost, weight = 0.0, 0.0
    for n, row, col in np.ndindex(3, 6, 6):
        for labels_nhw, share in ((batch.labels_nhw, batch.shares_n[n]), (batch.others_nhw, 1 - batch.shares_n[n])):
            if (label := labels_nhw[n, row, col]) != NODATA_CLASS:
                cost -= float(share * log_nkhw[n, label, row, col])
                weight += float(share)
    assert found == pytest.approx(cost / weight if weight else 0, rel=1e-9)


def test_where_all_of_a_blend_is_the_first_label_nothing_is_blended() -> None:
    mixed = crops(4, 1, mixed=True)
    mixed = replace(mixed, shares_n=np.ones(4, np.float32))
    one, other = stepper(), stepper()
    assert one.step([mixed], 1) == other.step([part(replace(mixed, others_nhw=None, shares_n=None), slice(4))], 1)


def test_planes_are_taken_as_they_are() -> None:
    planes_nkhw = np.random.default_rng(0).choice(np.array([0, 1, NODATA_CLASS], np.uint8), (2, 3, 4, 4))
    answers = Answers.of(Batch(np.zeros((2, 1, 4, 4), np.float32), planes_nkhw, ("a", "b")), Candidates.of(3), CPU)
    expected = Target.of_planes(torch.from_numpy(planes_nkhw))
    assert torch.equal(answers.first.truth_nkhw, expected.truth_nkhw)
    assert torch.equal(answers.first.known_nkhw, expected.known_nkhw)


def test_long_gradients_are_shortened_and_short_ones_left() -> None:
    free, batch = stepper(), crops(4, 2)
    free.step([batch], 1)
    length = torch.cat([gradient.flatten() for gradient in gradients(free)]).norm().item()
    for limit in (length / 4, length * 4):
        clipped = stepper(replace(RECIPE, clip_norm=limit))
        clipped.step([batch], 1)
        factor = min(1, limit / length)
        for expected, found in zip(gradients(free), gradients(clipped), strict=True):
            torch.testing.assert_close(found, expected * factor, rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(
    ("most", "batch", "accumulate", "error", "words"),
    [
        # None: what torch's allocator on the CPU raises
        (
            3,
            8,
            1,
            None,
            "with a batch of 8 crops of 6 px: 2 fit, .*training.batch to 2 and training.accumulate to 4,",
        ),
        (4, 6, 2, MemoryError(), "a batch of 6 crops of 6 px: 3 fit, .* to 3 and training.accumulate to 4,"),
        (
            1,
            3,
            1,
            torch.OutOfMemoryError("CUDA out of memory."),
            "3 crops of 6 px: 1 fit, .*training.accumulate to 3",
        ),
        (0, 2, 1, None, "and no smaller batch fits: lower training.crop_px or architecture.width"),
    ],
)
def test_too_little_memory_says_which_batch_fits(
    most: int, batch: int, accumulate: int, error: BaseException | None, words: str
) -> None:
    short = stepper(replace(RECIPE, accumulate=accumulate), Network(most, error), torch.float32)
    given = crops(batch, 0)
    given = replace(given, images_nchw=given.images_nchw.astype(np.float32))
    with pytest.raises(StoppedError, match=words) as refused:
        short.step([given] * accumulate, 1)
    assert "\n" not in str(refused.value)


def test_other_errors_are_not_taken_for_memory() -> None:
    broken = stepper(network=Network(0, RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        broken.step([crops(2, 0)], 1)
    assert not is_out_of_memory(ValueError("can't allocate memory"))


@pytest.mark.parametrize(("batch", "most"), [(1, 1), (2, 2), (13, 2), (64, 31), (9, 0)])
def test_halving_finds_the_first_that_fits(batch: int, most: int) -> None:
    tried: list[int] = []

    def attempt(crops: int) -> None:
        tried.append(crops)
        if crops > most:
            raise MemoryError

    found = fitting_batch(attempt, batch)
    assert tried == [batch >> k for k in range(1, batch.bit_length()) if k == 1 or batch >> (k - 1) > most]
    fitting = [batch >> k for k in range(1, batch.bit_length()) if batch >> k <= most]
    assert found == (fitting[0] if fitting else None)


def test_a_network_that_does_not_train_on_one_crop_does_not_fit_it() -> None:
    def attempt(_: int) -> None:
        raise ModelError("expected a batch of 2 or more")

    assert fitting_batch(attempt, 2) is None


def test_halving_hides_no_bug() -> None:
    def attempt(_: int) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        fitting_batch(attempt, 2)
