"""A class raster as reference: its values at the centres of a run's pixels, in any CRS and resolution."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import GeosegError, SceneError
from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.drivers import open_raster
from geoseg.io.scene import crs_name
from geoseg.labels import NODATA_CLASS

_MOST_PX = 2**25
"""Pixels of the reference that are read at once; of a much finer one, smaller windows are."""


class ClassRaster:
    """A raster of class values, open for reading on one thread.

    Attributes:
        ids: From its values to class ids; `NODATA_CLASS` for values that say nothing.
    """

    def __init__(self, path: Path, grid: Grid, ids: Mapping[int, int] | None, classes: int) -> None:
        """Open it.

        Args:
            path: A local raster with one band of whole numbers and a CRS.
            grid: The run's grid.
            ids: From values to class ids, or to `NODATA_CLASS`; None: class ids from 0 on as in a run's classes.tif
                or, where the file says that 0 is nodata, from 1 on.
            classes: How many classes there are.

        Raises:
            GeosegError: It cannot be opened, has no CRS, is no raster of classes, or does not meet the grid.
        """
        dataset = open_raster(str(path))
        assert isinstance(dataset, DatasetReader)  # no address of the web comes here
        self._dataset, self._path, self._grid = dataset, path, grid
        if dataset.crs is None:
            raise GeosegError(
                f"expected a reference with a CRS, {path} has none: say it in the file (gdal_edit.py)"
            )
        if dataset.count != 1 or np.dtype(dataset.dtypes[0]).kind not in "ui":
            raise GeosegError(
                f"expected one band of whole numbers (class values), {path} has {dataset.count} of "
                f"{dataset.dtypes[0]}: give the class raster"
            )
        first = 1 if dataset.nodata == 0 else 0
        self.ids = dict(ids) if ids is not None else {first + number: number for number in range(classes)}
        if ids is None and first == 0:
            self.ids[NODATA_CLASS] = NODATA_CLASS
        crs, own = parse_crs(grid.crs), parse_crs(crs_name(dataset.crs))
        self._move = None if crs == own else Transformer.from_crs(crs, own, always_xy=True)
        if not self._meets_grid():
            raise GeosegError(
                f"{path} lies elsewhere than the run: expected labels of the same place, its bounds are "
                f"{', '.join(f'{one:.6g}' for one in dataset.bounds)} in {own.name}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._dataset.close()

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids_hw of a window of the grid, `NODATA_CLASS` where the reference says nothing.

        Each pixel has the value at its centre, so that none depends on the window.

        Raises:
            GeosegError: A value is no class, or the file is damaged.
        """
        rows_hw, cols_hw, inside_hw = self._places(window)
        ids_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
        if not inside_hw.any():
            return ids_hw
        rows, cols = rows_hw[inside_hw], cols_hw[inside_hw]
        row, col = int(rows.min()), int(cols.min())
        source = RasterioWindow(col, row, int(cols.max()) + 1 - col, int(rows.max()) + 1 - row)
        if source.width * source.height > _MOST_PX and max(window.shape) > 1:
            return self._in_parts(window)
        try:
            values_hw = self._dataset.read(1, window=source).astype(np.int64)
            valid_hw = self._dataset.read_masks(1, window=source) != 0
        except RasterioError as error:
            raise GeosegError(f"{self._path} cannot be read ({error}): copy it again") from error
        values, valid = values_hw[rows - row, cols - col], valid_hw[rows - row, cols - col]
        ids_hw[inside_hw] = np.where(valid, self._encoded(np.where(valid, values, -1)), NODATA_CLASS)
        return ids_hw

    def _in_parts(self, window: Window) -> NDArray[np.uint8]:
        height, width = -(-window.height // 2), -(-window.width // 2)
        ids_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
        for row in range(window.row, window.row_stop, height):
            for col in range(window.col, window.col_stop, width):
                part = Window(row, col, height, width).intersection(window)
                if part is not None:
                    ids_hw[part.slices_in(window)] = self.read(part)
        return ids_hw

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

    def _encoded(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Class ids (n,) of values (n,), -1 standing for none."""
        ids = np.full(len(values), NODATA_CLASS, np.uint8)
        for value in np.unique(values).tolist():
            if value in self.ids:
                ids[values == value] = self.ids[value]
            elif value != -1:
                raise GeosegError(
                    f"{self._path} holds the value {value}: expected {', '.join(map(str, sorted(self.ids)))}; say "
                    f"what it means with --value {value}=CLASS, or --value {value}= for nothing"
                )
        return ids


def is_raster(path: Path) -> bool:
    """Whether a file opens as a raster of a format that is read."""
    try:
        open_raster(str(path)).close()
    except SceneError:
        return False
    return True


def coding(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, int] | None:
    """From values in text to class ids, `NODATA_CLASS` for those that mean nothing; None of no pairs.

    Args:
        pairs: A value and the name of its class, or nothing.
        names: Class names by id.

    Raises:
        GeosegError: A class is not known.
    """
    for value, name in pairs:
        if name and name not in names:
            raise GeosegError(f"--value {value}={name}: expected a class of {', '.join(names)}, got {name}")
    return {value: names.index(name) if name else NODATA_CLASS for value, name in pairs} or None
