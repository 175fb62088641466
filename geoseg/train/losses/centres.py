"""Loss terms on objects: the heat map of their centres, and the ways to them (Cheng et al. 2020, Panoptic-DeepLab).

Networks that tell objects apart answer with channels after those of the classes: heat, then the offset's rows and
columns (`geoseg.models.architecture`). Both are regressed as they are (section 3.2), so that no logit is involved.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg.train.target import Target


@dataclass(frozen=True, slots=True)
class HeatError:
    """The squared error of the heat, a mean over the pixels whose heat is known."""

    def costs(self, answers_nchw: Tensor, target: Target) -> Tensor:
        """As for any term, of all that the network answers (image, channel, row, column) to (image,)."""
        heat_nhw = _there(target.heat_nhw)
        known_nhw = ~heat_nhw.isnan()
        # NaN is taken out before it meets the answer: a gradient of 0 times NaN is NaN.
        error_nhw = answers_nchw[:, target.truth_nkhw.shape[1]] - heat_nhw.nan_to_num()
        return torch.where(known_nhw, error_nhw.square(), 0).sum((1, 2))

    def counts(self, target: Target) -> Tensor:
        """How many pixels have a known heat, (image,)."""
        return (~_there(target.heat_nhw).isnan()).sum((1, 2), dtype=torch.float64)


@dataclass(frozen=True, slots=True)
class OffsetError:
    """The absolute error of offsets, a mean over both axes and the pixels of known objects."""

    def costs(self, answers_nchw: Tensor, target: Target) -> Tensor:
        """As for any term, of all that the network answers (image, channel, row, column) to (image,)."""
        offset_nahw = _there(target.offset_nahw)
        first = target.truth_nkhw.shape[1] + 1
        error_nahw = answers_nchw[:, first : first + 2] - offset_nahw.nan_to_num()
        return torch.where(~offset_nahw.isnan(), error_nahw.abs(), 0).sum((1, 2, 3))

    def counts(self, target: Target) -> Tensor:
        """How many components of offsets are known, (image,)."""
        return (~_there(target.offset_nahw).isnan()).sum((1, 2, 3), dtype=torch.float64)


def _there(field: Tensor | None) -> Tensor:
    if field is None:
        raise ValueError("expected what is known of objects, got labels of classes alone")
    return field
