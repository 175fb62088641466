"""Images of which only the classes that they hold are known."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.raster import SceneReader
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS
from geoseg.train.batch import Sample

MOST_PX = 4096
"""Longest side of an image, whose maps are held whole."""


@dataclass(frozen=True, slots=True)
class ImageLabel:
    """An image and what it holds.

    Attributes:
        path: The image.
        classes: Ids of the classes in it; of the others it holds nothing.
    """

    path: Path
    classes: frozenset[int]


def read_image_labels(path: Path, names: tuple[str, ...]) -> tuple[ImageLabel, ...]:
    """A CSV file with the columns image (relative to the file) and classes (names, with ; between them).

    Args:
        path: The file, UTF-8.
        names: Of the classes, by id.

    Raises:
        ConfigError: It cannot be read, a class has no such name, an image is not there, or no image holds a class
            that another does not; names the line.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as CSV: {error}") from error
    if not rows or not {"image", "classes"} <= set(rows[0]):
        raise ConfigError(f"{path}: expected a line for each image, with the columns image and classes")
    labels = []
    for line, row in enumerate(rows, 2):
        image, given = path.parent / (row["image"] or ""), row["classes"] or ""
        held = [name.strip() for name in given.split(";") if name.strip()]
        unknown = [name for name in held if name not in names]
        if unknown:
            raise ConfigError(f"{path}, line {line}: expected classes of {', '.join(names)}, got {unknown[0]!r}")
        if not image.is_file():
            raise ConfigError(f"{path}, line {line}: expected an image, there is no {image}")
        labels.append(ImageLabel(image, frozenset(names.index(name) for name in held)))
    repeated = [
        label.path for number, label in enumerate(labels) if label.path in {one.path for one in labels[:number]}
    ]
    if repeated:
        raise ConfigError(f"{path}: expected each image once, {repeated[0]} is there twice")
    if len({label.classes for label in labels}) < 2:
        raise ConfigError(f"{path}: expected images that differ in their classes: else nothing says what is which")
    return tuple(labels)


class LabelledImages:
    """Windows of images; their labels are planes of what is known of the whole image, the same for all pixels."""

    def __init__(
        self, labels: Sequence[ImageLabel], imagery: Imagery, classes: int, seed: int, stack: ExitStack
    ) -> None:
        """Open the images.

        Args:
            labels: The images, and what they hold.
            imagery: What the model expects.
            classes: How many there are.
            seed: Of which windows are drawn.
            stack: Closes the images.

        Raises:
            SceneError: An image cannot be used, or is too large to be one of many.
        """
        self.labels, self._classes, self._seed = tuple(labels), classes, seed
        self.readers: list[SceneReader] = []
        for label in self.labels:
            # Of a picture without a place on earth the scale is the model's: nothing else is said of it.
            options = SceneOptions(rotated="own-pixels", ground_resolution_m=imagery.ground_resolution_m)
            ref = describe_scene(str(label.path), imagery, options)
            if max(ref.grid.height, ref.grid.width) > MOST_PX:
                raise SceneError(
                    f"{label.path}: expected images of at most {MOST_PX} px on a side, got {ref.grid.height} x "
                    f"{ref.grid.width} px: what a large scene holds somewhere says little; cut it into chips"
                )
            reader = SceneReader(ref)
            stack.callback(reader.close)
            self.readers.append(reader)

    def held(self, number: int) -> NDArray[np.float32]:
        """1 for the classes (class,) that an image holds, 0 for the others."""
        return np.array([label in self.labels[number].classes for label in range(self._classes)], np.float32)

    def sample(self, index: int, side_px: int) -> Sample:
        """The window with a number: images in random rounds, windows uniform in them.

        An image that is smaller than the window is continued mirrored; one that is not larger is seen whole.

        Args:
            index: The number; with the seed it decides.
            side_px: Side of the window.
        """
        count = len(self.labels)
        round_order = np.random.default_rng([self._seed, index // count, 1]).permutation(count)
        number = int(round_order[index % count])
        rng = np.random.default_rng([self._seed, index, 2])
        grid = self.readers[number].grid
        places = [int(rng.integers(0, max(0, size - side_px) + 1)) for size in (grid.height, grid.width)]
        window = Window(places[0], places[1], min(side_px, grid.height), min(side_px, grid.width))
        image_chw, valid_hw = self.readers[number].read(window)
        rows, cols = side_px - window.height, side_px - window.width
        pad = ((rows // 2, rows - rows // 2), (cols // 2, cols - cols // 2))
        image_chw, valid_hw = np.pad(image_chw, ((0, 0), *pad), "symmetric"), np.pad(valid_hw, pad, "symmetric")
        held_k11 = self.held(number)[:, None, None]
        planes_khw = np.where(valid_hw, held_k11, NODATA_CLASS).astype(np.uint8)
        return Sample(image_chw, valid_hw, planes_khw, str(self.labels[number].path))

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation per band over all data pixels; a constant band has deviation 1.

        Raises:
            SceneError: No image holds data.
        """
        count, total_c, squares_c = 0, np.zeros(1), np.zeros(1)
        for reader in self.readers:
            image_chw, valid_hw = reader.read(reader.grid.window)
            values_cn = image_chw[:, valid_hw].astype(np.float64)
            count += values_cn.shape[1]
            total_c = total_c + values_cn.sum(1)
            squares_c = squares_c + (values_cn**2).sum(1)
        if count == 0:
            raise SceneError("expected images with data, found none")
        mean_c = total_c / count
        std_c = np.sqrt(np.maximum(squares_c / count - mean_c**2, 0))
        std_c[std_c == 0] = 1
        return tuple(mean_c.tolist()), tuple(std_c.tolist())


@contextmanager
def open_images(
    labels: Sequence[ImageLabel], imagery: Imagery, classes: int, seed: int
) -> Iterator[LabelledImages]:
    """Open images together, and close them together."""
    with ExitStack() as stack:
        yield LabelledImages(labels, imagery, classes, seed, stack)
