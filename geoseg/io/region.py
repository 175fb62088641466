"""A region: scenes on one grid, merged pixel by pixel so that neither blocks nor the order of scenes matter."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.raster import SceneReader
from geoseg.io.scene_ref import SceneRef
from geoseg.io.stamp import Stamp

MergeRule = Literal["nearest-centre", "latest", "first"]
"""Which of the scenes that hold data at a pixel gives it."""

NO_SCENE = 65535
"""Where no scene holds data."""

MOST_SCENES = NO_SCENE

_MOST_OPEN = 32
"""Files that a worker keeps open at once."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A scene on a region's grid.

    Attributes:
        name: What it is called among the region's scenes.
        uri: Its address, which breaks ties.
        date: ISO 8601 date-time of the imagery, or None.
        window: The part of the grid that it may hold data in.
        centre_rc: (row, column) of the middle of its footprint on the grid, at pixel corners.
        parts: The files that its bands are read from, one after the other; each on the pixels of `window`.
        outline: (x = column, y = row) of points around its footprint; none where that is all of `window`.
    """

    name: str
    uri: str
    date: str | None
    window: Window
    centre_rc: tuple[float, float]
    parts: tuple[SceneRef, ...]
    outline: tuple[tuple[float, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object, for the plan's hash: where the files lie does not count."""
        parts = [{**part.to_json(), "path": part.path.rpartition("/")[2]} for part in self.parts]
        window = [self.window.row, self.window.col, self.window.height, self.window.width]
        return {"date": self.date, "window": window, "centre": list(self.centre_rc), "parts": parts}

    @property
    def footprint(self) -> shapely.Geometry:
        """The polygon of the pixels that it may hold data in (x = column, y = row)."""
        box = shapely.box(self.window.col, self.window.row, self.window.col_stop, self.window.row_stop)
        if not self.outline:
            return box
        return shapely.intersection(shapely.make_valid(shapely.Polygon(self.outline)), box)

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """Its files, as they were."""
        return tuple(stamp for part in self.parts for stamp in part.stamps)


@dataclass(frozen=True, slots=True)
class Region:
    """Scenes on one grid.

    Attributes:
        grid: The grid.
        scenes: The scenes; where the merge rule leaves a choice, and for "latest" and "first" altogether, the
            first of them that holds data at a pixel gives it.
        merge: The rule.
    """

    grid: Grid
    scenes: tuple[Scene, ...]
    merge: MergeRule = "nearest-centre"

    @classmethod
    def of(cls, ref: SceneRef, name: str, date: str | None = None) -> "Region":
        """A single scene on its own grid."""
        grid = ref.grid
        centre_rc = grid.height / 2, grid.width / 2
        return cls(grid, (Scene(name, ref.path, date, grid.window, centre_rc, (ref,)),))

    @property
    def stamps(self) -> tuple[Stamp, ...]:
        """The files of all scenes, as they were."""
        return tuple(stamp for scene in self.scenes for stamp in scene.stamps)

    @property
    def covered(self) -> tuple[Window, ...] | None:
        """The parts of the grid that scenes lie in; None where one covers all of it."""
        windows = tuple(scene.window for scene in self.scenes)
        return None if self.grid.window in windows else windows


