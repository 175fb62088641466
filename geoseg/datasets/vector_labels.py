"""Labels from vector files, drawn on a scene's pixels window by window."""

from collections.abc import Collection, Iterable
from functools import partial
from typing import TypeVar

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MergeAlg
from rasterio.features import rasterize

from geoseg.datasets.features import Drawn, draw_features
from geoseg.datasets.label_files import REST, VectorFiles
from geoseg.grid import Grid, Window
from geoseg.labels import NODATA_CLASS
from geoseg.squares import Squares

_SIDE_PX = 512
"""Polygons are drawn in squares, which are kept: windows overlap."""

_NumberT = TypeVar("_NumberT", np.uint8, np.int32)

_LARGE = 2000
"""Polygons of more vertices are cut to the square first."""


class VectorLabels:
    """Polygons, and lines with a width, as pixels: those whose centre they hold, as GDAL and rasterio draw them.

    Features of later files lie over those of earlier ones, and later features of a file over earlier ones.

    Args:
        files: What is drawn.
        grid: The scene's.
        rest: The label of "none of the classes that the data set labels".
        kept: How many squares of 512 px are kept.

    Raises:
        GeosegError: As `draw_features`.
    """

    def __init__(self, files: VectorFiles, grid: Grid, rest: int, kept: int = 32) -> None:
        drawn = [draw_features(file, grid) for file in files.files]
        self._drawn = Drawn(
            np.concatenate([one.polygons for one in drawn]), np.concatenate([one.ids for one in drawn])
        )
        self._rest, self._background = rest, rest if files.rest == REST else files.rest
        self._of_rest = files.rest
        self._tree = shapely.STRtree(self._drawn.polygons)
        shape = grid.height, grid.width
        self._labels = Squares(self._draw, shape, _SIDE_PX, kept)
        self._features = Squares(self._draw_features, shape, _SIDE_PX, max(1, kept // 4))
        self._planes = {
            class_id: Squares(partial(self._draw_class, class_id), shape, _SIDE_PX, max(1, kept // 4))
            for class_id in sorted(set(self._drawn.ids.tolist()))
        }

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Coded labels (row, column) of a window of the grid."""
        return self._labels.read(window).copy()

    def planes(self, window: Window, classes: int, labelled: Iterable[int]) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column), where classes may overlap: 1, 0, or `NODATA_CLASS`.

        Args:
            window: Of the grid.
            classes: How many there are.
            labelled: The ids of those that the files label.
        """
        planes_khw = np.full((classes, *window.shape), NODATA_CLASS, np.uint8)
        for class_id in labelled:
            drawn = self._planes.get(class_id)
            planes_khw[class_id] = 0 if drawn is None else drawn.read(window)
        if 0 <= self._of_rest < classes:
            # Ground without a feature is of that class.
            planes_khw[self._of_rest, (planes_khw != 1).all(0)] = 1
        if NODATA_CLASS in self._planes:
            planes_khw[:, self._planes[NODATA_CLASS].read(window) == 1] = NODATA_CLASS
        return planes_khw

    def features(self, window: Window) -> NDArray[np.int32]:
        """The feature that has each pixel (row, column) of a window of the grid, the one drawn last.

        Returns:
            Numbers from 1 on in the order of drawing, the same whatever window is read; 0 where there is none.
        """
        return self._features.read(window).copy()

    def depth(self, window: Window, classes: Collection[int]) -> NDArray[np.int32]:
        """How many features of some classes hold each pixel (row, column) of a window of the grid.

        Args:
            window: Of the grid.
            classes: Their ids.
        """
        found = np.sort(self._tree.query(_around(window)))
        found = found[np.isin(self._drawn.ids[found], list(classes))]
        ones = np.ones(len(found), np.int64)
        return _burn(self._drawn.polygons[found], ones, window, 0, np.int32, MergeAlg.add)

    def close(self) -> None:
        """Nothing is open."""

    def _draw(self, square: Window) -> NDArray[np.uint8]:
        found = np.sort(self._tree.query(_around(square)))
        codes = np.where(self._drawn.ids == REST, self._rest, self._drawn.ids)
        return _burn(self._drawn.polygons[found], codes[found], square, self._background, np.uint8)

    def _draw_features(self, square: Window) -> NDArray[np.int32]:
        found = np.sort(self._tree.query(_around(square)))
        return _burn(self._drawn.polygons[found], found + 1, square, 0, np.int32)

    def _draw_class(self, class_id: int, square: Window) -> NDArray[np.uint8]:
        found = np.sort(self._tree.query(_around(square)))
        found = found[self._drawn.ids[found] == class_id]
        return _burn(self._drawn.polygons[found], np.ones(len(found), np.int64), square, 0, np.uint8)


def _around(square: Window) -> shapely.Geometry:
    return shapely.box(square.col - 1, square.row - 1, square.col_stop + 1, square.row_stop + 1)


def _burn(
    polygons: NDArray[np.object_],
    codes: NDArray[np.int64],
    square: Window,
    background: int,
    dtype: type[_NumberT],
    merge: MergeAlg = MergeAlg.replace,
) -> NDArray[_NumberT]:
    """The pixels (row, column) of a square whose centres lie in polygons, later ones over earlier ones."""
    pairs = []
    for polygon, code in zip(polygons, codes.tolist(), strict=True):
        near = polygon
        if shapely.get_num_coordinates(polygon) > _LARGE:
            near = shapely.clip_by_rect(shapely.make_valid(polygon), *_around(square).bounds)
        if near.area > 0:
            pairs.append((near, code))
    if not pairs:
        return np.full(square.shape, background, dtype)
    # Polygons stay in pixel coordinates: the transform only shifts the square's corner to the origin.
    return np.asarray(
        rasterize(
            pairs,
            out_shape=square.shape,
            fill=background,
            transform=Affine.translation(square.col, square.row),
            dtype=dtype,
            merge_alg=merge,
        )
    )
