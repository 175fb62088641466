"""The meaning of labels in a run: of the values of rasters, and of partly labelled data sets."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from geoseg.datasets.raster_labels import ValueTable
from geoseg.labels import NODATA_CLASS
from geoseg.train.candidates import Candidates


class LabelCoding(ValueTable):
    """From values of label rasters to coded labels, and what these say.

    Attributes:
        candidates: The classes that a pixel of each coded label may be of.
    """

    def __init__(self, ids: Mapping[int, int], candidates: Candidates | None = None) -> None:
        """Remember the coding.

        Args:
            ids: From raster value to class id, or to `NODATA_CLASS` for values that are not learned.
            candidates: Of the run; when not given that of fully labelled data, of the classes in `ids`.
        """
        super().__init__(ids)
        most = max((one for one in ids.values() if one != NODATA_CLASS), default=0)
        self.candidates = candidates or Candidates.of(most + 1)

    def planes(self, labels_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What coded labels (row, column) say of each class (class, row, column): 1, 0, or `NODATA_CLASS`."""
        allowed_vk = self.candidates.allowed_vk
        one_v = allowed_vk.sum(1) == 1
        # Of the one candidate it is known that it is there; of what is no candidate that it is not.
        planes_vk = np.where(allowed_vk, np.where(one_v[:, None], 1, NODATA_CLASS), 0).astype(np.uint8)
        return np.ascontiguousarray(np.moveaxis(planes_vk[labels_hw], -1, 0))
