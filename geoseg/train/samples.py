"""Random windows of the training regions, read on the fly from large scenes; the number and the seed decide one."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.batch import Sample
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
    ) -> None:
        """Remember what to draw from; nothing is read yet.

        Args:
            scenes: Open scenes; they are read on the thread that asks for crops.
            imagery: What the model expects.
            crop_px: Side of the crops that statistics are taken of.
            seed: Of all choices.
        """
        self._scenes = scenes
        self._imagery = imagery
        self._crop_px = crop_px
        self._seed = seed
        areas = np.array([scene.pixels.area for scene in scenes])
        self._shares = areas / areas.sum()

    def sample(self, index: int, side_px: int) -> Sample:
        """The window with a number: raw pixel values and class ids; `side_px` is its side."""
        scene, window, ids_hw = self._draw(np.random.default_rng([self._seed, index]), side_px)
        image_chw, valid_hw = scene.image(window)
        ids_hw[~valid_hw] = NODATA_CLASS
        return Sample(image_chw, valid_hw, ids_hw, f"{scene.source.name}, row {window.row}, column {window.col}")

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
            scene, window, ids_hw = self._draw(np.random.default_rng([_STATISTICS_SEED, index]), self._crop_px)
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

    def _draw(self, rng: np.random.Generator, side_px: int) -> tuple[LabelledScene, Window, NDArray[np.uint8]]:
        """A scene and a window with labels in it; the best of a few tries where labels are rare."""
        best: tuple[LabelledScene, Window, NDArray[np.uint8]] | None = None
        most = -1
        for _ in range(_TRIES):
            scene = self._scenes[int(rng.choice(len(self._scenes), p=self._shares))]
            window = _place(scene.pixels, scene.grid, side_px, rng)
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
