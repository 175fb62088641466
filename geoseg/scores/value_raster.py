"""A raster of whole numbers as reference: its values at the centres of a run's pixels, wherever its own lie."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import GeosegError, SceneError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.drivers import open_raster
from geoseg.io.source_grid import crs_name

_MOST_PX = 2**25
"""Pixels of the reference that are read at once; of a much finer one, smaller windows are."""


class ValueRaster:
    """A raster of whole numbers, open for reading on one thread.

    Attributes:
        path: The file.
        nodata: What it says that its number for no data is.
    """

    def __init__(self, path: Path, grid: Grid) -> None:
        """Open it.

        Args:
            path: A local raster with one band of whole numbers and a CRS.
            grid: The run's grid.

        Raises:
            GeosegError: It cannot be opened, has no CRS, holds no whole numbers, or does not meet the grid.
        """
        dataset = open_raster(str(path))
        assert isinstance(dataset, DatasetReader)  # no address of the web comes here
        self._dataset, self._grid = dataset, grid
        self.path, self.nodata = path, dataset.nodata
        if dataset.crs is None:
            raise GeosegError(
                f"expected a reference with a CRS, {path} has none: say it in the file (gdal_edit.py)"
            )
        if dataset.count != 1 or np.dtype(dataset.dtypes[0]).kind not in "ui":
            raise GeosegError(
                f"expected one band of whole numbers (classes, or ids of objects), {path} has {dataset.count} of "
                f"{dataset.dtypes[0]}: give such a raster"
            )
        crs, own = parse_crs(grid.crs), parse_crs(crs_name(dataset.crs))
        self._move = None if crs == own else Transformer.from_crs(crs, own, always_xy=True)
        if not self._meets_grid():
            raise GeosegError(
                f"{path} lies elsewhere than the run: expected labels of the same place, its bounds are "
                f"{', '.join(f'{one:.6g}' for one in dataset.bounds)} in {own.name}"
            )

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def read(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The number (row, column) at the centre of each pixel of a window of the grid, and where there is data.

        No pixel depends on the window. Where there is no data the number is whatever the file holds, and 0 beyond
        its edges.

        Raises:
            GeosegError: The file is damaged.
        """
        rows_hw, cols_hw, inside_hw = self._places(window)
        values_hw, valid_hw = np.zeros(window.shape, np.int64), np.zeros(window.shape, np.bool_)
        if not inside_hw.any():
            return values_hw, valid_hw
        rows, cols = rows_hw[inside_hw], cols_hw[inside_hw]
        row, col = int(rows.min()), int(cols.min())
        source = RasterioWindow(col, row, int(cols.max()) + 1 - col, int(rows.max()) + 1 - row)
        if source.width * source.height > _MOST_PX and max(window.shape) > 1:
            return self._in_parts(window)
        try:
            found_hw = self._dataset.read(1, window=source).astype(np.int64)
            known_hw = self._dataset.read_masks(1, window=source) != 0
        except RasterioError as error:
            raise GeosegError(f"{self.path} cannot be read ({error}): copy it again") from error
        values_hw[inside_hw] = found_hw[rows - row, cols - col]
        valid_hw[inside_hw] = known_hw[rows - row, cols - col]
        return values_hw, valid_hw

    def inside(self, window: Window) -> NDArray[np.bool_]:
        """Which pixels (row, column) of a window of the grid have their centre in the raster, with data or not."""
        return self._places(window)[2]

    def _in_parts(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        height, width = -(-window.height // 2), -(-window.width // 2)
        values_hw, valid_hw = np.zeros(window.shape, np.int64), np.zeros(window.shape, np.bool_)
        for row in range(window.row, window.row_stop, height):
            for col in range(window.col, window.col_stop, width):
                part = Window(row, col, height, width).intersection(window)
                if part is not None:
                    at = part.slices_in(window)
                    values_hw[at], valid_hw[at] = self.read(part)
        return values_hw, valid_hw

    def _places(self, window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Row and column of the raster that hold the centre of each pixel, and whether it has such."""
        cols_hw, rows_hw = np.meshgrid(
            np.arange(window.col, window.col_stop) + 0.5, np.arange(window.row, window.row_stop) + 0.5
        )
        t = self._grid.transform
        x_hw, y_hw = t.a * cols_hw + t.b * rows_hw + t.c, t.d * cols_hw + t.e * rows_hw + t.f
        if self._move is not None:
            x_hw, y_hw = self._move.transform(x_hw, y_hw)
        i = ~self._dataset.transform
        with np.errstate(invalid="ignore"):
            col_hw, row_hw = np.floor(i.a * x_hw + i.b * y_hw + i.c), np.floor(i.d * x_hw + i.e * y_hw + i.f)
            inside_hw = (col_hw >= 0) & (col_hw < self._dataset.width)
            inside_hw &= (row_hw >= 0) & (row_hw < self._dataset.height)
        zeros = np.zeros(window.shape)
        col_hw, row_hw = np.where(inside_hw, col_hw, zeros), np.where(inside_hw, row_hw, zeros)
        return row_hw.astype(np.int64), col_hw.astype(np.int64), inside_hw

    def _meets_grid(self) -> bool:
        """Whether any of 64 x 64 places on the grid, or the middle of the raster, lies in the other."""
        rows = np.unique(np.linspace(0, self._grid.height - 1, 64).astype(np.int64))
        cols = np.unique(np.linspace(0, self._grid.width - 1, 64).astype(np.int64))
        if any(self._places(Window(int(row), int(col), 1, 1))[2].any() for row in rows for col in cols):
            return True
        x, y = self._dataset.transform @ (self._dataset.width / 2, self._dataset.height / 2)
        if self._move is not None:
            x, y = self._move.transform(x, y, direction="INVERSE")
        col, row = ~self._grid.transform @ (x, y)
        return bool(0 <= col < self._grid.width and 0 <= row < self._grid.height)


def is_raster(path: Path) -> bool:
    """Whether a file opens as a raster of a format that is read."""
    try:
        open_raster(str(path)).close()
    except SceneError:
        return False
    return True
