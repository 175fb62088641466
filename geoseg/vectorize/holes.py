"""Small holes of objects, filled where nothing that is kept lies in them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.objects.label import components
from geoseg.vectorize.rings import Rings

_AROUND_PX = 4
"""Pixels around a hole that are looked at with it: where what lies in it ends must be seen."""


@dataclass(frozen=True, slots=True)
class Filled:
    """Holes that were filled.

    Attributes:
        count: How many.
        area_m2: Their ground area.
    """

    count: int
    area_m2: float


def fill_holes(
    polygons: NDArray[np.object_],
    most_m2: NDArray[np.float64],
    area_m2: Callable[[NDArray[np.object_]], NDArray[np.float64]],
    is_free: Callable[[shapely.Polygon, int], bool],
) -> tuple[NDArray[np.object_], Filled]:
    """Fill the small holes of polygons.

    Args:
        polygons: Polygons (n,).
        most_m2: float64 (n,); holes with less ground area are filled.
        area_m2: Ground area of polygons (m,), float64 (m,).
        is_free: Whether a hole, as a polygon, of the polygon with an index may be filled.

    Returns:
        The polygons (n,), and what was filled.
    """
    rings = Rings.of(polygons)
    of_polygon = np.repeat(np.arange(len(polygons)), rings.count)
    is_hole = np.ones(len(rings.size), bool)
    is_hole[np.cumsum(rings.count) - rings.count] = False
    hole = np.flatnonzero(is_hole & (most_m2[of_polygon] > 0))
    if len(hole) == 0:
        return polygons, Filled(0, 0.0)
    holes = rings.take(hole).polygons()
    hole_m2 = area_m2(holes)
    small = np.flatnonzero(hole_m2 < most_m2[of_polygon[hole]])
    small = np.array([i for i in small if is_free(holes[i], int(of_polygon[hole[i]]))], np.int64)
    stays = np.ones(len(rings.size), bool)
    stays[hole[small]] = False
    kept = rings.take(np.flatnonzero(stays))
    count = np.bincount(of_polygon[stays], minlength=len(polygons))
    filled = Rings(kept.xy, kept.size, count).polygons()
    return filled, Filled(len(small), float(hole_m2[small].sum()))


def window_of(hole: shapely.Polygon, height: int, width: int) -> Window:
    """The pixels of a grid (height, width) to look at before a hole, in pixel coordinates, is filled."""
    left, top, right, bottom = shapely.bounds(hole)
    row, col = (max(0, int(low) // _AROUND_PX * _AROUND_PX - _AROUND_PX) for low in (top, left))
    row_stop, col_stop = min(height, int(bottom) + 1 + _AROUND_PX), min(width, int(right) + 1 + _AROUND_PX)
    return Window(row, col, row_stop - row, col_stop - col)


def nothing_kept(
    hole: shapely.Polygon,
    class_id: int,
    classes_hw: NDArray[np.uint8],
    ground_hw: NDArray[np.int32],
    window: Window,
    least_ground: NDArray[np.float64],
) -> bool:
    """Whether a hole has data everywhere, and no object in it is large enough for a layer.

    An object in a hole lies in it whole, so that its size is told from the pixels around the hole alone. What
    reaches beyond them is no object in the hole: either the one whose hole it is, or (where outlines are
    simplified) something else that must not be covered.

    Args:
        hole: In pixel coordinates.
        class_id: Of the object that has the hole.
        classes_hw: uint8 (row, column) of `window`.
        ground_hw: int32 (row, column), ground area of each pixel.
        window: As of `window_of`.
        least_ground: float64 (256,); ground area by class id from which an object has a feature; infinite for
            classes without a layer.
    """
    x, y = np.meshgrid(np.arange(window.col, window.col_stop) + 0.5, np.arange(window.row, window.row_stop) + 0.5)
    inside_hw = shapely.contains_xy(hole, x, y)
    inside = classes_hw[inside_hw]
    if (inside == NODATA_CLASS).any():
        return False
    if not np.isfinite(least_ground[inside]).any():
        return True
    labels_hw = components(classes_hw, np.flatnonzero(np.isfinite(least_ground)).tolist())
    ground = np.bincount(labels_hw.reshape(-1), ground_hw.reshape(-1))
    edge = np.concatenate((labels_hw[0], labels_hw[-1], labels_hw[:, 0], labels_hw[:, -1]))
    reaches_out = np.bincount(edge, minlength=len(ground)) > 0
    for label in np.unique(labels_hw[inside_hw & (labels_hw > 0)]):
        its_class = int(classes_hw[labels_hw == label][0])
        if reaches_out[label]:
            if its_class != class_id:
                return False
        elif ground[label] >= least_ground[its_class]:
            return False
    return True
