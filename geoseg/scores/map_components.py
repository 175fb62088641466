"""Connected components of a mosaic's classes as objects, in place of those that a model tells apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.mosaic import PROBABILITY_SCALE, Mosaic
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2, pixel_ground
from geoseg.objects.label import label_block
from geoseg.objects.measures import Measures
from geoseg.objects.thresholds import Thresholds
from geoseg.scores.found_objects import FoundObjects
from geoseg.scores.window_components import WindowComponents


class MapComponents:
    """The components of classes of a mosaic, as the layers of a semantic model would have them.

    Args:
        mosaic: The mosaic.
        grid: Its grid.
        things: Ids of the classes.
        thresholds: How probable they must be.
        min_area_m2: Least area on the ground by class id; what is smaller is no object.
    """

    def __init__(
        self,
        mosaic: Mosaic,
        grid: Grid,
        things: Sequence[int],
        thresholds: Thresholds,
        min_area_m2: Sequence[float],
    ) -> None:
        self._mosaic, self._grid, self._things, self._thresholds = mosaic, grid, tuple(things), thresholds
        self._min_area_m2 = np.array(min_area_m2)
        self._components = WindowComponents(self._things, grid.width)
        self._measures, self._class_id = [Measures.none()], [np.empty(0, np.uint8)]

    def read(self, window: Window) -> NDArray[np.int64]:
        """The id of each pixel's object (row, column) in a window of the grid, 0 for none; each window once.

        Ids are those of `rename` when all were seen.
        """
        classes_hw = self._thresholds.read(self._mosaic, window)
        confidence_hw = self._mosaic.read(0, "confidence", window)
        ground_hw = pixel_ground(self._grid, window)
        seen = label_block(classes_hw, confidence_hw, window, self._grid.width, self._things, ground_hw)
        self._measures.append(seen.measures)
        self._class_id.append(seen.segment.astype(np.uint8))
        return self._components.add(classes_hw, window)

    def found(self) -> FoundObjects:
        """The objects over all windows that are large enough; confidence is the mean of that of their pixels."""
        parts = Measures.concatenate(*self._measures)
        ids, first, object_of = np.unique(
            self._components.whole(parts.first_pixel + 1), return_index=True, return_inverse=True
        )
        class_id = np.concatenate(self._class_id)[first].astype(np.int64)
        whole = parts.joined(object_of, len(ids))
        area_m2 = whole.ground * (nominal_pixel_m2(self._grid) / GROUND_UNIT)
        kept = area_m2 >= self._min_area_m2[class_id]
        confidence = whole.confidence_sum / (whole.pixels * PROBABILITY_SCALE)
        return FoundObjects(ids[kept], class_id[kept], confidence[kept])

    def rename(
        self, class_id: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Classes (n,) and ids (n,) over all windows of pixels' objects."""
        return class_id, self._components.whole(ids)
