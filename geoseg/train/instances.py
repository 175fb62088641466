"""The objects of labelled scenes: which pixels are whose, and where each has its centre, in its whole scene."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.grid import Window
from geoseg.objects.whole_components import WholeComponents
from geoseg.progress import Advance
from geoseg.squares import Squares
from geoseg.train.batch import Instances
from geoseg.train.centres import REACH_PX
from geoseg.train.scenes import LabelledScene
from geoseg.train.things import Things

_SIDE_PX = 512

_SQUARES = 64
"""Squares of objects that all scenes keep together, 64 MB."""

_MANY = 2**18
"""Entries of a table under way from which on those of the same object are added up."""

_NAMED = 3
"""Scenes that a message names; the others are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class InstanceTable:
    """The objects of a scene, 32 bytes for each.

    Attributes:
        ids_n: int64 (n,), their numbers, sorted.
        centres_n2: float64 (n, 2), row and column of the centre of mass of all of an object's pixels, counted from
            the grid's corner: the first pixel's centre is at (0.5, 0.5).
        pixels_n: int64 (n,), how many these are.
    """

    ids_n: NDArray[np.int64]
    centres_n2: NDArray[np.float64]
    pixels_n: NDArray[np.int64]

    @classmethod
    def of(cls, parts: Iterable[tuple[Window, NDArray[np.int32]]]) -> Self:
        """Add up the pixels of objects; sums are of whole numbers, so that no order of the parts matters.

        Args:
            parts: Windows that do not overlap, and the object of each of their pixels (row, column), 0 for none.
        """
        table = np.empty((4, 0), np.int64)  # number, pixels, sum of rows, sum of columns
        held = [table]
        for window, ids_hw in parts:
            held.append(_sums(window, ids_hw))
            if sum(one.shape[1] for one in held[1:]) > max(_MANY, held[0].shape[1]):
                held = [_together(held)]
        ids_n, pixels_n, rows_n, cols_n = _together(held)
        centres_n2 = np.stack([rows_n / pixels_n, cols_n / pixels_n], 1) + 0.5
        return cls(ids_n, centres_n2, pixels_n)

    def __len__(self) -> int:
        return len(self.ids_n)


class SceneInstances:
    """The objects of a scene, for reading on one thread.

    Which pixels are of which object is said by the scene's labels (`LabelledScene.objects`), of pixels of things.
    Where labels say classes alone, an object is a 4-connected component of a class of things in the whole
    scene: objects that touch are then one. Regions cut nothing: an object on their border is whole.

    Attributes:
        table: The objects.
        are_components: Whether labels say classes alone.
        overlap_px: Pixels that several features of things hold, of which the last one has them.
    """

    def __init__(
        self,
        scene: LabelledScene,
        things: Things,
        kept: int = _SQUARES,
        side_px: int = _SIDE_PX,
        advance: Advance | None = None,
    ) -> None:
        """Look at all labels of the scene, a square at a time.

        Args:
            scene: An open scene.
            things: Which labels are things.
            kept: How many squares are kept for reading.
            side_px: Side of the squares; it changes no object.
            advance: Told of pixels that were looked at.

        Raises:
            SceneError: Labels cannot be read.
        """
        self._scene, self._things = scene, things
        shape, whole = (scene.grid.height, scene.grid.width), scene.grid.window
        self._components: WholeComponents | None = None
        corner = Window(0, 0, 1, 1)
        self.are_components = scene.objects(corner) is None
        if self.are_components:
            self._components = WholeComponents(scene.coded, shape, things.ids, side_px)
        self._squares = Squares(self._square, shape, side_px, kept)
        self.overlap_px = 0
        windows = [
            Window(row, col, side_px, side_px).intersection(whole)
            for row in range(0, shape[0], side_px)
            for col in range(0, shape[1], side_px)
        ]
        self.table = InstanceTable.of(self._parts([window for window in windows if window is not None], advance))

    def ids(self, window: Window) -> NDArray[np.int32]:
        """The object of each pixel (row, column) of a window on the grid, the same whatever window is read.

        Returns:
            From 1 on; 0 where there is none, or none that is known.

        Raises:
            SceneError: Labels cannot be read.
        """
        return self._squares.read(window)

    def crop(self, window: Window) -> Instances:
        """The objects of a window, which may reach beyond the grid: those with a pixel in it, and those nearby.

        Raises:
            SceneError: Labels cannot be read.
        """
        ids_hw = np.zeros(window.shape, np.int32)
        inside = window.intersection(self._scene.grid.window)
        if inside is not None:
            ids_hw[inside.slices_in(window)] = self.ids(inside)
        centres_n2 = self.table.centres_n2 - (window.row, window.col)
        # Also what lies beside the window may be seen in it, where it has its centre near the edge.
        near_n2 = (centres_n2 > -REACH_PX) & (centres_n2 < np.array(window.shape) + REACH_PX)
        chosen_n = near_n2[:, 0] & near_n2[:, 1]
        there_hw = ids_hw > 0
        at = np.searchsorted(self.table.ids_n, ids_hw[there_hw])
        chosen_n[at] = True
        ids_hw[there_hw] = np.cumsum(chosen_n)[at]
        return Instances(ids_hw, centres_n2[chosen_n], self.table.pixels_n[chosen_n].astype(np.float64))

    def _parts(
        self, windows: Sequence[Window], advance: Advance | None
    ) -> Iterator[tuple[Window, NDArray[np.int32]]]:
        for window in windows:
            depth_hw = self._scene.features_on(window, self._things.ids)
            if depth_hw is not None:
                self.overlap_px += int(np.count_nonzero(depth_hw > 1))
            yield window, self._square(window)
            if advance is not None:
                advance(window.height * window.width)

    def _square(self, window: Window) -> NDArray[np.int32]:
        if self._components is not None:
            return self._components.square(window)
        is_thing_hw = self._things.is_v[self._scene.coded(window)]
        ids_hw = self._scene.objects(window) if is_thing_hw.any() else None
        return np.zeros(window.shape, np.int32) if ids_hw is None else np.where(is_thing_hw, ids_hw, 0)


