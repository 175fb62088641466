"""Training windows, read on the fly from large scenes; a window's number and the seed decide it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.batch import Sample
from geoseg.train.cells import Cells, moved_in
from geoseg.train.class_index import ClassIndex
from geoseg.train.instances import SceneInstances
from geoseg.train.scenes import LabelledScene
from geoseg.train.walk import Walk

_TRIES = 16
"""Windows drawn for one cell before the one with the most labels is taken as it is."""

_ENOUGH = 1 / 16
"""Share of a window that must be labelled for it to be taken at once."""

_STATISTICS_CROPS = 256
_STATISTICS_SEED = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """Which windows are drawn besides those that are uniform over the ground.

    Attributes:
        share: Share of the windows that are drawn around a pixel of a class.
        by: "class": each class as often as any other; "inverse_frequency": as the inverse of its pixels.
    """

    share: float = 0.5
    by: Literal["class", "inverse_frequency"] = "class"


class Sampler:
    """Square windows of the training regions; the i-th depends on the seed and i alone.

    Each epoch sees each cell of the ground once, or as often as its weight says, in a new order (`Walk`), by a
    window that is moved by up to half a cell, so that crops differ from epoch to epoch. Windows are moved to lie
    within the bounds of their region where it is large enough: pixels of another split are then not even seen as
    surroundings.

    Where windows are balanced, a share of them, spread evenly over the indices, is drawn at random around pixels of
    classes, with replacement; the others go on with the walk, which then takes 1 / (1 - share) as many indices.
    """

    def __init__(
        self,
        scenes: tuple[LabelledScene, ...],
        cells: Cells,
        imagery: Imagery,
        seed: int,
        balance: Balance | None = None,
        *,
        overlapping: bool = False,
        instances: Sequence[SceneInstances] | None = None,
    ) -> None:
        """Remember what to draw from; labels are read once where windows are balanced, else nothing is.

        Args:
            scenes: Open scenes; they are read on the thread that asks for samples.
            cells: Of these scenes.
            imagery: What the model expects.
            seed: Of all choices.
            balance: Windows around pixels of classes; None for the walk alone.
            overlapping: Whether classes may overlap: samples then have planes.
            instances: The objects of each scene, which samples then have; None for none.

        Raises:
            SceneError: Labels cannot be read.
            ConfigError: Windows are to be balanced, and no class has a pixel.
        """
        self._scenes = scenes
        self._cells = cells
        self._imagery = imagery
        self._seed = seed
        self._overlapping = overlapping
        self._instances = None if instances is None else dict(zip(map(id, scenes), instances, strict=True))
        self._walk = Walk(cells.weights_n, seed)
        weights = np.array([scene.source.weight for scene in scenes])
        self._balance = balance
        if balance is not None:
            self._index = ClassIndex.of(scenes, scenes[0].classes)
            of_cell = np.array([weights[number] for number, _ in self._index.cells])
            self._pixels_nk = self._index.pixels_nk * of_cell[:, None]
            pixels_k = self._pixels_nk.sum(0)
            if not pixels_k.any():
                raise ConfigError("sampling: expected pixels of a class in the training regions, found none")
            chances_k = np.zeros(len(pixels_k))
            there_k = pixels_k > 0
            chances_k[there_k] = 1 if balance.by == "class" else 1 / pixels_k[there_k]
            self._chances_k = chances_k / chances_k.sum()

    def sample(self, index: int, side_px: int) -> Sample:
        """The window with a number.

        Args:
            index: Its number.
            side_px: Its side.

        Raises:
            SceneError: A file is damaged there, or holds a label that means nothing.
        """
        rng = np.random.default_rng([self._seed, index])
        share = 0.0 if self._balance is None else self._balance.share
        before = math.floor(index * share)
        if math.floor((index + 1) * share) > before:
            return self._read(*self._around_class(rng, side_px))
        return self._read(*self._of_cell(self._walk.cell(index - before), rng, side_px))

    def _read(self, scene: LabelledScene, window: Window, labels_hw: NDArray[np.uint8]) -> Sample:
        image_chw, valid_hw = scene.image(window)
        if self._overlapping:
            labels_hw = scene.planes(window)
        labels_hw[..., ~valid_hw] = NODATA_CLASS
        return Sample(
            image_chw,
            valid_hw,
            labels_hw,
            f"{scene.source.name} at row {window.row}, column {window.col}",
            None if self._instances is None else self._instances[id(scene)].crop(window),
        )

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per band over the labelled data pixels of the first 256 windows of seed 0.

        Returns:
            Means and standard deviations in the raster's own numbers, whatever the seed and the balance; a constant
            band has deviation 1.

        Raises:
            SceneError: No crop holds data.
        """
        bands = len(self._imagery.bands)
        count, total_c, squares_c = 0, np.zeros(bands), np.zeros(bands)
        walk = Walk(self._cells.weights_n, _STATISTICS_SEED)
        for index in range(_STATISTICS_CROPS):
            rng = np.random.default_rng([_STATISTICS_SEED, index])
            sample = self._read(*self._of_cell(walk.cell(index), rng, self._cells.side_px))
            values_cn = sample.image_chw[:, sample.valid_hw & sample.labelled_hw].astype(np.float64)
            count += values_cn.shape[1]
            total_c += values_cn.sum(1)
            squares_c += (values_cn**2).sum(1)
        if count == 0:
            raise SceneError("expected labelled pixels with data in the training regions, found none")
        mean_c = total_c / count
        std_c = np.sqrt(np.maximum(squares_c / count - mean_c**2, 0))
        std_c[std_c == 0] = 1
        return tuple(mean_c.tolist()), tuple(std_c.tolist())

    def _of_cell(
        self, cell: int, rng: np.random.Generator, side_px: int
    ) -> tuple[LabelledScene, Window, NDArray[np.uint8]]:
        """A window with labels in it, with its centre in a cell; the best of a few tries."""
        number, place = self._cells.place(cell)
        scene, reach_px = self._scenes[number], place.height // 2
        found: dict[Window, NDArray[np.uint8]] = {}
        for row_off, col_off in rng.integers(0, 2 * reach_px + 1, (_TRIES, 2)).tolist():
            window = _around(scene, side_px, place.row + row_off, place.col + col_off)
            if window in found:
                continue
            found[window] = scene.labels(window)
            if _labelled(found[window]) >= _ENOUGH * side_px**2:
                break
        best = max(found, key=lambda window: _labelled(found[window]))
        if not _labelled(found[best]):
            # Rare labels of a large cell: around one of them.
            rows, cols = np.nonzero(scene.labels(place) != NODATA_CLASS)
            chosen = int(rng.integers(len(rows)))
            best = _around(scene, side_px, place.row + int(rows[chosen]), place.col + int(cols[chosen]))
            found[best] = scene.labels(best)
        return scene, best, found[best]

    def _around_class(
        self, rng: np.random.Generator, side_px: int
    ) -> tuple[LabelledScene, Window, NDArray[np.uint8]]:
        """A window that holds a pixel of a class, anywhere in it: the class first, then one of its pixels."""
        class_id = int(rng.choice(len(self._chances_k), p=self._chances_k))
        pixels_n = self._pixels_nk[:, class_id]
        number, cell = self._index.cells[int(rng.choice(len(pixels_n), p=pixels_n / pixels_n.sum()))]
        scene = self._scenes[number]
        rows, cols = np.nonzero(scene.labels(cell) == class_id)
        chosen = int(rng.integers(len(rows)))
        row_off, col_off = rng.integers(side_px, size=2).tolist()
        window = moved_in(
            scene.pixels,
            scene.grid,
            side_px,
            cell.row + int(rows[chosen]) - row_off,
            cell.col + int(cols[chosen]) - col_off,
        )
        return scene, window, scene.labels(window)


def _around(scene: LabelledScene, side_px: int, row: int, col: int) -> Window:
    """The window in whose middle a pixel lies, moved to where windows are kept; the pixel stays in it."""
    return moved_in(scene.pixels, scene.grid, side_px, row - side_px // 2, col - side_px // 2)


def _labelled(labels_hw: NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(labels_hw != NODATA_CLASS))
