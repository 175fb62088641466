"""Loss terms of distances from boundaries: the boundary loss, and that of the Hausdorff distance."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from geoseg.labels import Activation
from geoseg.train.losses.overlap import probabilities
from geoseg.train.target import Target


@dataclass(frozen=True, slots=True, eq=False)
class Boundary:
    """The boundary loss: probabilities times signed distances from the true boundary, in pixels.

    Kervadec et al. 2019, Boundary loss for highly unbalanced segmentation, equation 5. Outside a class the distance
    is that to its nearest pixel; inside it is minus that to the nearest pixel known not to be of it, less 1, so
    that it is 0 on the outermost pixels. Per image the mean over known pixels, then over the classes that have some
    inside and outside; it may be negative. The authors add it to a term on overlap, since by itself it has a
    minimum in which small classes vanish.

    Attributes:
        activation: Of the model.
    """

    activation: Activation

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        truth_nkhw, known_nkhw = _arrays(target)
        counted_nk = self._counted(target)
        signed_nkhw = np.zeros(truth_nkhw.shape, np.float32)
        for image, label in np.argwhere(counted_nk.cpu().numpy()):
            inside_hw, known_hw = truth_nkhw[image, label], known_nkhw[image, label]
            outside_hw = known_hw & ~inside_hw
            signed_hw = np.where(
                inside_hw, 1 - distance_transform_edt(~outside_hw), distance_transform_edt(~inside_hw)
            )
            signed_nkhw[image, label] = np.where(known_hw, signed_hw, 0)
        signed = torch.from_numpy(signed_nkhw).to(logits_nkhw)
        cost_nk = (probabilities(logits_nkhw, self.activation) * signed).sum((2, 3)) / _known_px(target)
        return torch.where(counted_nk, cost_nk, 0).sum(1) / counted_nk.sum(1).clamp(min=1)

    def counts(self, target: Target) -> Tensor:
        """1 for each image with a class that has a boundary, else 0, (image,)."""
        return self._counted(target).any(1).double()

    def _counted(self, target: Target) -> Tensor:
        inside_nkhw = target.truth_nkhw > 0
        return inside_nkhw.any(3).any(2) & (target.known_nkhw & ~inside_nkhw).any(3).any(2)


@dataclass(frozen=True, slots=True, eq=False)
class Hausdorff:
    """Squared errors times distances from both boundaries: (p - g)^2 (d_p^a + d_g^a), in pixels.

    Karimi and Salcudean 2019, Reducing the Hausdorff distance in medical image segmentation with convolutional
    neural networks, equation 8 (by distance transforms). d_g is the distance to the nearest known pixel on the
    other side of the true boundary, d_p on the other side of that of the prediction (p > 1/2), 0 where there is no
    other side; distances have no gradient. Per image the mean over known pixels, then over classes known in it.

    Attributes:
        activation: Of the model.
        exponent: a, 2 in the paper.
    """

    activation: Activation
    exponent: float

    def costs(self, logits_nkhw: Tensor, target: Target) -> Tensor:
        """As for any term: logits (image, class, row, column) to (image,)."""
        probability_nkhw = probabilities(logits_nkhw, self.activation)
        predicted_nkhw = (probability_nkhw.detach() > 0.5).cpu().numpy()
        truth_nkhw, known_nkhw = _arrays(target)
        weight_nkhw = np.zeros(truth_nkhw.shape, np.float32)
        counted_nk = target.known_nkhw.any(3).any(2)
        for image, label in np.argwhere(counted_nk.cpu().numpy()):
            at = int(image), int(label)
            for mask_nkhw in (truth_nkhw, predicted_nkhw):
                weight_nkhw[at] += _across(mask_nkhw[at], known_nkhw[at]) ** self.exponent
        weight = torch.from_numpy(weight_nkhw).to(logits_nkhw)
        squared_nkhw = (probability_nkhw - target.truth_nkhw.to(logits_nkhw.dtype)).square()
        cost_nk = (squared_nkhw * weight).sum((2, 3)) / _known_px(target)
        return torch.where(counted_nk, cost_nk, 0).sum(1) / counted_nk.sum(1).clamp(min=1)

    def counts(self, target: Target) -> Tensor:
        """1 for each image in which anything is known, else 0, (image,)."""
        return target.known_nkhw.flatten(1).any(1).double()


def _across(mask_hw: NDArray[np.bool_], known_hw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance from each known pixel to the nearest known one on the other side of a mask's boundary, else 0."""
    inside_hw, outside_hw = mask_hw & known_hw, ~mask_hw & known_hw
    if not (inside_hw.any() and outside_hw.any()):
        return np.zeros(mask_hw.shape)
    across_hw = np.where(inside_hw, distance_transform_edt(~outside_hw), distance_transform_edt(~inside_hw))
    return np.where(known_hw, across_hw, 0.0)


def _arrays(target: Target) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """What is there and what is known, (image, class, row, column), where scipy can see it."""
    return (target.truth_nkhw > 0).cpu().numpy(), target.known_nkhw.cpu().numpy()


def _known_px(target: Target) -> Tensor:
    return target.known_nkhw.sum((2, 3)).clamp(min=1)
