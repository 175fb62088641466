"""Rasters as reference: of classes, or of the ids of a class's objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window
from geoseg.labels import NO_OBJECT_CLASS, NODATA_CLASS
from geoseg.scores.value_raster import ValueRaster


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
            GeosegError: As `ValueRaster`.
        """
        self._values = ValueRaster(path, grid)
        first = 1 if self._values.nodata == 0 else 0
        self.ids = dict(ids) if ids is not None else {first + number: number for number in range(classes)}
        if ids is None and first == 0:
            self.ids[NODATA_CLASS] = NODATA_CLASS

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._values.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._values.path

    @property
    def areas(self) -> tuple[int, ...]:
        """Ids of the classes that it tells apart."""
        return tuple(sorted({one for one in self.ids.values() if one != NODATA_CLASS}))

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids_hw of a window of the grid, `NODATA_CLASS` where the reference says nothing.

        Each pixel has the value at its centre, so that none depends on the window.

        Raises:
            GeosegError: A value is no class, or the file is damaged.
        """
        values_hw, valid_hw = self._values.read(window)
        ids_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
        ids_hw[valid_hw] = self._encoded(values_hw[valid_hw])
        return ids_hw

    def _encoded(self, values: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Class ids (n,) of values (n,)."""
        ids = np.full(len(values), NODATA_CLASS, np.uint8)
        for value in np.unique(values).tolist():
            if value not in self.ids:
                raise GeosegError(
                    f"{self.path} holds the value {value}: expected {', '.join(map(str, sorted(self.ids)))}; say "
                    f"what it means with --value {value}=CLASS, or --value {value}= for nothing"
                )
            ids[values == value] = self.ids[value]
        return ids


class IdRaster:
    """A raster that says which object of a class each pixel is of, open for reading on one thread.

    Its number 0 is ground without an object, also where the file says that 0 is nodata; other nodata says nothing.

    Attributes:
        class_id: The class.
    """

    def __init__(self, path: Path, grid: Grid, class_id: int) -> None:
        """Open it.

        Args:
            path: A local raster with one band of whole numbers and a CRS.
            grid: The run's grid.
            class_id: Class of its objects.

        Raises:
            GeosegError: As `ValueRaster`.
        """
        self._values = ValueRaster(path, grid)
        self.class_id = class_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._values.close()

    @property
    def areas(self) -> tuple[int, ...]:
        """The class alone."""
        return (self.class_id,)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids_hw of a window of the grid, `NODATA_CLASS` where the reference says nothing.

        Where it says that there is no object they are `NO_OBJECT_CLASS`.

        Raises:
            GeosegError: As `read_ids`.
        """
        return self.segments(window)[0]

    def segments(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Class ids_hw as of `read`, and ids_hw as of `read_ids`.

        Raises:
            GeosegError: As `read_ids`.
        """
        ids_hw = self.read_ids(window)
        drawn_hw = np.where(ids_hw > 0, np.uint8(self.class_id), np.uint8(NO_OBJECT_CLASS))
        return np.where(ids_hw < 0, np.uint8(NODATA_CLASS), drawn_hw), ids_hw

    def read_ids(self, window: Window) -> NDArray[np.int64]:
        """The object of each pixel (row, column) of a window: from 1 on, 0 for none, -1 where nothing is said.

        Raises:
            GeosegError: A number is below 0, or the file is damaged.
        """
        values_hw, valid_hw = self._values.read(window)
        if (values_hw[valid_hw] < 0).any():
            raise GeosegError(
                f"{self._values.path} holds the number {values_hw[valid_hw].min()}: expected ids of objects from 1 "
                "on, and 0 where there is none"
            )
        if self._values.nodata == 0:
            inside_hw = self._values.inside(window)
            return np.where(inside_hw, values_hw, -1)
        return np.where(valid_hw, values_hw, -1)


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
