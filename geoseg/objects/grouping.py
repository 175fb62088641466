"""How the pixels of things are grouped around centres."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.io.mosaic import CHUNK_PX
from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True)
class Grouping:
    """How pixels are grouped around centres.

    Attributes:
        least_heat: Heat x 254 below which there is no centre.
        suppress_px: A centre is the hottest pixel within this Chebyshev distance; of equals the first in raster
            order.
        reach_px: R: each component of an offset is clipped to it.
        capture_px: r: a pixel votes for the nearest centre within this distance of where its offset leads; of
            equals for the first in raster order.
    """

    # Chosen on the validation ground of configs/train_panoptic_unet.yaml: votes that reach no centre within 16 px
    # split a house in two, and of twice as many pixels a neighbour's centre is among those that are near.
    least_heat: int = 39
    suppress_px: int = 5
    reach_px: int = 128
    capture_px: int = 32

    def __post_init__(self) -> None:
        if not 1 <= self.least_heat <= 254:
            raise ValueError(f"expected a least heat from 1 to 254, got {self.least_heat}")
        if min(self.suppress_px, self.reach_px, self.capture_px) < 0:
            raise ValueError(f"expected distances of 0 px or more, got {self}")
        # A block gathers what is around its centres from the blocks beside it, and none is smaller than a chunk.
        if self.halo_px > CHUNK_PX:
            raise ValueError(f"expected distances that add up to {CHUNK_PX} px at most, got {self.halo_px} px")

    @property
    def halo_px(self) -> int:
        """How far around a pixel anything can lie that decides on its centre."""
        return self.reach_px + self.capture_px + self.suppress_px


@dataclass(frozen=True, slots=True)
class Panoptic:
    """How the objects of a panoptic model are told apart.

    Attributes:
        things: Ids of the classes whose objects are.
        grouping: How pixels find their centre.
    """

    things: tuple[int, ...]
    grouping: Grouping

    def is_thing(self, classes_hw: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Whether each pixel (row, column) is of a class whose objects are told apart, boolean (row, column)."""
        is_thing = np.zeros(NODATA_CLASS + 1, np.bool_)
        is_thing[list(self.things)] = True
        return is_thing[classes_hw]