def instances_of(
    scenes: Sequence[LabelledScene], things: Things, advance: Advance | None = None
) -> tuple[SceneInstances, ...]:
    """The objects of scenes, in their order.

    Args:
        scenes: Open scenes.
        things: Which labels are things.
        advance: Told of pixels that were looked at.

    Raises:
        SceneError: Labels cannot be read.
    """
    kept = max(4, _SQUARES // max(1, len(scenes)))
    return tuple(SceneInstances(scene, things, kept, advance=advance) for scene in scenes)


def doubts(scenes: Sequence[LabelledScene], found: Sequence[SceneInstances]) -> tuple[str, ...]:
    """What is doubtful about the objects of training scenes, a line each.

    Args:
        scenes: The scenes.
        found: Their objects.

    Raises:
        ConfigError: There is not one.
    """
    if not any(len(one.table) for one in found):
        raise ConfigError(
            "architecture.instances: expected objects of things in the training scenes, found none: label some, or "
            "check the numbers of the rasters in instances"
        )
    lines = []
    touching = [scene.source.name for scene, one in zip(scenes, found, strict=True) if one.are_components]
    if touching:
        lines.append(
            f"labels of {_listed(touching)} say classes alone: objects that touch count as one there; name a "
            "raster of objects (instances), or polygons as labels"
        )
    overlapping = [scene.source.name for scene, one in zip(scenes, found, strict=True) if one.overlap_px]
    if overlapping:
        pixels = sum(one.overlap_px for one in found)
        lines.append(
            f"objects overlap on {pixels} pixels of {_listed(overlapping)}: each of these is of the object that "
            "comes last in its file"
        )
    return tuple(lines)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"


def _sums(window: Window, ids_hw: NDArray[np.int32]) -> NDArray[np.int64]:
    """Of each object in a window its number, pixels, and the sums of their rows and columns on the grid (4, n)."""
    rows, cols = np.nonzero(ids_hw)
    ids_n, at = np.unique(ids_hw[rows, cols], return_inverse=True)
    pixels_n = np.bincount(at, minlength=len(ids_n))
    # Sums of whole numbers below 2^53 are exact in bincount's floats.
    rows_n = np.bincount(at, weights=rows, minlength=len(ids_n)).astype(np.int64) + pixels_n * window.row
    cols_n = np.bincount(at, weights=cols, minlength=len(ids_n)).astype(np.int64) + pixels_n * window.col
    return np.stack([ids_n.astype(np.int64), pixels_n, rows_n, cols_n])


def _together(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Tables (4, n) as one, in which each object is once, sorted by number."""
    table = np.concatenate(parts, axis=1)
    table = table[:, np.argsort(table[0], kind="stable")]
    first = np.flatnonzero(np.diff(table[0], prepend=-1))
    if not len(first):
        return table
    return np.concatenate([table[:1, first], np.add.reduceat(table[1:], first, axis=1)])
