"""Loss terms that are means over known pixels: cross-entropy, binary cross-entropy, focal, and of the hardest."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.train.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class CrossEntropy:
    """Cross-entropy on candidates: -log of the sum of the probabilities of the classes that a pixel may be of.

    With one candidate it is cross-entropy; with several the marginal loss (Shi et al. 2021, Marginal loss and
    exclusion loss for partially supervised multi-organ segmentation; Fang and Yan 2020, Multi-organ segmentation
    over partially labeled datasets with multi-scale feature abstraction). A mean over the labelled pixels,
    weighted by the weight of their class (of several candidates, the mean weight). With label smoothing s (Szegedy
    et al. 2016, Rethinking the Inception architecture, section 7) it is 1 - s of that and s / K of the sum over all
    K classes of weight x -log(probability).

    Attributes:
        weights_k: Of the classes, float64 (class,); None weighs them alike.
        label_smoothing: s.
    """

    weights_k: Tensor | None = None
    label_smoothing: float = 0.0

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        cost_nhw = -candidate_logs(logits_nkhw, target) * (1 - self.label_smoothing)
        cost_nhw = cost_nhw * _pixel_weights(self.weights_k, target).to(cost_nhw.dtype)
        if self.label_smoothing:
            logs_nkhw = functional.log_softmax(logits_nkhw, 1)
            weights_k = _class_weights(self.weights_k, target).to(logs_nkhw.dtype)
            every_nhw = -(logs_nkhw * weights_k[:, None, None]).sum(1)
            cost_nhw = cost_nhw + every_nhw * (self.label_smoothing / logits_nkhw.shape[1])
        return torch.where(target.labelled_nhw, cost_nhw, 0).sum((1, 2))

    def counts(self, target: Target) -> Tensor:
        """The weights of the labelled pixels, (image,)."""
        return torch.where(target.labelled_nhw, _pixel_weights(self.weights_k, target), 0).sum((1, 2))


@dataclass(frozen=True, slots=True, eq=False)
class BinaryCrossEntropy:
    """Binary cross-entropy of the sigmoid of each class, a mean over the known pairs of a pixel and a class.

    Several classes may be there at once. With label smoothing s what is there counts as 1 - s / 2, what is not as
    s / 2.

    Attributes:
        weights_k: Of the classes, float64 (class,); None weighs them alike.
        label_smoothing: s.
    """

    weights_k: Tensor | None = None
    label_smoothing: float = 0.0

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        truth_nkhw = target.truth_nkhw.to(logits_nkhw.dtype)
        truth_nkhw = truth_nkhw * (1 - self.label_smoothing) + self.label_smoothing / 2
        cost_nkhw = functional.binary_cross_entropy_with_logits(logits_nkhw, truth_nkhw, reduction="none")
        return _over_pairs(cost_nkhw, self.weights_k, target)

    def counts(self, target: Target) -> Tensor:
        """The weights of the known pairs, (image,)."""
        return _pairs(self.weights_k, target)


@dataclass(frozen=True, slots=True, eq=False)
class SoftmaxFocal:
    """The focal loss -(1 - p)^gamma log(p) (Lin et al. 2017, Focal loss for dense object detection, section 3.2).

    p is the probability of the candidates together. A mean over the labelled pixels, weighted as `CrossEntropy`.

    Attributes:
        gamma: 0 is cross-entropy.
        weights_k: Of the classes, float64 (class,); None weighs them alike.
    """

    gamma: float
    weights_k: Tensor | None = None

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        there_nhw, not_there_nhw = candidate_logs(logits_nkhw, target), other_logs(logits_nkhw, target)
        # From logarithms: the gradient of a power of 1 - p would not exist at p = 1.
        cost_nhw = -there_nhw * (self.gamma * not_there_nhw).exp()
        cost_nhw = cost_nhw * _pixel_weights(self.weights_k, target).to(cost_nhw.dtype)
        return torch.where(target.labelled_nhw, cost_nhw, 0).sum((1, 2))

    def counts(self, target: Target) -> Tensor:
        """The weights of the labelled pixels, (image,)."""
        return CrossEntropy(self.weights_k).counts(target)


@dataclass(frozen=True, slots=True, eq=False)
class SigmoidFocal:
    """The focal loss of each class by itself, a mean over the known pairs of a pixel and a class.

    -a (1 - p)^gamma log(p), p the probability of what is so (Lin et al. 2017, equation 5).

    Attributes:
        gamma: 0 is binary cross-entropy.
        alpha: a where the class is there, 1 - a where it is not; None is 1 for both.
        weights_k: Of the classes, float64 (class,); None weighs them alike.
    """

    gamma: float
    alpha: float | None = None
    weights_k: Tensor | None = None

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        there_nkhw = target.truth_nkhw > 0
        signed_nkhw = torch.where(there_nkhw, logits_nkhw, -logits_nkhw)
        cost_nkhw = functional.softplus(-signed_nkhw) * (-self.gamma * functional.softplus(signed_nkhw)).exp()
        if self.alpha is not None:
            cost_nkhw = cost_nkhw * torch.where(there_nkhw, self.alpha, 1 - self.alpha).to(cost_nkhw.dtype)
        return _over_pairs(cost_nkhw, self.weights_k, target)

    def counts(self, target: Target) -> Tensor:
        """The weights of the known pairs, (image,)."""
        return _pairs(self.weights_k, target)


@dataclass(frozen=True, slots=True, eq=False)
class TopK:
    """Cross-entropy of the hardest of each image's known pixels (of known pairs where heads are sigmoids).

    Bootstrapping after Wu et al. 2016 (High-performance semantic segmentation using very deep fully convolutional
    networks), with a share in place of their threshold: the mean over the ceil(share x n) of the n
    known ones that cost most.

    Attributes:
        share: Above 0, up to 1.
        sigmoid: Whether heads are sigmoids.
    """

    share: float
    sigmoid: bool = False

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        if self.sigmoid:
            truth_nkhw = target.truth_nkhw.to(logits_nkhw.dtype)
            cost = functional.binary_cross_entropy_with_logits(logits_nkhw, truth_nkhw, reduction="none")
        else:
            cost = -candidate_logs(logits_nkhw, target)
        # Costs are 0 or more, so what is not known comes last and is never among the hardest.
        hardest = torch.where(self._known(target), cost, -1).flatten(1).sort(1, descending=True).values
        places = torch.arange(hardest.shape[1], device=hardest.device)
        return torch.where(places < self.counts(target)[:, None], hardest, 0).sum(1)

    def counts(self, target: Target) -> Tensor:
        """How many are taken, (image,)."""
        known = self._known(target).flatten(1).sum(1, dtype=torch.float64)
        return (known * self.share - 1e-9).ceil().clamp(min=0)

    def _known(self, target: Target) -> Tensor:
        return target.known_nkhw if self.sigmoid else target.labelled_nhw


def candidate_logs(logits_nkhw: Tensor, target: Target) -> Tensor:
    """Logarithms of the probability that a pixel is of one of its candidates.

    Args:
        logits_nkhw: Scores before the softmax (image, class, row, column).
        target: What is known.

    Returns:
        (image, row, column); finite numbers without meaning where nothing is known.
    """
    # Sums of exponentials without the greatest one cannot overflow, nor lose a probability near 0.
    some_nhw = logits_nkhw.masked_fill(~_candidates(target), -torch.inf).logsumexp(1)
    return some_nhw - logits_nkhw.logsumexp(1)


def other_logs(logits_nkhw: Tensor, target: Target) -> Tensor:
    """Logarithms of the probability that a pixel is of none of its candidates, as `candidate_logs` (n, h, w)."""
    others_nhw = logits_nkhw.masked_fill(_candidates(target), -torch.inf).logsumexp(1)
    return others_nhw - logits_nkhw.logsumexp(1)


def _candidates(target: Target) -> Tensor:
    """The candidates of each pixel, boolean (image, class, row, column), never all of them.

    Where nothing is known every class is a candidate and none is left: the first one stands in for them.
    """
    first_k = torch.zeros(target.truth_nkhw.shape[1], dtype=torch.bool, device=target.truth_nkhw.device)
    first_k[0] = True
    return torch.where(target.labelled_nhw.unsqueeze(1), target.allowed_nkhw, first_k[:, None, None])


def _class_weights(weights_k: Tensor | None, target: Target) -> Tensor:
    device = target.truth_nkhw.device
    if weights_k is None:
        return torch.ones(target.truth_nkhw.shape[1], dtype=torch.float64, device=device)
    return weights_k.to(device)


def _pixel_weights(weights_k: Tensor | None, target: Target) -> Tensor:
    """The mean weight of a pixel's candidates, float64 (image, row, column)."""
    if weights_k is None:
        return torch.ones_like(target.ids_nhw, dtype=torch.float64)
    allowed_nkhw = target.allowed_nkhw
    total_nhw = torch.einsum("nkhw,k->nhw", allowed_nkhw.double(), weights_k.to(allowed_nkhw.device))
    return total_nhw / allowed_nkhw.sum(1).clamp(min=1)


def _over_pairs(cost_nkhw: Tensor, weights_k: Tensor | None, target: Target) -> Tensor:
    cost_nk = torch.where(target.known_nkhw, cost_nkhw, 0).sum((2, 3))
    return (cost_nk * _class_weights(weights_k, target).to(cost_nk.dtype)).sum(1)


def _pairs(weights_k: Tensor | None, target: Target) -> Tensor:
    known_nk = target.known_nkhw.sum((2, 3), dtype=torch.float64)
    return (known_nk * _class_weights(weights_k, target)).sum(1)
