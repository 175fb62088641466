"""Pixels that a class is not sure enough of to be objects."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.io.mosaic import PROBABILITY_SCALE, Mosaic
from geoseg.labels import NO_OBJECT_CLASS


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How probable a class must be at a pixel for it to be of an object.

    Attributes:
        least: Class id and least probability, 0 to 1, of each class that has one.
    """

    least: tuple[tuple[int, float], ...] = ()

    @classmethod
    def of(cls, least: Mapping[int, float]) -> "Thresholds":
        """Those of some classes; a least probability of 0 is none."""
        return cls(tuple(sorted((class_id, share) for class_id, share in least.items() if share > 0)))

    def read(self, mosaic: Mosaic, window: Window) -> NDArray[np.uint8]:
        """The classes of a window, uint8 (row, column), with `NO_OBJECT_CLASS` where they are not sure enough."""
        classes_hw = mosaic.read(0, "classes", window)
        if not self.least:
            return classes_hw
        return self.apply(classes_hw, mosaic.read(0, "confidence", window))

    def apply(self, classes_hw: NDArray[np.uint8], confidence_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The classes, uint8 (row, column), with `NO_OBJECT_CLASS` where they are not sure enough.

        Args:
            classes_hw: Class ids, uint8 (row, column), 255 where there is no data.
            confidence_hw: Probability of the class x 254, uint8 (row, column).
        """
        least = np.zeros(256, np.uint8)
        for class_id, share in self.least:
            # What is stored for a share is its own multiple of 1/254, but for what floats make of it.
            least[class_id] = math.ceil(share * PROBABILITY_SCALE - 1e-6)
        return np.where(confidence_hw < least[classes_hw], np.uint8(NO_OBJECT_CLASS), classes_hw)
