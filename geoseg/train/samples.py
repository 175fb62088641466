"""Random training crops, read on the fly from large scenes; a crop's number and the seed decide it."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.augment import Augmentation, Symmetry, jitter_color
from geoseg.train.scenes import LabelledScene

_TRIES = 16
"""Windows drawn for one crop before the one with the most labels is taken as it is."""

_ENOUGH = 1 / 16
"""Share of a crop that must be labelled for it to be taken at once."""

_STATISTICS_CROPS = 256
_STATISTICS_SEED = 0


class CropSampler:
    """Random square crops of the training regions; the i-th crop depends on the seed and i alone.

    Centres are uniform over the ground that the regions cover, so that a region of twice the area is seen
    twice as often. Windows are moved to lie within the bounds of their region where it is large enough:
    pixels of another split are then not even seen as surroundings.
    """

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
            scenes: Open scenes; they are read on the thread that asks for crops.
            imagery: What the model expects.
            crop_px: Side of the crops.
            seed: Of all choices.
            augmentation: What may change in a crop.
        """
        self._scenes = scenes
        self._imagery = imagery
        self._crop_px = crop_px
        self._seed = seed
        self._augmentation = augmentation
        areas = np.array([scene.pixels.area for scene in scenes])
        self._shares = areas / areas.sum()

    def crop(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """The crop with a number: normalized image (band, row, column) and class ids (row, column)."""
        rng = np.random.default_rng([self._seed, index])
        scene, window, ids_hw = self._draw(rng)
        image_chw, valid_hw = scene.image(window)
        ids_hw[~valid_hw] = NODATA_CLASS
        symmetry = Symmetry.draw(self._augmentation, rng)
        image_chw, valid_hw, ids_hw = (
            symmetry.apply(image_chw),
            symmetry.apply(valid_hw),
            symmetry.apply(ids_hw),
        )
        image_chw = jitter_color(image_chw, self._imagery.value_range, self._augmentation.color_jitter, rng)
        return self._imagery.normalize(image_chw, valid_hw), ids_hw

    def batch(self, start: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Crops start to start + size: images (image, band, row, column), class ids (image, row, column)."""
        images, ids = zip(*(self.crop(index) for index in range(start, start + size)), strict=True)
        return np.stack(images), np.stack(ids).astype(np.int64)

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per band over the data pixels of 256 crops drawn with seed 0.

        Returns:
            Means and standard deviations in the raster's own numbers; a constant band has deviation 1.

        Raises:
            SceneError: No crop holds data.
        """
        bands = len(self._imagery.bands)
        count, total_c, squares_c = 0, np.zeros(bands), np.zeros(bands)
        for index in range(_STATISTICS_CROPS):
            scene, window, ids_hw = self._draw(np.random.default_rng([_STATISTICS_SEED, index]))
            image_chw, valid_hw = scene.image(window)
            values_cn = image_chw[:, valid_hw & (ids_hw != NODATA_CLASS)].astype(np.float64)
            count += values_cn.shape[1]
            total_c += values_cn.sum(1)
            squares_c += (values_cn**2).sum(1)
        if count == 0:
            raise SceneError("expected labelled pixels with data in the training regions, found none")
        mean_c = total_c / count
        std_c = np.sqrt(np.maximum(squares_c / count - mean_c**2, 0))
        std_c[std_c == 0] = 1
        return tuple(mean_c.tolist()), tuple(std_c.tolist())

    def _draw(self, rng: np.random.Generator) -> tuple[LabelledScene, Window, NDArray[np.uint8]]:
        """A scene and a window with labels in it; the best of a few tries where labels are rare."""
        best: tuple[LabelledScene, Window, NDArray[np.uint8]] | None = None
        most = -1
        for _ in range(_TRIES):
            scene = self._scenes[int(rng.choice(len(self._scenes), p=self._shares))]
            window = _place(scene.pixels, scene.grid, self._crop_px, rng)
            ids_hw = scene.labels(window)
            labelled = int(np.count_nonzero(ids_hw != NODATA_CLASS))
            if labelled > most:
                best, most = (scene, window, ids_hw), labelled
            if labelled >= _ENOUGH * ids_hw.size:
                break
        assert best is not None
        return best


def _place(pixels: shapely.Geometry, grid: Grid, crop_px: int, rng: np.random.Generator) -> Window:
    """A square window whose centre is uniform in a region, moved to lie within the region's bounds."""
    x_min, y_min, x_max, y_max = pixels.bounds
    while True:
        x, y = rng.uniform(x_min, x_max), rng.uniform(y_min, y_max)
        if shapely.contains_xy(pixels, x, y):
            break
    return Window(
        _clamp(round(y - crop_px / 2), crop_px, int(np.ceil(y_min)), int(y_max), grid.height),
        _clamp(round(x - crop_px / 2), crop_px, int(np.ceil(x_min)), int(x_max), grid.width),
        crop_px,
        crop_px,
    )


def _clamp(start: int, length: int, low: int, high: int, size: int) -> int:
    """Move [start, start + length) into [low, high), or else into [0, size), where it fits; else centre it."""
    for first, last in ((low, high), (0, size)):
        if last - first >= length:
            return min(max(start, first), last - length)
    return (size - length) // 2
