"""Weighted sums of loss terms, each a quotient whose two sides add up over the parts of a batch."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from geoseg.train.losses.centres import HeatError, OffsetError
from geoseg.train.target import Target

_TINY = torch.finfo(torch.float32).tiny


class Term(Protocol):
    """A loss as a quotient of sums over images: what each adds above, and what it adds below."""

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """What each image adds to the numerator.

        Args:
            logits_nkhw: The network's answers (image, class, row, column); for terms on objects with the channels
                that follow those of the classes.
            target: What is known.

        Returns:
            (image,), of the logits' type; 0 with gradient 0 where nothing is labelled.
        """
        ...

    def counts(self, target: Target) -> Tensor:
        """What each image adds to the denominator, float64 (image,): pixels, their weights, or 1."""
        ...


class Loss:
    """A weighted sum of terms.

    A large batch is the sum of its parts: add up `numerators` and `denominators` over the parts, then `value` is
    that of the whole. For gradients part by part, divide each part's numerators by the denominators of the whole.

    Attributes:
        names: Of the terms.
    """

    def __init__(self, names: Sequence[str], terms: Sequence[Term], weights: Sequence[float]) -> None:
        """Remember the terms.

        Args:
            names: For logs and messages.
            terms: The terms.
            weights: Of each in the sum.
        """
        self.names = tuple(names)
        self._terms = tuple(terms)
        self._weights = tuple(weights)

    def __call__(self, logits_nkhw: Tensor, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """The loss of a batch; 0 with gradient 0 where nothing is labelled.

        Args:
            logits_nkhw: The network's answers (image, class, row, column), of any floating type. Channels after
                those of the target's classes are for terms on objects alone.
            target: What is known.
            shares_n: How much each image counts (n,); 1 each when not given.

        Returns:
            A scalar, shape (), float32 or float64.
        """
        return self.value(self.numerators(logits_nkhw, target, shares_n), self.denominators(target, shares_n))

    def numerators(self, logits_nkhw: Tensor, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """What is divided, for each term (n,), with gradient; arguments as for the loss itself.

        Where images are blended (MixUp), it is the sum over both labels, each with its shares.
        """
        # Under autocast sums over a million pixels need more than 8 bits of mantissa.
        with torch.autocast(logits_nkhw.device.type, enabled=False):
            half = logits_nkhw.dtype in (torch.bfloat16, torch.float16)
            logits_nkhw = logits_nkhw.float() if half else logits_nkhw
            classes = target.truth_nkhw.shape[1]
            costs = [
                _sum(term.costs(logits_nkhw if _on_objects(term) else logits_nkhw[:, :classes], target), shares_n)
                for term in self._terms
            ]
        return torch.stack(costs)

    def denominators(self, target: Target, shares_n: Tensor | None = None) -> Tensor:
        """What it is divided by, for each term, float64 (n,): it depends on the labels alone."""
        with torch.no_grad():
            return torch.stack([_sum(term.counts(target), shares_n) for term in self._terms])

    def value(self, numerators: Tensor, denominators: Tensor) -> Tensor:
        """The weighted sum of quotients.

        Args:
            numerators: Of each term (n,).
            denominators: Of each term (n,); of a larger batch, if the numerators are of a part of it.

        Returns:
            A scalar, shape ().
        """
        # Where nothing is labelled both are 0, and so is the quotient.
        quotients = numerators / denominators.clamp(min=_TINY).to(numerators.dtype)
        return (quotients * quotients.new_tensor(self._weights)).sum()


def _on_objects(term: Term) -> bool:
    return isinstance(term, HeatError | OffsetError)


def _sum(values_n: Tensor, shares_n: Tensor | None) -> Tensor:
    return values_n.sum() if shares_n is None else (values_n * shares_n.to(values_n)).sum()
