"""Learning rates, against torch's schedulers and their formulas."""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from geoseg.train.recipe import Recipe
from geoseg.train.schedule import poly_lr, rates

RECIPE = Recipe(batch=1, iterations=20, optimizer="sgd", lr=0.3, validate_every=1)

MakeScheduler = Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]


def of_torch(make: MakeScheduler, iterations: int, optimizer: str = "sgd") -> list[tuple[float, float]]:
    """Learning rate and momentum of each iteration, as torch's scheduler sets them."""
    weights = [torch.zeros(1, requires_grad=True)]
    chosen: torch.optim.Optimizer = (
        torch.optim.SGD(weights, 0.3, momentum=0.9) if optimizer == "sgd" else torch.optim.AdamW(weights, 0.3)
    )
    scheduler = make(chosen, iterations)
    found = []
    for _ in range(iterations):
        group = chosen.param_groups[0]
        found.append((group["lr"], group["momentum"] if optimizer == "sgd" else group["betas"][0]))
        chosen.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OneCycleLR is asked for one step more than it has
            scheduler.step() if len(found) < iterations else None
    return found


@pytest.mark.parametrize("iterations", [1, 2, 7, 40])
@pytest.mark.parametrize(
    ("schedule", "make"),
    [
        ("poly", lambda optimizer, length: lr_scheduler.PolynomialLR(optimizer, length, power=0.9)),
        ("cosine", lr_scheduler.CosineAnnealingLR),
        ("constant", lambda optimizer, _: lr_scheduler.ConstantLR(optimizer, factor=1)),
    ],
)
def test_schedules_are_those_of_torch(
    schedule: Literal["poly", "cosine", "constant"], make: MakeScheduler, iterations: int
) -> None:
    recipe = replace(RECIPE, schedule=schedule, iterations=iterations)
    expected = [lr for lr, _ in of_torch(make, iterations)]
    assert [rates(recipe, i).lr for i in range(iterations)] == pytest.approx(expected, rel=1e-9)
    assert rates(recipe, 0).momentum is None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(("iterations", "warmup"), [(2, 0), (7, 0), (7, 3), (50, 0), (50, 5)])
def test_one_cycle_is_that_of_torch(iterations: int, warmup: int, optimizer: Literal["sgd", "adamw"]) -> None:
    recipe = replace(RECIPE, schedule="one-cycle", iterations=iterations, warmup=warmup, optimizer=optimizer)
    share = warmup / iterations or 0.3
    expected = of_torch(
        lambda made, length: lr_scheduler.OneCycleLR(made, 0.3, total_steps=length, pct_start=share),
        iterations,
        optimizer,
    )
    weights = [torch.zeros(1, requires_grad=True)]
    made = torch.optim.SGD(weights, momentum=0.9) if optimizer == "sgd" else torch.optim.AdamW(weights)
    for i, (lr, momentum) in enumerate(expected):
        rates(recipe, i).apply(made)
        group = made.param_groups[0]
        assert group["lr"] == pytest.approx(lr, rel=1e-9)
        assert (group["momentum"] if optimizer == "sgd" else group["betas"][0]) == pytest.approx(momentum, rel=1e-9)


@given(st.floats(1e-6, 1), st.integers(1, 10_000))
def test_the_poly_schedule_falls_from_lr_towards_0(lr: float, iterations: int) -> None:
    assert poly_lr(lr, 0, iterations) == lr
    found = [poly_lr(lr, iteration, iterations) for iteration in range(0, iterations, max(1, iterations // 20))]
    assert found == sorted(found, reverse=True)
    assert poly_lr(lr, iterations, iterations) == 0
    assert poly_lr(lr, iterations // 2, iterations) == pytest.approx(
        lr * math.pow(1 - (iterations // 2) / iterations, 0.9)
    )


@given(
    st.sampled_from(["poly", "cosine", "constant"]),
    st.integers(2, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n - 1))),
)
def test_a_warm_up_rises_in_equal_steps_and_then_the_schedule_begins(
    schedule: Literal["poly", "cosine", "constant"], lengths: tuple[int, int]
) -> None:
    iterations, warmup = lengths
    recipe = replace(RECIPE, schedule=schedule, iterations=iterations, warmup=warmup)
    plain = replace(RECIPE, schedule=schedule, iterations=iterations - warmup)
    found = [rates(recipe, i).lr for i in range(iterations)]
    assert found[:warmup] == pytest.approx([0.3 * (i + 1) / (warmup + 1) for i in range(warmup)])
    assert found[warmup:] == [rates(plain, i).lr for i in range(iterations - warmup)]
    assert max(found) == found[warmup] == 0.3
