"""What a step minimizes: a loss over one or several batches, whose crops may be blends of two."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.labels import NODATA_CLASS
from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.losses import dice_loss
from geoseg.train.target import Target


class Loss(Protocol):
    """A sum of terms, each a quotient whose two sides add up over batches."""

    def numerators(self, logits_nkhw: Tensor, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """What is divided, of each term (n,), with gradient.

        Args:
            logits_nkhw: Scores before softmax or sigmoid (image, class, row, column), of any floating type.
            target: The labels.
            shares_n: How much each image counts (n,); 1 each when not given.
        """
        ...

    def denominators(self, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """What it is divided by, of each term (n,), without gradient; arguments likewise."""
        ...

    def value(self, numerators: Tensor, denominators: Tensor) -> Tensor:
        """The weighted sum of the quotients, shape (); of a part, where the denominators are those of the whole."""
        ...


@dataclass(frozen=True, slots=True)
class CrossEntropyDice:
    """Cross-entropy, mean over labelled pixels, and soft Dice, mean over images with labels.

    Attributes:
        cross_entropy: Weight of the cross-entropy.
        dice: Weight of the Dice loss.
    """

    cross_entropy: float
    dice: float

    def numerators(self, logits_nkhw: Tensor, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """Of the two terms (n,), from logits (N, C, H, W)."""
        half = logits_nkhw.dtype in (torch.bfloat16, torch.float16)
        logits_nkhw = logits_nkhw.float() if half else logits_nkhw
        costs_nhw = functional.cross_entropy(
            logits_nkhw, target.ids_nhw, ignore_index=NODATA_CLASS, reduction="none"
        )
        judged = range(len(logits_nkhw)) if self.dice else ()
        dice_n = [dice_loss(logits_nkhw[i : i + 1], target.ids_nhw[i : i + 1]) for i in judged]
        dice_n = dice_n or [logits_nkhw.new_zeros(())]
        return torch.stack([_sum(costs_nhw.sum((1, 2)), shares_n), _sum(torch.stack(dice_n), shares_n)])

    def denominators(self, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """Labelled pixels, and images that have some (n,)."""
        pixels_n = (target.ids_nhw != NODATA_CLASS).sum((1, 2)).double()
        return torch.stack([_sum(pixels_n, shares_n), _sum((pixels_n > 0).double(), shares_n)])

    def value(self, numerators: Tensor, denominators: Tensor) -> Tensor:
        """The weighted sum of the two quotients, shape ()."""
        quotients = numerators / denominators.clamp(min=torch.finfo(torch.float32).tiny).to(numerators.dtype)
        return (quotients * quotients.new_tensor((self.cross_entropy, self.dice))).sum()


def _sum(values_n: Tensor, shares_n: Tensor | None) -> Tensor:
    return values_n.sum() if shares_n is None else (values_n * shares_n.to(values_n)).sum()


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The labels of a batch on the device.

    Attributes:
        first: Labels.
        second: Labels of what was blended in (Zhang et al. 2018, mixup), or None.
        shares_n: How much `first` counts of each crop (n,), `second` the rest; None where there is no second.
    """

    first: Target
    second: Target | None
    shares_n: Tensor | None

    @classmethod
    def of(cls, batch: Batch, candidates: Candidates, device: torch.device) -> "Answers":
        """The labels of a batch, as the losses see them."""

        def target(labels_nhw: Tensor) -> Target:
            labels_nhw = labels_nhw.to(device)
            planes = labels_nhw.ndim == 4
            return Target.of_planes(labels_nhw) if planes else Target.of_labels(labels_nhw, candidates)

        first = target(torch.from_numpy(batch.labels_nhw))
        if batch.others_nhw is None or batch.shares_n is None:
            return cls(first, None, None)
        shares_n = torch.from_numpy(batch.shares_n).to(device)
        return cls(first, target(torch.from_numpy(batch.others_nhw)), shares_n)

    def numerators(self, loss: Loss, logits_nkhw: Tensor) -> Tensor:
        """Of each term (n,), both labels by their shares, for logits (image, class, row, column)."""
        first_t = loss.numerators(logits_nkhw, self.first, self.shares_n)
        if self.second is None or self.shares_n is None:
            return first_t
        return first_t + loss.numerators(logits_nkhw, self.second, 1 - self.shares_n)

    def denominators(self, loss: Loss) -> Tensor:
        """Of each term (n,), likewise."""
        first_t = loss.denominators(self.first, self.shares_n)
        if self.second is None or self.shares_n is None:
            return first_t
        return first_t + loss.denominators(self.second, 1 - self.shares_n)