class RegionReader:
    """Windows of a region, in the model's own numbers. Not thread-safe: one reader for each thread."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self._open: OrderedDict[tuple[int, int], SceneReader] = OrderedDict()
        self.bands = sum(len(part.bands) for part in region.scenes[0].parts)
        windows = [scene.window for scene in region.scenes]
        self._start = np.array([(window.row, window.col) for window in windows])
        self._stop = np.array([(window.row_stop, window.col_stop) for window in windows])

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def open_first(self) -> None:
        """Open the first scene, for who wants to know at once that it cannot be.

        Raises:
            SceneError: It cannot.
        """
        for number in range(len(self._region.scenes[0].parts)):
            self._reader(0, number)

    def holds(self, window: Window) -> bool:
        """Whether a scene may hold data in a window, which may reach beyond the grid."""
        return len(self.touching(window)) > 0

    def touching(self, window: Window) -> NDArray[np.int64]:
        """Indices (n,) of the scenes that may hold data in a window."""
        start, stop = (window.row, window.col), (window.row_stop, window.col_stop)
        return np.flatnonzero(((self._start < stop) & (self._stop > start)).all(axis=1))

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """image_chw and valid_hw of a window within the grid, as `SceneReader.read`.

        Raises:
            SceneError: A file cannot be read there, or holds values outside the model's range.
        """
        alone = self._alone(window)
        if alone is not None:
            return self._read(alone, window, with_pixels=True)
        image_chw = np.zeros((self.bands, *window.shape), np.float32)
        valid_hw = np.zeros(window.shape, np.bool_)
        for _, at, part_chw, taken_hw in self._taken(window, with_pixels=True):
            np.copyto(image_chw[:, *at], part_chw, where=taken_hw)
            valid_hw[at] |= taken_hw
        return image_chw, valid_hw

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """valid_hw of a window; reads no pixels where the files keep masks."""
        alone = self._alone(window)
        if alone is not None:
            return self._read(alone, window, with_pixels=False)[1]
        valid_hw = np.zeros(window.shape, np.bool_)
        for _, at, _, taken_hw in self._taken(window, with_pixels=False):
            valid_hw[at] |= taken_hw
        return valid_hw

    def sources(self, window: Window) -> NDArray[np.uint16]:
        """Index of the scene that gives each pixel (row, column) of a window, 65535 where none does."""
        sources_hw = np.full(window.shape, NO_SCENE, np.uint16)
        for index, at, _, taken_hw in self._taken(window, with_pixels=False):
            sources_hw[at][taken_hw] = index
        return sources_hw

    def thumbnail(self, window: Window, longest_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A window at most `longest_px` long, (image_chw, valid_hw), for pictures only: nearest pixels.

        Where scenes overlap, the picture shows the one whose middle is nearer, or that the merge rule prefers.

        Raises:
            SceneError: A scene cannot be read at all, or holds values outside the model's range.
        """
        scenes = self._region.scenes
        if len(scenes) == 1 and len(scenes[0].parts) == 1 and window == self._region.grid.window:
            return self._reader(0, 0).thumbnail(longest_px)
        shrink = max(1.0, max(window.shape) / longest_px)
        shape = max(1, round(window.height / shrink)), max(1, round(window.width / shrink))
        image_chw, valid_hw = np.zeros((self.bands, *shape), np.float32), np.zeros(shape, np.bool_)
        best_hw = np.full(shape, np.inf)
        rows = window.row + (np.arange(shape[0]) + 0.5) * window.height / shape[0]
        cols = window.col + (np.arange(shape[1]) + 0.5) * window.width / shape[1]
        for index in self.touching(window).tolist():
            of_scene = scenes[index].window
            inside_h = np.flatnonzero((rows >= of_scene.row) & (rows < of_scene.row_stop))
            inside_w = np.flatnonzero((cols >= of_scene.col) & (cols < of_scene.col_stop))
            if not len(inside_h) or not len(inside_w):
                continue
            small_chw, small_hw = self._small(index, math.ceil(max(of_scene.shape) / shrink))
            down = ((rows[inside_h] - of_scene.row) * small_hw.shape[0] / of_scene.height).astype(np.int64)
            right = ((cols[inside_w] - of_scene.col) * small_hw.shape[1] / of_scene.width).astype(np.int64)
            at, of_small = np.ix_(inside_h, inside_w), np.ix_(down, right)
            rank_hw = self._rank_at(index, rows[inside_h], cols[inside_w])
            taken_hw = small_hw[of_small] & (rank_hw < best_hw[at])
            for band_hw, small_band_hw in zip(image_chw, small_chw, strict=True):
                band_hw[at] = np.where(taken_hw, small_band_hw[of_small], band_hw[at])
            best_hw[at] = np.where(taken_hw, rank_hw, best_hw[at])
            valid_hw[at] |= taken_hw
        return image_chw, valid_hw

    def _small(self, index: int, longest_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A whole scene at most so long."""
        parts = range(len(self._region.scenes[index].parts))
        pictures = [self._reader(index, number).thumbnail(longest_px) for number in parts]
        # Pictures of files with other pixels are a little smaller or larger.
        height, width = min(valid_hw.shape for _, valid_hw in pictures)
        images, valid = [], []
        for image_chw, valid_hw in pictures:
            down = np.arange(height) * valid_hw.shape[0] // height
            right = np.arange(width) * valid_hw.shape[1] // width
            images.append(image_chw[:, *np.ix_(down, right)])
            valid.append(valid_hw[np.ix_(down, right)])
        return np.concatenate(images), np.logical_and.reduce(valid)

    def _taken(
        self, window: Window, *, with_pixels: bool
    ) -> Iterator[tuple[int, tuple[slice, slice], NDArray[np.float32], NDArray[np.bool_]]]:
        """Scene by scene what is better than all before: its index, where in the window, pixels, and which count.

        A pixel may come again, from a better scene. Those near the window's middle come first, so that few do.
        """
        best_hw = np.full(window.shape, np.inf)
        by_hw = np.full(window.shape, len(self._region.scenes), np.int32)
        for index in self._in_order(window):
            common = self._region.scenes[index].window.intersection(window)
            if common is None:
                continue
            at = common.slices_in(window)
            rank_hw = self._rank(index, common)
            wanted_hw = (rank_hw < best_hw[at]) | ((rank_hw == best_hw[at]) & (index < by_hw[at]))
            box = _box(wanted_hw, common)
            if box is None:
                continue
            image_chw, valid_hw = self._read(index, box, with_pixels=with_pixels)
            taken_hw = valid_hw & wanted_hw[box.slices_in(common)]
            at = box.slices_in(window)
            best_hw[at][taken_hw] = rank_hw[box.slices_in(common)][taken_hw]
            by_hw[at][taken_hw] = index
            yield index, at, image_chw, taken_hw

    def _in_order(self, window: Window) -> list[int]:
        touching = self.touching(window).tolist()
        if self._region.merge != "nearest-centre":
            return touching
        middle = window.row + window.height / 2, window.col + window.width / 2
        return sorted(touching, key=lambda index: _square(self._region.scenes[index].centre_rc, middle))

    def _rank(self, index: int, window: Window) -> NDArray[np.float64]:
        """How good a scene is at the pixels (row, column) of a window; less is better."""
        rows = np.arange(window.row, window.row_stop, dtype=np.float64)
        cols = np.arange(window.col, window.col_stop, dtype=np.float64)
        return self._rank_at(index, rows + 0.5, cols + 0.5)

    def _rank_at(self, index: int, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same at places (n,) along the rows and (m,) along the columns of the grid, (n, m)."""
        if self._region.merge != "nearest-centre":
            return np.broadcast_to(np.float64(index), (len(rows), len(cols)))
        row, col = self._region.scenes[index].centre_rc
        rank_hw: NDArray[np.float64] = ((rows - row) ** 2)[:, None] + (cols - col) ** 2
        return rank_hw

    def _alone(self, window: Window) -> int | None:
        """The scene that has all of a window to itself, so that there is nothing to choose."""
        touching = self.touching(window).tolist()
        return touching[0] if len(touching) == 1 and self._local(touching[0], window) is not None else None

    def _local(self, index: int, window: Window) -> Window | None:
        """A window on the scene's own pixels; None where it reaches beyond them."""
        of_scene = self._region.scenes[index].window
        if of_scene.intersection(window) != window:
            return None
        return Window(window.row - of_scene.row, window.col - of_scene.col, window.height, window.width)

    def _read(
        self, index: int, window: Window, *, with_pixels: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Bands and validity of a window of one scene; without pixels, an image of no bands."""
        local = self._local(index, window)
        if local is None:
            raise ValueError(f"{window} reaches beyond the scene")
        images, valid_hw = [], np.ones(window.shape, np.bool_)
        for number in range(len(self._region.scenes[index].parts)):
            reader = self._reader(index, number)
            if with_pixels:
                image_chw, part_hw = reader.read(local)
                images.append(image_chw)
            else:
                part_hw = reader.read_valid(local)
            valid_hw = valid_hw & part_hw
        if not with_pixels:
            return np.zeros((0, *window.shape), np.float32), valid_hw
        if len(images) == 1:
            return images[0], valid_hw
        image_chw = np.concatenate(images)
        image_chw[:, ~valid_hw] = 0
        return image_chw, valid_hw

    def _reader(self, index: int, number: int) -> SceneReader:
        """The reader of a part of a scene; the one that was not used for longest is closed for it."""
        key = index, number
        if key in self._open:
            self._open.move_to_end(key)
            return self._open[key]
        while len(self._open) >= _MOST_OPEN:
            self._open.popitem(last=False)[1].close()
        reader = SceneReader(self._region.scenes[index].parts[number])
        self._open[key] = reader
        return reader


def _box(wanted_hw: NDArray[np.bool_], window: Window) -> Window | None:
    """The smallest part of a window (row, column) that holds all that is wanted."""
    rows, cols = np.flatnonzero(wanted_hw.any(axis=1)), np.flatnonzero(wanted_hw.any(axis=0))
    if not len(rows):
        return None
    row, col = int(rows[0]), int(cols[0])
    return Window(window.row + row, window.col + col, int(rows[-1]) + 1 - row, int(cols[-1]) + 1 - col)


def _square(one: tuple[float, float], other: tuple[float, float]) -> float:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
