"""What labels say of each class in a window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS
from geoseg.train.candidates import Candidates


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Where each class is, and where that is known.

    Attributes:
        there_khw: Whether a pixel is known to be of a class, boolean (class, row, column).
        known_khw: Whether it is known if it is, boolean (class, row, column).
        one_hw: The class where it is the only one possible, else `NODATA_CLASS`, uint8 (row, column).
    """

    there_khw: NDArray[np.bool_]
    known_khw: NDArray[np.bool_]
    one_hw: NDArray[np.uint8]

    @classmethod
    def of_labels(
        cls, labels_hw: NDArray[np.uint8], candidates: Candidates, valid_hw: NDArray[np.bool_] | None = None
    ) -> Self:
        """From coded labels.

        Args:
            labels_hw: Coded labels (row, column).
            candidates: Their meaning.
            valid_hw: Where they count (row, column); everywhere if not given.
        """
        if valid_hw is not None:
            labels_hw = np.where(valid_hw, labels_hw, np.uint8(NODATA_CLASS))
        allowed_vk = candidates.allowed_vk
        one_v = allowed_vk.sum(1) == 1
        there_vk, known_vk = allowed_vk & one_v[:, None], ~allowed_vk | one_v[:, None]
        ids_v = np.where(one_v, allowed_vk.argmax(1), NODATA_CLASS).astype(np.uint8)
        # A lookup for each class gives planes that lie apart in memory, which all that follows wants.
        return cls(
            np.stack([there_v[labels_hw] for there_v in np.ascontiguousarray(there_vk.T)]),
            np.stack([known_v[labels_hw] for known_v in np.ascontiguousarray(known_vk.T)]),
            ids_v[labels_hw],
        )

    @classmethod
    def of_planes(cls, planes_khw: NDArray[np.uint8], valid_hw: NDArray[np.bool_] | None = None) -> Self:
        """From planes (class, row, column): 1 there, 0 not there, `NODATA_CLASS` unknown; valid as above."""
        known_khw = planes_khw != NODATA_CLASS
        if valid_hw is not None:
            known_khw &= valid_hw
        return cls((planes_khw == 1) & known_khw, known_khw, np.full(planes_khw.shape[1:], NODATA_CLASS, np.uint8))

    def of_classes(self, ids: Sequence[int]) -> Self:
        """The same of some classes alone, in this order: for each whether it is there, never which it is."""
        which = list(ids)
        nothing_hw = np.full_like(self.one_hw, NODATA_CLASS)
        return type(self)(self.there_khw[which], self.known_khw[which], nothing_hw)

    def inside(self, inner: tuple[slice, slice]) -> Self:
        """The same of a part, given as rows and columns."""
        return type(self)(self.there_khw[:, *inner], self.known_khw[:, *inner], self.one_hw[inner])
