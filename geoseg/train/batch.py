"""Crops on their way from scenes to the network: as they are read, and together as a batch."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The objects of a crop, also where they go on beyond it. Places are counted from the crop's corner.

    Attributes:
        ids_hw: int32 (row, column), which of the n objects a pixel is of, from 1; 0 where it is of none, or of none
            that is known.
        centres_n2: float64 (n, 2), row and column of the centre of mass of all of an object's pixels in its scene:
            the centre of the crop's first pixel is at (0.5, 0.5). It may lie outside the crop.
        pixels_n: float64 (n,), how many these are, in pixels of the crop's scale.
    """

    ids_hw: NDArray[np.int32]
    centres_n2: NDArray[np.float64]
    pixels_n: NDArray[np.float64]


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
        instances: Its objects, for models that tell objects apart; else None.
    """

    image_chw: NDArray[np.float32]
    valid_hw: NDArray[np.bool_]
    labels_hw: NDArray[np.uint8]
    name: str
    instances: Instances | None = None

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
        heat_nhw: float32 (image, row, column), the heat map of the objects' centres, NaN where it is not known;
            None for models that do not tell objects apart. See `geoseg.train.centres`.
        offset_nahw: float32 (image, 2, row, column), from each pixel to its object's centre in pixels, rows
            before columns, NaN where it is of no object that is known; None likewise.
    """

    images_nchw: NDArray[np.float32]
    labels_nhw: NDArray[np.uint8]
    names: tuple[str, ...]
    others_nhw: NDArray[np.uint8] | None = None
    shares_n: NDArray[np.float32] | None = None
    heat_nhw: NDArray[np.float32] | None = None
    offset_nahw: NDArray[np.float32] | None = None

    def first(self, count: int) -> "Batch":
        """The first so many of its crops, without what was blended into them."""
        return replace(
            self,
            images_nchw=self.images_nchw[:count],
            labels_nhw=self.labels_nhw[:count],
            names=self.names[:count],
            others_nhw=None,
            shares_n=None,
            heat_nhw=None if self.heat_nhw is None else self.heat_nhw[:count],
            offset_nahw=None if self.offset_nahw is None else self.offset_nahw[:count],
        )
