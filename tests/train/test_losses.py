"""Each loss against a slow reference written from its formula, pixel by pixel, and the laws they all keep."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from geoseg.config.losses import LossConfig
from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS, Activation
from geoseg.train.candidates import Candidates
from geoseg.train.losses import Loss, build_loss
from geoseg.train.losses.class_weights import inverse_frequency
from geoseg.train.losses.total import _TINY
from geoseg.train.target import Target

K = 3
WEIGHTS = (0.5, 2.0, 1.5)
CODING = Candidates.of(K, [frozenset({0}), frozenset({0, 2})])
Pairs = list[tuple[float, int]]  # probability and truth of each known pixel of a class


@dataclass
class Image:
    """One image of a batch, as lists: what a formula sees."""

    logits_khw: NDArray[np.float64]
    p_khw: NDArray[np.float64]
    truth: list[list[tuple[int, int]]]  # by class, pixels known to be of it
    absent: list[list[tuple[int, int]]]  # by class, pixels known not to be of it

    @property
    def known(self) -> list[tuple[int, int]]:
        return sorted({at for pixels in (*self.truth, *self.absent) for at in pixels})

    def allowed(self, at: tuple[int, int]) -> list[int]:
        """The candidates of a pixel."""
        one = [k for k in range(K) if at in self.truth[k]]
        return one or [k for k in range(K) if at not in self.absent[k]]

    def pairs(self, k: int) -> Pairs:
        return [(self.p_khw[k, *at], 1) for at in self.truth[k]] + [
            (self.p_khw[k, *at], 0) for at in self.absent[k]
        ]


def images(logits_nkhw: Tensor, target: Target, activation: Activation) -> Iterator[Image]:
    for logits_khw, truth_khw, known_khw in zip(
        logits_nkhw.double().numpy(), target.truth_nkhw.numpy(), target.known_nkhw.numpy(), strict=True
    ):
        powers = np.exp(logits_khw)
        p_khw = powers / powers.sum(0) if activation == "softmax" else powers / (1 + powers)
        there = [[(int(r), int(c)) for r, c in np.argwhere(truth_hw > 0)] for truth_hw in truth_khw]
        absent = [[(int(r), int(c)) for r, c in np.argwhere(known_khw[k] & (truth_khw[k] == 0))] for k in range(K)]
        yield Image(logits_khw, p_khw, there, absent)


def cross_entropy(image: Image, smoothing: float = 0, weights: tuple[float, ...] = (1,) * K) -> tuple[float, float]:
    above = below = 0.0
    for at in image.known:
        allowed = image.allowed(at)
        weight = float(np.mean([weights[k] for k in allowed]))
        above += (1 - smoothing) * weight * -math.log(sum(image.p_khw[k, *at] for k in allowed))
        above += smoothing / K * sum(weights[k] * -math.log(image.p_khw[k, *at]) for k in range(K))
        below += weight
    return above, below


def focal_softmax(image: Image) -> tuple[float, float]:
    p = [sum(image.p_khw[k, *at] for k in image.allowed(at)) for at in image.known]
    return sum(-((1 - one) ** 2.5) * math.log(one) for one in p), len(p)


def binary(image: Image, smoothing: float = 0, weights: tuple[float, ...] = (1,) * K) -> tuple[float, float]:
    above = below = 0.0
    for k in range(K):
        for p, truth in image.pairs(k):
            g = truth * (1 - smoothing) + smoothing / 2
            above += weights[k] * -(g * math.log(p) + (1 - g) * math.log(1 - p))
            below += weights[k]
    return above, below


def focal_sigmoid(image: Image) -> tuple[float, float]:
    pairs = [(p if truth else 1 - p, 0.25 if truth else 0.75) for k in range(K) for p, truth in image.pairs(k)]
    return sum(-a * (1 - p) ** 2.5 * math.log(p) for p, a in pairs), len(pairs)


def top_k(image: Image, *, sigmoid: bool) -> tuple[float, float]:
    if sigmoid:
        costs = [-math.log(p if truth else 1 - p) for k in range(K) for p, truth in image.pairs(k)]
    else:
        costs = [-math.log(sum(image.p_khw[k, *at] for k in image.allowed(at))) for at in image.known]
    taken = math.ceil(len(costs) * 0.3 - 1e-9)
    return sum(sorted(costs)[len(costs) - taken :]), taken


def mean_over_present(image: Image, cost: Callable[[Pairs], float]) -> tuple[float, float]:
    costs = [cost(image.pairs(k)) for k in range(K) if image.truth[k]]
    return (float(np.mean(costs)), 1) if costs else (0, 0)


def dice(pairs: Pairs) -> float:
    return 1 - 2 * sum(p * g for p, g in pairs) / (sum(p * p for p, _ in pairs) + sum(g * g for _, g in pairs))


def iou(pairs: Pairs) -> float:
    return 1 - sum(p * g for p, g in pairs) / sum(p + g - p * g for p, g in pairs)


def tversky(pairs: Pairs) -> float:
    t, f, m = (sum(values) for values in zip(*((p * g, p * (1 - g), (1 - p) * g) for p, g in pairs), strict=True))
    return 1 - t / (t + 0.2 * f + 0.9 * m)


def asymmetric(pairs: Pairs, beta: float = 1.5) -> float:
    t, f, m = (sum(values) for values in zip(*((p * g, p * (1 - g), (1 - p) * g) for p, g in pairs), strict=True))
    return 1 - (1 + beta**2) * t / ((1 + beta**2) * t + beta**2 * m + f)


def generalised_dice(image: Image) -> tuple[float, float]:
    present = [k for k in range(K) if image.truth[k]]
    if not present:
        return 0, 0
    weights = {k: 1 / len(image.truth[k]) ** 2 for k in present}
    above = 2 * sum(weights[k] * sum(p * g for p, g in image.pairs(k)) for k in present)
    return 1 - above / sum(weights[k] * sum(p + g for p, g in image.pairs(k)) for k in present), 1


def jaccard_of_errors(wrong: set[int], truth: list[int]) -> float:
    """The Jaccard loss when the pixels of a set are wrong and the others right."""
    true = {i for i, g in enumerate(truth) if g}
    return 1 - len(true - wrong) / len(true | wrong) if true | wrong else 0.0


def lovasz_extension(errors: list[float], truth: list[int]) -> float:
    """Berman et al. 2018, definition 1: by sets that grow by the largest error that is left."""
    order = sorted(range(len(errors)), key=lambda i: -errors[i])
    total = 0.0
    for place, i in enumerate(order):
        gain = jaccard_of_errors(set(order[: place + 1]), truth) - jaccard_of_errors(set(order[:place]), truth)
        total += errors[i] * gain
    return total


def lovasz_softmax(pairs: Pairs) -> float:
    return lovasz_extension([abs(g - p) for p, g in pairs], [g for _, g in pairs])


def lovasz_hinge(image: Image) -> tuple[float, float]:
    costs = []
    for k in range(K):
        signs = [(image.logits_khw[k, *at], 1) for at in image.truth[k]]
        signs += [(image.logits_khw[k, *at], -1) for at in image.absent[k]]
        if signs:
            costs.append(lovasz_extension([max(0, 1 - x * y) for x, y in signs], [int(y > 0) for _, y in signs]))
    return (float(np.mean(costs)), 1) if costs else (0, 0)


def nearest(at: tuple[int, int], others: list[tuple[int, int]]) -> float:
    return min(math.dist(at, other) for other in others)


def boundary(image: Image) -> tuple[float, float]:
    costs = []
    for k in range(K):
        there, absent = image.truth[k], image.absent[k]
        if there and absent:
            inside = sum(image.p_khw[k, *at] * -(nearest(at, absent) - 1) for at in there)
            outside = sum(image.p_khw[k, *at] * nearest(at, there) for at in absent)
            costs.append((inside + outside) / len(there + absent))
    return (float(np.mean(costs)), 1) if costs else (0, 0)


def hausdorff(image: Image, exponent: float = 2) -> tuple[float, float]:
    costs = []
    for k in range(K):
        there, absent = image.truth[k], image.absent[k]
        known = there + absent
        mapped = [at for at in known if image.p_khw[k, *at] > 0.5]
        empty = [at for at in known if at not in mapped]
        total = 0.0
        for at in known:
            d_g = nearest(at, absent if at in there else there) if there and absent else 0
            d_p = nearest(at, empty if at in mapped else mapped) if mapped and empty else 0
            total += (image.p_khw[k, *at] - (at in there)) ** 2 * (d_g**exponent + d_p**exponent)
        if known:
            costs.append(total / len(known))
    return (float(np.mean(costs)), 1) if costs else (0, 0)


CASES: dict[str, tuple[Activation, dict[str, object], Callable[[Image], tuple[float, float]]]] = {
    "cross-entropy": ("softmax", {"cross_entropy": 1}, cross_entropy),
    "weighted": (
        "softmax",
        {"cross_entropy": 1, "class_weights": WEIGHTS, "label_smoothing": 0.1},
        lambda image: cross_entropy(image, 0.1, WEIGHTS),
    ),
    "binary": ("sigmoid", {"binary_cross_entropy": 1}, binary),
    "weighted binary": (
        "sigmoid",
        {"binary_cross_entropy": 1, "class_weights": WEIGHTS, "label_smoothing": 0.2},
        lambda image: binary(image, 0.2, WEIGHTS),
    ),
    "focal": ("softmax", {"focal": {"gamma": 2.5}}, focal_softmax),
    "focal, sigmoid": ("sigmoid", {"focal": {"gamma": 2.5, "alpha": 0.25}}, focal_sigmoid),
    "top-k": ("softmax", {"top_k": 1}, lambda image: top_k(image, sigmoid=False)),
    "top-k, sigmoid": ("sigmoid", {"top_k": 1}, lambda image: top_k(image, sigmoid=True)),
    "dice": ("softmax", {"dice": 1}, lambda image: mean_over_present(image, dice)),
    "dice, sigmoid": ("sigmoid", {"dice": 1}, lambda image: mean_over_present(image, dice)),
    "generalised dice": ("softmax", {"generalised_dice": 1}, generalised_dice),
    "generalised dice, sigmoid": ("sigmoid", {"generalised_dice": 1}, generalised_dice),
    "iou": ("softmax", {"iou": 1}, lambda image: mean_over_present(image, iou)),
    "iou, sigmoid": ("sigmoid", {"iou": 1}, lambda image: mean_over_present(image, iou)),
    "tversky": (
        "softmax",
        {"tversky": {"alpha": 0.2, "beta": 0.9}},
        lambda image: mean_over_present(image, tversky),
    ),
    "asymmetric": ("sigmoid", {"asymmetric": 1}, lambda image: mean_over_present(image, asymmetric)),
    "lovasz": ("softmax", {"lovasz": 1}, lambda image: mean_over_present(image, lovasz_softmax)),
    "lovasz, sigmoid": ("sigmoid", {"lovasz": 1}, lovasz_hinge),
    "boundary": ("softmax", {"boundary": 1}, boundary),
    "boundary, sigmoid": ("sigmoid", {"boundary": 1}, boundary),
    "hausdorff": ("softmax", {"hausdorff": 1}, hausdorff),
    "hausdorff, sigmoid": ("sigmoid", {"hausdorff": {"exponent": 1}}, lambda image: hausdorff(image, 1)),
}
every_case = pytest.mark.parametrize("case", CASES)


def loss_of(case: str) -> Loss:
    activation, config, _ = CASES[case]
    return build_loss(LossConfig.model_validate(config), K, activation)


def target_of(rng: np.random.Generator, *, planes: bool, unknown: float, count: int = 2) -> Target:
    if planes:
        planes_nkhw = rng.integers(0, 2, (count, K, 3, 4)).astype(np.uint8)
        planes_nkhw[rng.random(planes_nkhw.shape) < unknown] = NODATA_CLASS
        return Target.of_planes(torch.from_numpy(planes_nkhw))
    labels_nhw = rng.choice([0, 1, 2, *(value for _, value in CODING.rests)], (count, 3, 4))
    labels_nhw[rng.random(labels_nhw.shape) < unknown] = NODATA_CLASS
    return Target.of_labels(torch.from_numpy(labels_nhw), CODING)


def example(case: str, seed: int, unknown: float) -> tuple[Tensor, Target]:
    rng = np.random.default_rng(seed)
    planes = CASES[case][0] == "sigmoid" and bool(rng.integers(2))
    return torch.from_numpy(rng.normal(0, 2, (2, K, 3, 4))), target_of(rng, planes=planes, unknown=unknown)


@every_case
@settings(max_examples=5)
@given(seed=st.integers(0, 2**32), unknown=st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_a_loss_equals_its_formula_pixel_by_pixel(case: str, seed: int, unknown: float) -> None:
    logits_nkhw, target = example(case, seed, unknown)
    activation, _, slow = CASES[case]
    parts = [slow(image) for image in images(logits_nkhw, target, activation)]
    above, below = sum(part[0] for part in parts), sum(part[1] for part in parts)
    loss = loss_of(case)
    assert loss.numerators(logits_nkhw, target).item() == pytest.approx(above, rel=1e-6, abs=1e-7)
    assert loss.denominators(target).item() == pytest.approx(below, rel=1e-12)
    assert loss(logits_nkhw, target).item() == pytest.approx(above / below if below else 0, rel=1e-6, abs=1e-7)


@every_case
def test_gradients_are_those_of_finite_differences(case: str) -> None:
    rng = np.random.default_rng(1)
    logits_nkhw = torch.from_numpy(rng.normal(0, 2, (1, K, 3, 4))).requires_grad_()
    target = target_of(rng, planes=CASES[case][0] == "sigmoid", unknown=0.3, count=1)
    loss = loss_of(case)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, target), (logits_nkhw,))


@every_case
@settings(max_examples=3)
@given(seed=st.integers(0, 2**32), unknown=st.sampled_from([0.4, 0.8, 1.0]))
def test_what_is_not_known_neither_costs_nor_teaches(case: str, seed: int, unknown: float) -> None:
    logits_nkhw, target = example(case, seed, unknown)
    loss = loss_of(case)
    other_nkhw = torch.where(target.labelled_nhw[:, None], logits_nkhw, 50 * torch.randn(logits_nkhw.shape))
    other_nkhw.requires_grad_()
    value = loss(other_nkhw, target)
    torch.autograd.backward(value)
    assert value.item() == pytest.approx(loss(logits_nkhw, target).item(), rel=1e-9, abs=1e-12)
    assert other_nkhw.grad is not None
    assert (other_nkhw.grad.permute(0, 2, 3, 1)[~target.labelled_nhw] == 0).all()
    if unknown == 1:
        assert value.item() == 0


@every_case
def test_parts_of_a_batch_add_up_in_any_order(case: str) -> None:
    rng = np.random.default_rng(4)
    logits_nkhw = torch.from_numpy(rng.normal(0, 2, (5, K, 3, 4)))
    target = target_of(rng, planes=False, unknown=0.3, count=5)
    loss = loss_of(case)

    def part(images: list[int]) -> tuple[Tensor, Target]:
        truth, known, ids = target.truth_nkhw[images], target.known_nkhw[images], target.ids_nhw[images]
        return logits_nkhw[images], Target(truth, known, ids)

    parts = [part([3, 0]), part([4]), part([2, 1])]
    numerators = sum((loss.numerators(*one) for one in parts), torch.zeros(1))
    denominators = sum((loss.denominators(one) for _, one in parts), torch.zeros(1))
    assert loss.value(numerators, denominators).item() == pytest.approx(loss(logits_nkhw, target).item(), rel=1e-9)
    # A share counts as that much of an image: twice the same image at one half each is that image.
    twice = part([2, 2, 1])
    halves = loss(*twice, torch.tensor([0.25, 0.75, 1.0])).item()
    assert halves == pytest.approx(loss(*part([2, 1])).item(), rel=1e-6)


@every_case
def test_saturated_answers_have_finite_gradients(case: str) -> None:
    logits_nkhw, target = example(case, 5, 0.3)
    logits_nkhw = (logits_nkhw.float() * 1e3).requires_grad_()
    value = loss_of(case)(logits_nkhw, target)
    torch.autograd.backward(value)
    assert math.isfinite(value.item())
    assert logits_nkhw.grad is not None
    assert torch.isfinite(logits_nkhw.grad).all()


def test_fully_labelled_cross_entropy_is_that_of_torch() -> None:
    rng = np.random.default_rng(0)
    logits_nkhw = torch.from_numpy(rng.normal(0, 3, (2, K, 8, 8)))
    labels_nhw = torch.from_numpy(rng.choice([0, 1, 2, NODATA_CLASS], (2, 8, 8)))
    config = LossConfig.model_validate({"cross_entropy": 1, "class_weights": WEIGHTS, "label_smoothing": 0.1})
    ours = build_loss(config, K)(logits_nkhw, Target.of_labels(labels_nhw, Candidates.of(K)))
    weights = torch.tensor(WEIGHTS, dtype=torch.float64)
    theirs = functional.cross_entropy(
        logits_nkhw, labels_nhw, weights, ignore_index=NODATA_CLASS, label_smoothing=0.1
    )
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)


def test_a_certain_and_right_answer_costs_nothing() -> None:
    target = target_of(np.random.default_rng(2), planes=True, unknown=0)
    for case in ("binary", "dice, sigmoid", "iou, sigmoid", "asymmetric", "lovasz, sigmoid", "hausdorff, sigmoid"):
        assert loss_of(case)(1e3 * (2 * target.truth_nkhw - 1), target).item() == pytest.approx(0, abs=1e-6)


def test_a_sum_is_that_of_its_terms() -> None:
    logits_nkhw, target = example("dice", 3, 0.3)
    both = build_loss(LossConfig.model_validate({"cross_entropy": 0.3, "dice": 2, "iou": 0}), K)
    assert both.names == ("cross_entropy", "dice")
    expected = 0.3 * loss_of("cross-entropy")(logits_nkhw, target) + 2 * loss_of("dice")(logits_nkhw, target)
    assert both(logits_nkhw, target).item() == pytest.approx(expected.item(), rel=1e-12)


def test_half_precision_answers_are_summed_in_single_precision() -> None:
    logits_nkhw, target = example("dice", 3, 0.3)
    loss = build_loss(LossConfig(), K)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits_nkhw.bfloat16(), target)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(logits_nkhw.bfloat16().float(), target))


def test_the_least_divisor_has_a_finite_inverse() -> None:
    assert math.isfinite(torch.tensor(1.0).div(torch.tensor(_TINY)).item())


@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=6))
def test_with_inverse_frequencies_all_classes_weigh_alike(pixels: list[int]) -> None:
    weights_k = inverse_frequency(np.array(pixels), [str(k) for k in range(len(pixels))])
    assert np.allclose(weights_k * pixels, sum(pixels) / len(pixels))


def test_an_empty_class_has_no_inverse_frequency() -> None:
    with pytest.raises(ConfigError, match=r"there are none of road; add some, remove the class, or"):
        inverse_frequency(np.array([5, 0]), ["building", "road"])


@pytest.mark.parametrize(
    ("given", "heads", "words"),
    [
        ({"cross_entropy": 1}, "sigmoid", "write loss: {binary_cross_entropy: 1, dice: 1}"),
        ({"binary_cross_entropy": 1}, "softmax", "architecture.heads: sigmoid"),
        ({"focal": {"alpha": 0.5}}, "softmax", "for sigmoid heads"),
        ({"class_weights": [1, 2]}, "softmax", "expected 3 numbers, one for each class, got 2"),
    ],
)
def test_what_does_not_go_with_the_heads_is_refused(
    given: dict[str, object], heads: Activation, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        build_loss(LossConfig.model_validate(given), K, heads)
