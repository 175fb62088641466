"""Random training windows, read on the fly from large scenes; a window's number and the seed decide it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.augment import Augmentation, Symmetry, jitter_color
from geoseg.train.batch import Sample
from geoseg.train.class_index import ClassIndex
from geoseg.train.scenes import LabelledScene

_TRIES = 16
"""Windows drawn for one crop before the one with the most labels is taken as it is."""

_ENOUGH = 1 / 16
"""Share of a crop that must be labelled for it to be taken at once."""

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
    """Random square windows of the training regions; the i-th depends on the seed and i alone.

    Centres are uniform over the ground that the regions cover, times the weight of their sources, so that a region
    of twice the area is seen twice as often. Windows are moved to lie within the bounds of their region where it is
    large enough: pixels of another split are then not even seen as surroundings.
    """

    def __init__(
        self,
        scenes: tuple[LabelledScene, ...],
        imagery: Imagery,
        seed: int,
        balance: Balance | None = None,
        *,
        overlapping: bool = False,
    ) -> None:
        """Remember what to draw from; labels are read once where windows are balanced, else nothing is.

        Args:
            scenes: Open scenes; they are read on the thread that asks for samples.
            imagery: What the model expects.
            seed: Of all choices.
            balance: Windows around pixels of classes; None for uniform ground alone.
            overlapping: Whether classes may overlap: samples then have planes.

        Raises:
            SceneError: Labels cannot be read.
            ConfigError: Windows are to be balanced, and no class has a pixel.
        """
        self._scenes = scenes
        self._imagery = imagery
        self._seed = seed
        self._overlapping = overlapping
        ground_m2 = np.array([scene.pixels.area * np.prod(scene.grid.ground_resolution_m()) for scene in scenes])
        weights = np.array([scene.source.weight for scene in scenes])
        self._shares = ground_m2 * weights / (ground_m2 * weights).sum()
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
        scene, window, labels_hw = self._draw(rng, side_px)
        return self._read(scene, window, labels_hw)

    def _read(self, scene: LabelledScene, window: Window, labels_hw: NDArray[np.uint8]) -> Sample:
        image_chw, valid_hw = scene.image(window)
        if self._overlapping:
            labels_hw = scene.planes(window)
        labels_hw[..., ~valid_hw] = NODATA_CLASS
        return Sample(
            image_chw, valid_hw, labels_hw, f"{scene.source.name} at row {window.row}, column {window.col}"
        )

    def statistics(self, side_px: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per band over the labelled data pixels of 256 windows drawn with seed 0.

        Args:
            side_px: Side of the windows, uniform over the ground whatever the balance.

        Returns:
            Means and standard deviations in the raster's own numbers; a constant band has deviation 1.

        Raises:
            SceneError: No crop holds data.
        """
        bands = len(self._imagery.bands)
        count, total_c, squares_c = 0, np.zeros(bands), np.zeros(bands)
        for index in range(_STATISTICS_CROPS):
            rng = np.random.default_rng([_STATISTICS_SEED, index])
            scene, window, labels_hw = self._uniform(rng, side_px)
            sample = self._read(scene, window, labels_hw)
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

    def _draw(self, rng: np.random.Generator, side_px: int) -> tuple[LabelledScene, Window, NDArray[np.uint8]]:
        """A scene and a window with its coded labels."""
        if self._balance is not None and rng.random() < self._balance.share:
            return self._around_class(rng, side_px)
        return self._uniform(rng, side_px)

    def _uniform(self, rng: np.random.Generator, side_px: int) -> tuple[LabelledScene, Window, NDArray[np.uint8]]:
        """A scene and a window with labels in it; the best of a few tries where labels are rare."""
        best: tuple[LabelledScene, Window, NDArray[np.uint8]] | None = None
        most = -1
        for _ in range(_TRIES):
            scene = self._scenes[int(rng.choice(len(self._scenes), p=self._shares))]
            window = _place(scene.pixels, scene.grid, side_px, rng)
            labels_hw = scene.labels(window)
            labelled = int(np.count_nonzero(labels_hw != NODATA_CLASS))
            if labelled > most:
                best, most = (scene, window, labels_hw), labelled
            if labelled >= _ENOUGH * labels_hw.size:
                break
        assert best is not None
        return best

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
        window = _moved_in(
            scene.pixels,
            scene.grid,
            side_px,
            cell.row + int(rows[chosen]) - row_off,
            cell.col + int(cols[chosen]) - col_off,
        )
        return scene, window, scene.labels(window)


class CropSampler(Sampler):
    """Samples as the network takes them, changed at random."""

    def __init__(
        self,
        scenes: tuple[LabelledScene, ...],
        imagery: Imagery,
        crop_px: int,
        seed: int,
        augmentation: Augmentation,
    ) -> None:
        """Remember what to draw from; nothing is read yet.

        Args:
            scenes: As of `Sampler`.
            imagery: What the model expects.
            crop_px: Side of the crops.
            seed: Of all choices.
            augmentation: What may change in a crop.
        """
        super().__init__(scenes, imagery, seed)
        self._crop_px = crop_px
        self._augmentation = augmentation

    def crop(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The crop with a number: normalized image (band, row, column) and coded labels (row, column)."""
        rng = np.random.default_rng([self._seed, index])
        scene, window, labels_hw = self._draw(rng, self._crop_px)
        sample = self._read(scene, window, labels_hw)
        symmetry = Symmetry.draw(self._augmentation, rng)
        image_chw, valid_hw, labels_hw = (
            symmetry.apply(sample.image_chw),
            symmetry.apply(sample.valid_hw),
            symmetry.apply(sample.labels_hw),
        )
        image_chw = jitter_color(image_chw, self._imagery.value_range, self._augmentation.color_jitter, rng)
        return self._imagery.normalize(image_chw, valid_hw), labels_hw

    def batch(self, start: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Crops start to start + size: images (image, band, row, column), coded labels (image, row, column)."""
        images, labels = zip(*(self.crop(index) for index in range(start, start + size)), strict=True)
        return np.stack(images), np.stack(labels).astype(np.int64)


def _place(pixels: shapely.Geometry, grid: Grid, side_px: int, rng: np.random.Generator) -> Window:
    """A square window whose centre is uniform in a region, moved to lie within the region's bounds."""
    x_min, y_min, x_max, y_max = pixels.bounds
    while True:
        x, y = rng.uniform(x_min, x_max), rng.uniform(y_min, y_max)
        if shapely.contains_xy(pixels, x, y):
            break
    return _moved_in(pixels, grid, side_px, round(y - side_px / 2), round(x - side_px / 2))


def _moved_in(pixels: shapely.Geometry, grid: Grid, side_px: int, row: int, col: int) -> Window:
    """A square window moved to lie within the bounds of a region, or else of the grid, where it fits."""
    x_min, y_min, x_max, y_max = pixels.bounds
    return Window(
        _clamp(row, side_px, int(np.ceil(y_min)), int(y_max), grid.height),
        _clamp(col, side_px, int(np.ceil(x_min)), int(x_max), grid.width),
        side_px,
        side_px,
    )


def _clamp(start: int, length: int, low: int, high: int, size: int) -> int:
    """Move [start, start + length) into [low, high), or else into [0, size), where it fits; else centre it."""
    for first, last in ((low, high), (0, size)):
        if last - first >= length:
            return min(max(start, first), last - length)
    return (size - length) // 2
