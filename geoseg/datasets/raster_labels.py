"""Labels from a raster: on the scene's own pixels, or anywhere else on the ground by the nearest of its pixels."""

from collections.abc import Mapping

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.class_reader import ClassReader
from geoseg.io.drivers import open_raster
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import Slant
from geoseg.io.source_grid import crs_name
from geoseg.io.warp import Warp, outline_in
from geoseg.labels import NODATA_CLASS

_MOST_PX = 2**24
"""Pixels of the labels that are read at once; of much finer ones, smaller windows are."""

_SAME_PX = 0.5
"""Labels of the scene's size that lie nowhere further from its pixels are on them."""


class ValueTable:
    """From values of label rasters to coded labels."""

    def __init__(self, ids: Mapping[int, int]) -> None:
        """Remember the coding.

        Args:
            ids: From raster value to coded label: a class id, or `NODATA_CLASS` for values that are not learned.
        """
        self._values = np.array(sorted(ids), np.int32)
        self._ids = np.array([ids[int(value)] for value in self._values], np.uint8)

    def encode(self, raw_hw: NDArray[np.int32], where: str) -> NDArray[np.uint8]:
        """Coded labels of raw label values; `NODATA_CLASS` where the raster has no data (-1).

        Args:
            raw_hw: Values of a label raster.
            where: Its path, for the error.

        Raises:
            SceneError: A value is neither a class nor ignored.
        """
        # One lookup per pixel instead of a search: label values are small numbers, from -1 on.
        top = max(int(raw_hw.max(initial=0)), int(self._values.max(initial=0)))
        table = np.full(top + 2, -1, np.int16)
        table[0] = NODATA_CLASS
        table[self._values + 1] = self._ids
        ids_hw = table[raw_hw + 1]
        if (ids_hw < 0).any():
            value = int(raw_hw[ids_hw < 0][0])
            raise SceneError(
                f"{where} holds the label value {value}: expected one of "
                f"{', '.join(map(str, self._values))}; add it to label_values, to the entry's values, or to "
                "ignore_values"
            )
        return ids_hw.astype(np.uint8)


