"""Where classes are, by a sample of pixels spread evenly over scenes: enough to divide ground fairly."""

from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.io.warp import transformer
from geoseg.train.scenes import LabelledScene

_WINDOW_PX = 64
_EACH_PX = 4
"""Windows are read whole, and every fourth pixel of every fourth row of them is looked at."""

_MOST_WINDOWS = 1536
_LEAST_WINDOWS = 16
"""Windows that are read of all scenes together, and of each at least."""


def class_places(
    scenes: Sequence[LabelledScene], crs: str, classes: int
) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
    """A sample of labelled pixels.

    Args:
        scenes: Open scenes.
        crs: The CRS of the places.
        classes: How many classes there are; other labels are left out.

    Returns:
        Points (n,) in the CRS, and the class id (n,) of each.
    """
    most = max(_LEAST_WINDOWS, _MOST_WINDOWS // max(1, len(scenes)))
    points, ids = [np.empty(0, object)], [np.empty(0, np.int64)]
    for scene in scenes:
        for window in _windows(scene, most):
            try:
                labels_hw = scene.labels(window)[::_EACH_PX, ::_EACH_PX]
            except SceneError:
                # Damaged labels are named by whoever reads all of them; other windows tell enough.
                continue
            rows, cols = np.nonzero(labels_hw < classes)
            t = scene.grid.transform
            col, row = window.col + _EACH_PX * cols + 0.5, window.row + _EACH_PX * rows + 0.5
            x, y = transformer(scene.grid.crs, crs).transform(
                t.a * col + t.b * row + t.c, t.d * col + t.e * row + t.f
            )
            points.append(shapely.points(x, y))
            ids.append(labels_hw[rows, cols].astype(np.int64))
    return np.concatenate(points), np.concatenate(ids)


def _windows(scene: LabelledScene, most: int) -> list[Window]:
    """At most so many windows, on a lattice over the region."""
    left, top, right, bottom = scene.pixels.bounds
    step_px = max(_WINDOW_PX, int(np.ceil(np.sqrt((right - left) * (bottom - top) / most))))
    found = []
    for row in range(int(top), int(np.ceil(bottom)), step_px):
        for col in range(int(left), int(np.ceil(right)), step_px):
            window = Window(row, col, _WINDOW_PX, _WINDOW_PX).intersection(scene.grid.window)
            if window is not None:
                found.append(window)
    return found
