"""What a step minimizes: a loss over one or several batches, whose crops may be blends of two."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.losses import Loss
from geoseg.train.target import Target


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
        if batch.heat_nhw is not None and batch.offset_nahw is not None:
            heat_nhw, offset_nahw = torch.from_numpy(batch.heat_nhw), torch.from_numpy(batch.offset_nahw)
            first = replace(first, heat_nhw=heat_nhw.to(device), offset_nahw=offset_nahw.to(device))
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