class RasterLabels:
    """Coded labels of a raster on a scene's grid.

    Args:
        path: The raster.
        scene: What it labels.
        table: The meaning of its values.
        rest: The label of its pixels without data.

    Raises:
        SceneError: As `open_raster_labels`.
    """

    def __init__(self, path: str, scene: SceneRef, table: ValueTable, rest: int = NODATA_CLASS) -> None:
        self._reader = open_raster_labels(path, scene)
        self._path, self._table, self._rest = path, table, rest

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Coded labels (row, column) of a window of the grid.

        Raises:
            SceneError: The file is damaged there, or holds a value that means nothing.
        """
        raw_hw = self._reader.read(window)
        coded_hw = self._table.encode(raw_hw, self._path)
        if self._rest != NODATA_CLASS:
            coded_hw[raw_hw == -1] = self._rest
        return coded_hw

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def open_raster_labels(path: str, scene: SceneRef) -> "ClassReader | PlacedLabels":
    """A label raster, to be read on a scene's grid: pixel by pixel where it lies on the scene's own.

    Args:
        path: One band of whole numbers.
        scene: What it labels.

    Raises:
        SceneError: It cannot be opened, is no raster of whole numbers, does not meet the scene, or has no CRS and
            lies on other pixels.
    """
    with open_raster(path) as labels, open_raster(scene.opened_at, trust_vrt=scene.trust_vrt) as image:
        size = labels.height, labels.width
        if labels.crs is None or image.crs is None or size != (scene.source_height, scene.source_width):
            same_crs = labels.crs is None or image.crs is None
        else:
            same_crs = parse_crs(crs_name(labels.crs)) == parse_crs(crs_name(image.crs))
        placed = labels.crs is not None and image.crs is not None and not labels.transform.is_identity
        corners = [(0, 0), (image.width, 0), (0, image.height), (image.width, image.height)]
        to_image = ~image.transform @ labels.transform
        apart = max(np.hypot(*np.subtract(to_image @ corner, corner)) for corner in corners)
        on_pixels = size == (scene.source_height, scene.source_width) and apart <= _SAME_PX and same_crs
    # What has no place of its own must lie on the scene's pixels; the reader says so where it does not.
    return ClassReader(path, scene) if on_pixels or not placed else PlacedLabels(path, scene.grid, scene.path)


class PlacedLabels:
    """Windows of a label raster on another grid than its scene's, perhaps in another CRS.

    A pixel of the scene's grid has the value of the label pixel that holds its centre, whatever window is read.
    Places in another CRS are at most 0.001 px off (`geoseg.io.warp`).

    Args:
        path: The label raster, one band of whole numbers with a CRS.
        grid: The pixels of the scene that it labels.
        scene: What the scene is called.

    Raises:
        SceneError: It does not meet the scene, or does not hold whole numbers.
    """

    def __init__(self, path: str, grid: Grid, scene: str) -> None:
        dataset = open_raster(path)
        assert isinstance(dataset, DatasetReader)  # no address of the web comes here
        self._dataset, self._path = dataset, path
        if dataset.count != 1 or np.dtype(dataset.dtypes[0]).kind not in "ui":
            raise SceneError(
                f"labels must be one band of whole numbers: {path} has {dataset.count} band(s) "
                f"of {dataset.dtypes[0]}"
            )
        own = Grid(crs_name(dataset.crs), dataset.transform, dataset.height, dataset.width)
        self._warp: Slant | Warp
        if parse_crs(own.crs) == parse_crs(grid.crs):
            self._warp = Slant(~own.transform @ grid.transform, own.height, own.width)
        else:
            self._warp = Warp.between(grid, own)
        if not _meet(own, grid):
            raise SceneError(
                f"{path} lies elsewhere than {scene}: expected labels of the same place, their bounds are "
                f"{', '.join(f'{one:.6g}' for one in dataset.bounds)} in {parse_crs(own.crs).name}; check the "
                "CRS of both"
            )

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def read(self, window: Window) -> NDArray[np.int32]:
        """The file's numbers (row, column) in a window of the scene's grid, -1 where it holds no data.

        Raises:
            SceneError: The file is damaged there.
        """
        if self._warp.source_px(window) > _MOST_PX and max(window.shape) > 1:
            return self._in_parts(window)
        rows_hw, cols_hw = self._warp.places(window)
        inside_hw = self._warp.inside(rows_hw, cols_hw)
        values_hw = np.full(window.shape, -1, np.int32)
        if inside_hw.any():
            rows = np.minimum(rows_hw[inside_hw].astype(np.int64), self._warp.height - 1)
            cols = np.minimum(cols_hw[inside_hw].astype(np.int64), self._warp.width - 1)
            row, col = int(rows.min()), int(cols.min())
            source = RasterioWindow(col, row, int(cols.max()) + 1 - col, int(rows.max()) + 1 - row)
            try:
                found_hw = self._dataset.read(1, window=source).astype(np.int32)
                found_hw[self._dataset.read_masks(1, window=source) == 0] = -1
            except RasterioIOError as error:
                raise SceneError(
                    f"{self._path} cannot be read in rows {row} to {row + source.height}: the file is cut short or "
                    "damaged; copy or download it again"
                ) from error
            values_hw[inside_hw] = found_hw[rows - row, cols - col]
        return values_hw

    def _in_parts(self, window: Window) -> NDArray[np.int32]:
        height, width = -(-window.height // 2), -(-window.width // 2)
        values_hw = np.full(window.shape, -1, np.int32)
        for row in range(window.row, window.row_stop, height):
            for col in range(window.col, window.col_stop, width):
                part = Window(row, col, height, width).intersection(window)
                if part is not None:
                    values_hw[part.slices_in(window)] = self.read(part)
        return values_hw


def _meet(labels: Grid, scene: Grid) -> bool:
    """Whether two grids share ground; a grid without a place in the other's CRS does not meet it."""
    try:
        x, y = outline_in(scene.crs, labels, near_x=scene.middle_xy[0])
    except SceneError:
        return False
    corners = [(0, 0), (scene.width, 0), (scene.width, scene.height), (0, scene.height)]
    ground = shapely.polygons([scene.transform @ corner for corner in corners])
    return bool(
        shapely.intersection(shapely.make_valid(shapely.polygons(np.column_stack([x, y]))), ground).area > 0
    )
