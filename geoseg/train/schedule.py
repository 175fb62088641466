"""Learning rates over a run: functions of the iteration alone, so that a run can go on anywhere."""

import math
from dataclasses import dataclass

import torch

from geoseg.train.recipe import Recipe

_ONE_CYCLE_RISE = 0.3
_ONE_CYCLE_START = 1 / 25
_ONE_CYCLE_END = _ONE_CYCLE_START / 1e4
_ONE_CYCLE_MOMENTUM = (0.95, 0.85)
# The defaults of torch's OneCycleLR, which are those of fastai.


@dataclass(frozen=True, slots=True)
class Rates:
    """What a schedule decides for one iteration.

    Attributes:
        lr: The learning rate.
        momentum: Of SGD, or beta 1 of AdamW; None leaves the optimizer's own.
    """

    lr: float
    momentum: float | None = None

    def apply(self, optimizer: torch.optim.Optimizer) -> None:
        """Give them to an optimizer, for its next step."""
        for group in optimizer.param_groups:
            group["lr"] = self.lr
            if self.momentum is not None and "betas" in group:
                group["betas"] = (self.momentum, group["betas"][1])
            elif self.momentum is not None:
                group["momentum"] = self.momentum


def rates(recipe: Recipe, iteration: int) -> Rates:
    """The rates of an iteration.

    But for one-cycle, the rate rises in the warm-up from lr / (warmup + 1) in equal steps (Goyal et al. 2017,
    section 2.2), and the schedule covers what comes after it: "poly" is `poly_lr`; "cosine" is
    lr x (1 + cos(pi x share)) / 2 (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts).

    Args:
        recipe: Its schedule, lr, warmup and iterations.
        iteration: From 0.
    """
    if recipe.schedule == "one-cycle":
        return _one_cycle(recipe, iteration)
    if iteration < recipe.warmup:
        return Rates(recipe.lr * (iteration + 1) / (recipe.warmup + 1))
    done, length = iteration - recipe.warmup, recipe.iterations - recipe.warmup
    match recipe.schedule:
        case "poly":
            return Rates(poly_lr(recipe.lr, done, length))
        case "cosine":
            return Rates(_cosine(recipe.lr, 0, done / length))
        case "constant":
            return Rates(recipe.lr)


def poly_lr(lr: float, iteration: int, iterations: int) -> float:
    """The poly schedule, lr x (1 - iteration / iterations)^0.9 (Chen et al. 2018, DeepLab, section 4.1)."""
    return lr * (1 - iteration / iterations) ** 0.9


def _one_cycle(recipe: Recipe, iteration: int) -> Rates:
    """One cycle (Smith and Topin 2019), as torch's OneCycleLR: up and down along cosines, momentum against it."""
    rise = recipe.warmup or _ONE_CYCLE_RISE * recipe.iterations
    top, last = rise - 1, recipe.iterations - 1
    still, moving = _ONE_CYCLE_MOMENTUM
    if iteration <= top:
        share = iteration / top if top > 0 else 1.0
        return Rates(_cosine(recipe.lr * _ONE_CYCLE_START, recipe.lr, share), _cosine(still, moving, share))
    share = (iteration - top) / (last - top)
    return Rates(_cosine(recipe.lr, recipe.lr * _ONE_CYCLE_END, share), _cosine(moving, still, share))


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
