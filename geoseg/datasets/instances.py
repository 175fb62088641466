"""Objects drawn on a grid's pixels, each with a number of its own."""

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MergeAlg
from rasterio.features import rasterize

from geoseg.grid import Window
from geoseg.squares import Squares

_SIDE_PX = 512
"""Objects are drawn in squares, so that no pixel depends on the window that is asked for."""

_LARGE = 2000
"""Polygons of more vertices are cut to the square first."""


class DrawnInstances:
    """Polygons as objects: a pixel is of the one that holds its centre, as GDAL and rasterio draw them.

    Where several do it is of the last of them, in the order in which they are given: later features lie over
    earlier ones, as those of classes do.

    Args:
        polygons: Polygons and multipolygons (n,) in pixel coordinates (x = column, y = row).
        shape: (height, width) of the grid.
        kept: How many squares of 512 px are kept.
    """

    def __init__(self, polygons: NDArray[np.object_], shape: tuple[int, int], kept: int = 32) -> None:
        self._polygons = polygons
        self._tree = shapely.STRtree(polygons)
        self._numbers = Squares(self._draw, shape, _SIDE_PX, kept)
        self._several = Squares(self._draw_several, shape, _SIDE_PX, kept)

    def read(self, window: Window) -> NDArray[np.int32]:
        """The object of each pixel (row, column) of a window of the grid: 1 + its index, 0 for none."""
        return self._numbers.read(window)

    def contested(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels (row, column) of a window lie in several objects: all but the last of these lost them."""
        return self._several.read(window)

    def _draw(self, square: Window) -> NDArray[np.int32]:
        numbers, shapes = self._near(square)
        return _burn(shapes, numbers + 1, square, MergeAlg.replace)

    def _draw_several(self, square: Window) -> NDArray[np.bool_]:
        numbers, shapes = self._near(square)
        if len(numbers) < 2:
            return np.zeros(square.shape, np.bool_)
        return _burn(shapes, np.ones(len(numbers), np.int64), square, MergeAlg.add) > 1

    def _near(self, square: Window) -> tuple[NDArray[np.int64], list[shapely.Geometry]]:
        """The numbers, in order, and what lies around a square, of the polygons that touch it."""
        box = shapely.box(square.col - 1, square.row - 1, square.col_stop + 1, square.row_stop + 1)
        numbers, shapes = [], []
        for number in np.sort(self._tree.query(box)).tolist():
            near = self._polygons[number]
            if shapely.get_num_coordinates(near) > _LARGE:
                near = shapely.clip_by_rect(shapely.make_valid(near), *box.bounds)
            if near.area > 0:
                numbers.append(number)
                shapes.append(near)
        return np.array(numbers, np.int64), shapes


def _burn(
    shapes: list[shapely.Geometry], values: NDArray[np.int64], square: Window, how: MergeAlg
) -> NDArray[np.int32]:
    if not shapes:
        return np.zeros(square.shape, np.int32)
    # Polygons stay in pixel coordinates: the transform only shifts the square's corner to the origin.
    drawn_hw = rasterize(
        zip(shapes, values.tolist(), strict=True),
        out_shape=square.shape,
        transform=Affine.translation(square.col, square.row),
        dtype=np.int32,
        merge_alg=how,
    )
    return np.asarray(drawn_hw, np.int32)
