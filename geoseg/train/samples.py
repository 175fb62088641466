"""Labelled pixels: windows of scenes with their label rasters, and random crops of them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.raster import ClassReader, SceneReader
from geoseg.io.regions import Region, region_mask, region_on_grid
from geoseg.io.scene import describe_scene
from geoseg.labels import NODATA_CLASS
from geoseg.train.augment import Augmentation, Symmetry, jitter_color

_TRIES = 16
"""Windows drawn for one crop before the one with the most labels is taken as it is."""

_ENOUGH = 1 / 16
"""Share of a crop that must be labelled for it to be taken at once."""

_STATISTICS_CROPS = 256
_STATISTICS_SEED = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A scene, its labels, and the region of it that a split owns.

    Attributes:
        name: What reports call it.
        image: Path of the scene.
        labels: Path of the label raster.
        split: The split.
        region: The part of the scene that belongs to the split; None means all.
    """

    name: str
    image: str
    labels: str
    split: Literal["train", "val", "test"]
    region: Region | None


class LabelCoding:
    """From values of label rasters to class ids."""

    def __init__(self, ids: Mapping[int, int]) -> None:
        """Remember the coding.

        Args:
            ids: From raster value to class id, or to `NODATA_CLASS` for values that are not learned.
        """
        self._values = np.array(sorted(ids), np.int32)
        self._ids = np.array([ids[int(value)] for value in self._values], np.uint8)

    def encode(self, raw_hw: NDArray[np.int32], where: str) -> NDArray[np.uint8]:
        """Class ids of raw label values; `NODATA_CLASS` where the raster has no data (-1).

        Args:
            raw_hw: Values of a label raster.
            where: Its path, for the error.

        Raises:
            SceneError: A value is neither a class nor ignored.
        """
        # One lookup per pixel instead of a search: label values are small numbers, from -1 on.
        top = max(int(raw_hw.max(initial=0)), int(self._values[-1]))
        table = np.full(top + 2, -1, np.int16)
        table[0] = NODATA_CLASS
        table[self._values + 1] = self._ids
        ids_hw = table[raw_hw + 1]
        if (ids_hw < 0).any():
            value = int(raw_hw[ids_hw < 0][0])
            raise SceneError(
                f"{where} holds the label value {value}: expected one of "
                f"{', '.join(map(str, self._values))}; add it to label_values or ignore_values"
            )
        return ids_hw.astype(np.uint8)


class LabelledScene:
    """A scene and its labels, open for reading on one thread.

    Attributes:
        source: What it was opened from.
        grid: The pixels it is read on.
        pixels: The split's region in pixel coordinates (x = column, y = row).
    """

    def __init__(self, source: Source, imagery: Imagery, coding: LabelCoding) -> None:
        """Open the rasters.

        Args:
            source: What to open.
            imagery: What the model expects.
            coding: The meaning of label values.

        Raises:
            SceneError: A raster cannot be opened or used.
            ConfigError: The region does not meet the scene.
        """
        self.source = source
        self._imagery = imagery
        self._coding = coding
        ref = describe_scene(source.image, imagery)
        self._image = SceneReader(ref)
        self.grid: Grid = ref.grid
        self._labels = ClassReader(source.labels, ref)
        self.pixels: BaseGeometry = region_on_grid(source.region, self.grid)
        if self.pixels.area == 0:
            raise ConfigError(f"{source.name}: expected a region that meets {source.image}, it lies beside it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the rasters."""
        self._image.close()

    def labels(self, window: Window) -> NDArray[np.uint8]:
        """Class ids of a window; `NODATA_CLASS` where ignored, outside the region or the scene.

        Validity of the image is not known here: see `read`.
        """
        ids_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
        inside = window.intersection(self.grid.window)
        if inside is not None:
            coded_hw = self._coding.encode(self._labels.read(inside), self.source.labels)
            coded_hw[~region_mask(self.pixels, inside)] = NODATA_CLASS
            ids_hw[inside.slices_in(window)] = coded_hw
        return ids_hw

    def image(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixel values (band, row, column) in the raster's own numbers, and where they hold data.

        A window may reach beyond the scene: it continues mirrored there, as in mapping (the overlap-tile
        strategy of Ronneberger et al. 2015).

        Raises:
            ValueError: The window lies wholly beside the scene.
        """
        inside = window.intersection(self.grid.window)
        if inside is None:
            raise ValueError(f"{window} lies beside the scene")
        image_chw, valid_hw = self._image.read(inside)
        if inside != window:
            rows, cols = inside.slices_in(window)
            pad = ((rows.start, window.height - rows.stop), (cols.start, window.width - cols.stop))
            image_chw = np.pad(image_chw, ((0, 0), *pad), "symmetric")
            valid_hw = np.pad(valid_hw, pad, "symmetric")
        return image_chw, valid_hw

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A window as the model sees it: normalized image (band, row, column) and class ids (row, column)."""
        image_chw, valid_hw = self.image(window)
        ids_hw = self.labels(window)
        ids_hw[~valid_hw] = NODATA_CLASS
        return self._imagery.normalize(image_chw, valid_hw), ids_hw


@contextmanager
def open_scenes(
    sources: tuple[Source, ...], imagery: Imagery, coding: LabelCoding
) -> Iterator[tuple[LabelledScene, ...]]:
    """Open scenes together, and close them together."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(LabelledScene(source, imagery, coding)) for source in sources)


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


def _place(pixels: BaseGeometry, grid: Grid, crop_px: int, rng: np.random.Generator) -> Window:
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


def refuse_overlap(scenes: tuple[LabelledScene, ...]) -> None:
    """Check that no pixel of a raster belongs to two splits.

    Raises:
        ConfigError: Regions of different splits overlap; names both and the area.
    """
    for number, scene in enumerate(scenes):
        for other in scenes[:number]:
            if scene.source.image != other.source.image or scene.source.split == other.source.split:
                continue
            shared_px = shapely.intersection(scene.pixels, other.pixels).area
            # Regions that only touch share slivers from rounding, never a whole pixel.
            if shared_px >= 1:
                raise ConfigError(
                    f"expected {other.source.split} and {scene.source.split} to be apart on the ground, their "
                    f"regions share {shared_px:.0f} pixels of {scene.source.image}; give them regions apart"
                )
