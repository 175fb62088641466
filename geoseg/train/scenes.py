"""Labelled scenes: windows of imagery with class ids, within the region that a split owns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.raster import ClassReader, SceneReader
from geoseg.io.regions import Region, region_mask, region_on_grid
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS


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
        reader: Of the scene's pixels.
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
        # Labels lie on the scene's own pixels, also where those are rotated or sheared: nothing is resampled twice.
        ref = describe_scene(source.image, imagery, SceneOptions(rotated="own-pixels"))
        self.reader = SceneReader(ref)
        self.grid: Grid = ref.grid
        self._labels = ClassReader(source.labels, ref)
        self.pixels: shapely.Geometry = region_on_grid(source.region, self.grid)
        if self.pixels.area == 0:
            raise ConfigError(f"{source.name}: expected a region that meets {source.image}, it lies beside it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the rasters."""
        self.reader.close()

    def labels(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (row, column) of a window; `NODATA_CLASS` where ignored, outside the region or the scene.

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
        image_chw, valid_hw = self.reader.read(inside)
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
    sources: Sequence[Source], imagery: Imagery, coding: LabelCoding
) -> Iterator[tuple[LabelledScene, ...]]:
    """Open scenes together, and close them together."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(LabelledScene(source, imagery, coding)) for source in sources)


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
