"""The objects of a map, without their outlines: what they are called, and how sure the map is of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.io.layers import Features
from geoseg.scores.overlaps import NOTHING


@dataclass(frozen=True, slots=True, eq=False)
class FoundObjects:
    """The objects of a map.

    Attributes:
        id: int64 (n,), in increasing order.
        class_id: int64 (n,).
        confidence: float64 (n,), 0 to 1.
    """

    id: NDArray[np.int64]
    class_id: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @classmethod
    def of(cls, layers: Iterable[Features]) -> "FoundObjects":
        """Those of some layers; one that was cut into parts is one."""
        every = list(layers)
        ids = np.concatenate([np.empty(0, np.int64), *(one.id for one in every)])
        ids, first = np.unique(ids, return_index=True)
        class_id = np.concatenate([np.empty(0, np.int64), *(one.class_id.astype(np.int64) for one in every)])
        confidence = np.concatenate([np.empty(0), *(one.confidence for one in every)])
        return cls(ids, class_id[first], confidence[first])

    def rename(
        self, class_id: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes and ids (n,) of the objects; what is none of them is nothing.

        Args:
            class_id: Of pixels, int64 (n,).
            ids: Of the objects that they are of, int64 (n,); 0 for none.
        """
        at = np.searchsorted(self.id, ids)
        listed = np.append(self.id, -1)[at] == ids
        of_object = np.where(listed, np.append(self.class_id, NOTHING)[at], NOTHING)
        return np.where(ids > 0, of_object, class_id), np.where(listed, ids, 0)
