"""What a loss compares logits with: for each pixel and class whether it is there, and whether that is known."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from geoseg.labels import NODATA_CLASS
from geoseg.train.candidates import Candidates


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """Labels of a batch on the device of the network.

    Attributes:
        truth_nkhw: float32 (image, class, row, column), 1 where the pixel is known to be of the class, else 0.
        known_nkhw: Boolean, whether it is known if the pixel is of the class. A pixel without a building in a data
            set of buildings alone is known for that class and for no other.
        ids_nhw: int64 (image, row, column), the class where it is the only one possible, else `NODATA_CLASS`.
            Where classes overlap it is not of use, and `NODATA_CLASS` throughout.
        heat_nhw: float32 (image, row, column), the heat map of objects' centres, NaN where it is not known; None
            where objects are not told apart.
        offset_nahw: float32 (image, 2, row, column), the ways to these centres, NaN where none is known; None
            likewise.
    """

    truth_nkhw: Tensor
    known_nkhw: Tensor
    ids_nhw: Tensor
    heat_nhw: Tensor | None = None
    offset_nahw: Tensor | None = None

    @classmethod
    def of_labels(cls, labels_nhw: Tensor, candidates: Candidates) -> Self:
        """From coded labels, any integer type (image, row, column)."""
        allowed_vk = torch.from_numpy(candidates.allowed_vk).to(labels_nhw.device)
        one_v = allowed_vk.sum(1) == 1
        # Of the one candidate it is known that it is there; of what is no candidate that it is not.
        truth_vk, known_vk = allowed_vk & one_v[:, None], ~allowed_vk | one_v[:, None]
        labels_nhw = labels_nhw.long()
        ids_v = torch.where(one_v, allowed_vk.int().argmax(1), NODATA_CLASS)
        return cls(
            truth_vk.float()[labels_nhw].permute(0, 3, 1, 2),
            known_vk[labels_nhw].permute(0, 3, 1, 2),
            ids_v[labels_nhw],
        )

    @classmethod
    def of_planes(cls, planes_nkhw: Tensor) -> Self:
        """From planes (image, class, row, column): 1 there, 0 not there, `NODATA_CLASS` unknown."""
        known_nkhw = planes_nkhw != NODATA_CLASS
        ids_nhw = torch.full_like(planes_nkhw[:, 0], NODATA_CLASS, dtype=torch.int64)
        return cls((planes_nkhw == 1).float(), known_nkhw, ids_nhw)

    @property
    def labelled_nhw(self) -> Tensor:
        """Boolean (image, row, column): of which pixels anything is known."""
        return self.known_nkhw.any(1)

    @property
    def allowed_nkhw(self) -> Tensor:
        """Boolean (image, class, row, column): the candidates of each pixel, where classes exclude each other."""
        there_nkhw = self.truth_nkhw > 0
        return torch.where(there_nkhw.any(1, keepdim=True), there_nkhw, ~self.known_nkhw)
