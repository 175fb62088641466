"""The Lovász losses: the convex extension of intersection over union."""

import torch
from torch import Tensor
from torch.nn import functional

from geoseg.train.losses.overlap import PresentClasses
from geoseg.train.target import Target


class LovaszSoftmax(PresentClasses):
    """The Lovász-softmax loss, a mean over the classes that an image's labels hold, per image.

    Berman et al. 2018, The Lovász-softmax loss, equations 8 to 12: the errors of a class, |g - p|, from the largest
    to the least, each times what the Jaccard loss grows by when its pixel is added to those that are wrong.
    """

    __slots__ = ()

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        truth_nkhw = target.truth_nkhw.to(logits_nkhw.dtype)
        present_nk = (truth_nkhw > 0).any(3).any(2)
        cost_nk = _extension((truth_nkhw - logits_nkhw.softmax(1)).abs(), truth_nkhw, target.known_nkhw)
        return torch.where(present_nk, cost_nk, 0).sum(1) / present_nk.sum(1).clamp(min=1)


class LovaszHinge:
    """The Lovász hinge of each class by itself, a mean over the classes that are known in an image, per image.

    Berman et al. 2018, equations 4 to 7: as `LovaszSoftmax`, with the hinge errors max(0, 1 - y x), x the logit and
    y 1 where the class is, -1 where not. A class that is known not to be there counts too.
    """

    __slots__ = ()

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        truth_nkhw = target.truth_nkhw.to(logits_nkhw.dtype)
        known_nk = target.known_nkhw.any(3).any(2)
        cost_nk = _extension(1 - (2 * truth_nkhw - 1) * logits_nkhw, truth_nkhw, target.known_nkhw)
        return torch.where(known_nk, cost_nk, 0).sum(1) / known_nk.sum(1).clamp(min=1)

    def counts(self, target: Target) -> Tensor:
        """1 for each image in which anything is known, else 0, (image,)."""
        return target.known_nkhw.flatten(1).any(1).double()


def _extension(error_nkhw: Tensor, truth_nkhw: Tensor, known_nkhw: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss at the errors of each image and class, (image, class)."""
    # What is not known comes last and costs nothing: it changes no gain of a pixel before it.
    sorted_nkm, order_nkm = torch.where(known_nkhw, error_nkhw, -torch.inf).flatten(2).sort(2, descending=True)
    truth_nkm = truth_nkhw.flatten(2).gather(2, order_nkm)
    with torch.no_grad():
        total_nk1 = truth_nkm.sum(2, keepdim=True)
        both_nkm = total_nk1 - truth_nkm.cumsum(2)
        union_nkm = total_nk1 + (1 - truth_nkm).cumsum(2)
        # A union is empty only before the first pixel that is no true one, where nothing was true to begin with.
        loss_nkm = 1 - both_nkm / union_nkm.clamp(min=1)
        gain_nkm = loss_nkm.diff(dim=2, prepend=torch.zeros_like(total_nk1))
    return (functional.relu(sorted_nkm) * gain_nkm).sum(2)
