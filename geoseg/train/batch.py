"""Crops on their way from scenes to the network: as they are read, and together as a batch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A crop with its labels.

    Attributes:
        image_chw: float32 (band, row, column) in the raster's own numbers; whatever lies where there is no data.
        valid_hw: Where it holds data.
        labels_hw: uint8 coded labels (row, column), see `geoseg.train.candidates`; `NODATA_CLASS` where there is
            no data. Where a model's classes overlap uint8 (class, row, column) instead: 1 there, 0 not there,
            `NODATA_CLASS` unknown. What changes a crop treats the last two axes alike.
        name: Where it comes from, for messages: the scene, and row and column in it.
    """

    image_chw: NDArray[np.float32]
    valid_hw: NDArray[np.bool_]
    labels_hw: NDArray[np.uint8]
    name: str

    @property
    def labelled_hw(self) -> NDArray[np.bool_]:
        """Of which pixels (row, column) anything is known."""
        known = self.labels_hw != NODATA_CLASS
        return known if known.ndim == 2 else known.any(0)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Crops as the network takes them.

    Attributes:
        images_nchw: Normalized, float32 (image, band, row, column).
        labels_nhw: uint8 coded labels (image, row, column), or planes (image, class, row, column), as in `Sample`.
        names: Where each crop comes from.
        others_nhw: Labels of the crops that were blended into these (MixUp); None where none were.
        shares_n: float32, how much the first labels count, from 0 to 1; None likewise.
    """

    images_nchw: NDArray[np.float32]
    labels_nhw: NDArray[np.uint8]
    names: tuple[str, ...]
    others_nhw: NDArray[np.uint8] | None = None
    shares_n: NDArray[np.float32] | None = None
