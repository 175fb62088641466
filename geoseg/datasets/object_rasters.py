"""Objects from a raster of numbers: a pixel's number is that of its object, whatever the object's class."""

import numpy as np
from numpy.typing import NDArray

from geoseg.datasets.raster_labels import open_raster_labels
from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.io.drivers import open_raster
from geoseg.io.scene_ref import SceneRef

_WIDEST_BITS = 32


class ObjectRaster:
    """The objects of a raster on a scene's grid, read as its label rasters are.

    Args:
        path: One band of whole numbers of at most 32 bits: 0 and no data where there is no object, or none that is
            known; from 1 to 2^31 - 1 an object's.
        scene: What it labels.

    Raises:
        SceneError: As `open_raster_labels`, or its numbers are wider.
    """

    def __init__(self, path: str, scene: SceneRef) -> None:
        with open_raster(path) as dataset:
            dtypes = [np.dtype(one) for one in dataset.dtypes]
        if any(one.kind in "ui" and 8 * one.itemsize > _WIDEST_BITS for one in dtypes):
            raise SceneError(
                f"{path} has numbers of {8 * dtypes[0].itemsize} bits: expected objects numbered in at most "
                f"{_WIDEST_BITS}; write them as int32"
            )
        self._path = path
        self._reader = open_raster_labels(path, scene)

    def read(self, window: Window) -> NDArray[np.int32]:
        """The object's number of each pixel (row, column) of a window of the grid; 0 where there is none.

        Raises:
            SceneError: The file is damaged there, or holds a number that no object can have.
        """
        raw_hw = self._reader.read(window)
        if (raw_hw < -1).any():
            # Above 2^31 - 1 they wrap around.
            raise SceneError(
                f"{self._path} holds numbers below 0 or above 2147483647: expected 0 where there is no object, and "
                "objects numbered from 1"
            )
        return np.maximum(raw_hw, 0)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
