"""Loss terms of how much each class's probabilities and its labels overlap, per image, averaged over images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg.labels import Activation
from geoseg.train.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """Soft counts of each image and class over the pixels at which the class is known.

    With p the probability and g the label, 1 where the class is, else 0.

    Attributes:
        both_nk: Sum of p g, (image, class).
        predicted_nk: Sum of p.
        squared_nk: Sum of p^2.
        true_nk: Sum of g.
    """

    both_nk: Tensor
    predicted_nk: Tensor
    squared_nk: Tensor
    true_nk: Tensor

    @classmethod
    def of(cls, logits_nkhw: Tensor, target: Target, activation: Activation) -> "Overlap":
        """Counts of a batch, from logits (image, class, row, column)."""
        probability_nkhw = probabilities(logits_nkhw, activation) * target.known_nkhw
        truth_nkhw = target.truth_nkhw.to(logits_nkhw.dtype)
        return cls(
            (probability_nkhw * truth_nkhw).sum((2, 3)),
            probability_nkhw.sum((2, 3)),
            probability_nkhw.square().sum((2, 3)),
            truth_nkhw.sum((2, 3)),
        )

    def ratio(self, above_nk: Tensor, below_nk: Tensor) -> Tensor:
        """One minus the mean of a quotient over the classes that an image's labels hold, (image,).

        Args:
            above_nk: Dividends (image, class).
            below_nk: Divisors (image, class), above 0 wherever the class is.
        """
        present_nk = self.true_nk > 0
        # Where a class is not, any divisor will do, as long as the quotient has a gradient.
        quotient_nk = above_nk / torch.where(present_nk, below_nk, 1)
        missing_nk = torch.where(present_nk, 1 - quotient_nk, 0)
        return missing_nk.sum(1) / present_nk.sum(1).clamp(min=1)


class PresentClasses:
    """What terms of overlap share: an image counts as one if its labels hold a class.

    A class that an image's labels do not hold has no overlap to speak of: whatever is predicted, it is 0, and so is
    its gradient. What is predicted of it in vain is missing from other classes, or is the business of another term.
    """

    __slots__ = ()

    def counts(self, target: Target) -> Tensor:
        """1 for each image with a class in it, else 0, (image,)."""
        return (target.truth_nkhw > 0).flatten(1).any(1).double()


@dataclass(frozen=True, slots=True, eq=False)
class Dice(PresentClasses):
    """One minus 2 sum(p g) / (sum(p^2) + sum(g^2)) (Milletari et al. 2016, V-Net, section 3), mean over classes.

    Attributes:
        activation: Of the model.
    """

    activation: Activation

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        soft = Overlap.of(logits_nkhw, target, self.activation)
        return soft.ratio(2 * soft.both_nk, soft.squared_nk + soft.true_nk)


@dataclass(frozen=True, slots=True, eq=False)
class GeneralisedDice(PresentClasses):
    """One minus 2 sum_c(w_c sum(p g)) / sum_c(w_c sum(p + g)), w_c = 1 / sum(g)^2, over the classes c in the image.

    Sudre et al. 2017, Generalised Dice overlap as a deep learning loss function, section 2.1. The weight of a class
    that is not there would be infinite; it does not count.

    Attributes:
        activation: Of the model.
    """

    activation: Activation

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        soft = Overlap.of(logits_nkhw, target, self.activation)
        present_nk = soft.true_nk > 0
        weight_nk = torch.where(present_nk, 1 / soft.true_nk.clamp(min=1).square(), 0)
        above_n = 2 * (weight_nk * soft.both_nk).sum(1)
        below_n = (weight_nk * (soft.predicted_nk + soft.true_nk)).sum(1)
        any_n = present_nk.any(1)
        return torch.where(any_n, 1 - above_n / torch.where(any_n, below_n, 1), 0)


@dataclass(frozen=True, slots=True, eq=False)
class Jaccard(PresentClasses):
    """One minus sum(p g) / sum(p + g - p g) (Rahman and Wang 2016, section 3), mean over classes.

    Rahman and Wang: Optimizing intersection-over-union in deep neural networks for image segmentation.

    Attributes:
        activation: Of the model.
    """

    activation: Activation

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        soft = Overlap.of(logits_nkhw, target, self.activation)
        return soft.ratio(soft.both_nk, soft.predicted_nk + soft.true_nk - soft.both_nk)


@dataclass(frozen=True, slots=True, eq=False)
class Tversky(PresentClasses):
    """One minus T / (T + a F + b M), mean over classes: T = sum(p g), F = sum(p (1 - g)), M = sum((1 - p) g).

    Salehi et al. 2017, Tversky loss function for image segmentation using 3D fully convolutional deep networks,
    equation 3. With a = b = 1/2 it is Dice without squares, with a = b = 1 `Jaccard`; with
    a = 1 / (1 + beta^2), b = beta^2 / (1 + beta^2) the asymmetric similarity loss, one minus the F-beta score
    (Hashemi et al. 2018, Asymmetric loss functions and deep densely-connected networks for highly-imbalanced
    medical image segmentation, equation 3).

    Attributes:
        activation: Of the model.
        alpha: a, what a false positive costs.
        beta: b, what a pixel that is missed costs.
    """

    activation: Activation
    alpha: float
    beta: float

    @classmethod
    def asymmetric(cls, activation: Activation, beta: float) -> "Tversky":
        """The asymmetric similarity loss for a beta of the F-beta score."""
        return cls(activation, 1 / (1 + beta**2), beta**2 / (1 + beta**2))

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        soft = Overlap.of(logits_nkhw, target, self.activation)
        false_nk, missed_nk = soft.predicted_nk - soft.both_nk, soft.true_nk - soft.both_nk
        below_nk = soft.both_nk + self.alpha * false_nk + self.beta * missed_nk
        # With a or b at 0 the divisor may be 0 where T is: nothing is right then, and the quotient is 0.
        tiny = torch.finfo(below_nk.dtype).tiny
        return soft.ratio(soft.both_nk, below_nk.clamp(min=tiny))


def probabilities(logits_nkhw: Tensor, activation: Activation) -> Tensor:
    """The probabilities (image, class, row, column) that logits of the same shape stand for."""
    match activation:
        case "softmax":
            return logits_nkhw.softmax(1)
        case "sigmoid":
            return logits_nkhw.sigmoid()
