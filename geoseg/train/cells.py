"""The training ground cut into cells of a crop's size, each of which an epoch sees."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.labels import NODATA_CLASS
from geoseg.train.footprint import data_picture
from geoseg.train.scenes import LabelledScene
from geoseg.train.walk import epoch_length


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Squares that cover the labelled ground of scenes, 20 bytes for each.

    Attributes:
        side_px: Their side.
        places_n3: int32 (n, 3): number of the scene, first row and first column; the latter are negative where a
            scene is smaller than a cell.
        weights_n: float64 (n,), the weight of the scene's entry.
    """

    side_px: int
    places_n3: NDArray[np.int32]
    weights_n: NDArray[np.float64]

    @classmethod
    def of(cls, scenes: Sequence[LabelledScene], side_px: int) -> Self:
        """Cut the regions of open scenes.

        Cells lie on a lattice from the first pixel of the region's bounds on; the last of a row or column are
        moved in, to be whole. A scene or region that is narrower than a cell has one across. Cells without labels
        are left out, and so are those without data under their labels; all labels are read for that, once. Where a
        picture of 1,024 px shows data in a cell, it is taken to hold some.

        Args:
            scenes: Open scenes.
            side_px: Side of the cells.

        Raises:
            SceneError: Nothing is labelled, or a file cannot be read.
        """
        places = [
            (number, window.row, window.col)
            for number, scene in enumerate(scenes)
            for window in _with_ground(scene, side_px)
        ]
        if not places:
            raise SceneError("expected labelled pixels with data in the training regions, found none")
        places_n3 = np.array(places, np.int32)
        weights = np.array([scene.source.weight for scene in scenes])
        return cls(side_px, places_n3, weights[places_n3[:, 0]])

    def __len__(self) -> int:
        return len(self.places_n3)

    @property
    def epoch_length(self) -> int:
        """How many windows an epoch has: the cells, each as often as its weight says."""
        return epoch_length(self.weights_n)

    def place(self, cell: int) -> tuple[int, Window]:
        """A cell's scene number and window."""
        number, row, col = self.places_n3[cell].tolist()
        return number, Window(row, col, self.side_px, self.side_px)


def moved_in(pixels: shapely.Geometry, grid: Grid, side_px: int, row: int, col: int) -> Window:
    """A square window moved to lie within the bounds of a region, or else of the grid, where it fits.

    Args:
        pixels: The region in pixel coordinates (x = column, y = row).
        grid: Of the scene.
        side_px: Side of the window.
        row: Its first row before it is moved.
        col: Its first column.
    """
    (top, bottom), (left, right) = _bounds(pixels)
    return Window(
        _clamp(row, side_px, top, bottom, grid.height),
        _clamp(col, side_px, left, right, grid.width),
        side_px,
        side_px,
    )


def _bounds(pixels: shapely.Geometry) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first pixel whose centre may lie in a region, and the one after the last, of rows and of columns."""
    x_min, y_min, x_max, y_max = pixels.bounds
    return (
        (math.ceil(y_min - 0.5), math.floor(y_max + 0.5)),
        (math.ceil(x_min - 0.5), math.floor(x_max + 0.5)),
    )


def _clamp(start: int, length: int, low: int, high: int, size: int) -> int:
    """Move [start, start + length) into [low, high), or else into [0, size), where it fits; else centre it."""
    for first, last in ((low, high), (0, size)):
        if last - first >= length:
            return min(max(start, first), last - length)
    return (size - length) // 2


def _starts(low: int, high: int, side_px: int, size: int) -> NDArray[np.int64]:
    """Where the cells that cover [low, high) begin along an axis."""
    count = max(1, math.ceil((high - low) / side_px))
    if count == 1:
        return np.array([_clamp((low + high - side_px) // 2, side_px, low, high, size)])
    return np.minimum(low + side_px * np.arange(count), high - side_px)


def _lattice(scene: LabelledScene, side_px: int) -> Iterator[Window]:
    """The cells that meet a scene's region, in raster order."""
    (top, bottom), (left, right) = _bounds(scene.pixels)
    rows = _starts(top, bottom, side_px, scene.grid.height)
    cols = _starts(left, right, side_px, scene.grid.width)
    shapely.prepare(scene.pixels)
    for row in rows.tolist():
        boxes = shapely.box(cols, row, cols + side_px, row + side_px)
        for col in cols[shapely.intersects(scene.pixels, boxes)].tolist():
            yield Window(row, col, side_px, side_px)


def _with_ground(scene: LabelledScene, side_px: int) -> Iterator[Window]:
    """The cells of a scene that hold labels and data."""
    labelled = [window for window in _lattice(scene, side_px) if scene.is_labelled(window)]
    # The picture is for where data may be missing by the cell; one window is not worth it.
    picture_hw = data_picture(scene) if len(labelled) > 1 else None
    for window in labelled:
        if picture_hw is None or _shows_data(picture_hw, scene.grid, window) or _holds_data(scene, window):
            yield window


def _shows_data(picture_hw: NDArray[np.bool_], grid: Grid, window: Window) -> bool:
    """Whether a picture of a whole scene shows data in a window."""
    spans = []
    for start, stop, shown, size in zip(
        (window.row, window.col),
        (window.row_stop, window.col_stop),
        picture_hw.shape,
        grid.window.shape,
        strict=True,
    ):
        spans.append(slice(max(0, start * shown // size), -(-stop * shown // size)))
    return bool(picture_hw[*spans].any())


def _holds_data(scene: LabelledScene, window: Window) -> bool:
    """Whether there is data under labels; a damaged file says so here rather than to leave its cells out."""
    _, valid_hw = scene.image(window)
    return bool((valid_hw & (scene.labels(window) != NODATA_CLASS)).any())
