"""Labels of a chip on a scene's grid, whatever the format that it keeps them in."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geoseg.datasets.chips import WithInstances
from geoseg.datasets.label_files import REST, ChipFile
from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.io.scene_ref import SceneRef
from geoseg.labels import NODATA_CLASS

_ValueT = TypeVar("_ValueT", bound=np.generic)


class ChipLabels:
    """A chip's labels, drawn once, at the centres of a scene's pixels.

    Args:
        file: The chip, and what its categories mean.
        scene: The chip's image.
        rest: The label of "none of the classes that the data set labels".
    """

    def __init__(self, file: ChipFile, scene: SceneRef, rest: int) -> None:
        self._file, self._scene = file, scene
        self._values = {name: rest if meaning == REST else meaning for name, meaning in file.ids.items()}
        self._background = rest if file.rest == REST else file.rest
        self._drawn_hw: NDArray[np.uint8] | None = None
        self._planes_khw: NDArray[np.uint8] | None = None
        self._objects_hw: NDArray[np.int32] | None = None

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Coded labels (row, column) of a window of the grid.

        Raises:
            ConfigError: A category of the chip has no meaning.
            SceneError: The labels cannot be read, or do not fit the image.
        """
        if self._drawn_hw is None:
            self._drawn_hw = self._checked(self._file.chip.draw(self._values, self._background))
        return self._at(self._drawn_hw, window)

    def planes(self, window: Window, classes: int) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column): 1, 0, or `NODATA_CLASS`; errors as for `read`."""
        if self._planes_khw is None:
            self._planes_khw = self._checked(self._file.chip.planes(self._values, classes))
        return self._at(self._planes_khw, window)

    def objects(self, window: Window) -> NDArray[np.int32] | None:
        """The object of each pixel of a window of the grid, int32 (row, column).

        Returns:
            From 1 on an object of one of the classes, whatever window is read; 0 where there is none, or it is not
            known which. None where the chip's format does not tell objects apart.

        Raises:
            SceneError: As for `read`.
        """
        chip = self._file.chip
        if not isinstance(chip, WithInstances):
            return None
        if self._objects_hw is None:
            learned = {name for name, meaning in self._file.ids.items() if meaning not in (REST, NODATA_CLASS)}
            self._objects_hw = self._checked(chip.instances(learned))
        return self._at(self._objects_hw, window)

    def close(self) -> None:
        """Forget what was drawn."""
        self._drawn_hw = self._planes_khw = self._objects_hw = None

    def _checked(self, drawn: NDArray[_ValueT]) -> NDArray[_ValueT]:
        expected = self._scene.source_height, self._scene.source_width
        if drawn.shape[-2:] != expected:
            raise SceneError(
                f"{self._file.chip.where} has labels of {drawn.shape[-2]} x {drawn.shape[-1]} px, its image "
                f"{self._scene.path} has {expected[0]} x {expected[1]} px: expected the same"
            )
        for axis, against in zip((-2, -1), self._scene.flip_yx, strict=True):
            drawn = np.flip(drawn, axis) if against else drawn
        return drawn

    def _at(self, drawn: NDArray[_ValueT], window: Window) -> NDArray[_ValueT]:
        """The label that holds each pixel's centre."""
        row_axis, col_axis = self._scene.axes
        rows = row_axis.nearest(window.row, window.row_stop)
        cols = col_axis.nearest(window.col, window.col_stop)
        return np.ascontiguousarray(drawn[..., rows[:, None], cols[None, :]])
