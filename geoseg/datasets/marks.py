"""What annotations mark on an image: outlines and masks, each of a category, drawn one over the other."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.datasets.rasters import image_shape
from geoseg.datasets.values import labelled_in, value_of
from geoseg.errors import ConfigError, SceneError
from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A mask that lies somewhere on an image, wholly or in part.

    Attributes:
        row: The image's row on which its first one lies.
        col: Likewise its column.
        mask_hw: Which of its pixels (row, column) are marked.
    """

    row: int
    col: int
    mask_hw: NDArray[np.bool_]

    @property
    def area(self) -> float:
        """How many pixels are marked."""
        return float(self.mask_hw.sum())

    def burn(self, out_hw: NDArray[np.uint8], value: int) -> None:
        """Write a value where it marks an array (row, column)."""
        height, width = self.mask_hw.shape
        top, left = max(0, self.row), max(0, self.col)
        bottom, right = min(out_hw.shape[0], self.row + height), min(out_hw.shape[1], self.col + width)
        if top < bottom and left < right:
            part_hw = self.mask_hw[top - self.row : bottom - self.row, left - self.col : right - self.col]
            out_hw[top:bottom, left:right][part_hw] = value


Shape: TypeAlias = "shapely.Polygon | Patch"
"""What a mark covers: an outline or a mask."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """One annotation.

    Attributes:
        category: As the file names it.
        shapes: What it covers, all of it together: polygons in pixel coordinates (x = column, y = row, the image's
            corner at 0, 0), which hold the pixels whose centres they hold, and masks.
        ignored: Whether it says that nothing is known there, but for its category (a crowd).
        trouble: Why it has no shapes, if the class that it stands for is learned: it cannot be drawn then.
    """

    category: str
    shapes: tuple[Shape, ...]
    ignored: bool = False
    trouble: str | None = None

    @property
    def area_px(self) -> float:
        """How many pixels it covers, about: of several outlines the sum."""
        return sum(float(shape.area) for shape in self.shapes)


@dataclass(frozen=True, slots=True)
class MarkedChip(ABC):
    """An image with marks.

    Attributes:
        image: The image file.
        where: The annotations, for messages.
        ignored: Categories that are ignored where no class is given to them.
    """

    image: Path
    where: str
    ignored: frozenset[str]

    @abstractmethod
    def marks(self, shape: tuple[int, int]) -> Sequence[Mark]:
        """Its marks, the later over the earlier.

        Args:
            shape: (height, width) of the image in pixels.

        Raises:
            SceneError: They cannot be read, or do not fit the image.
        """

    def categories(self) -> frozenset[str]:
        """Which categories its marks are of.

        Raises:
            SceneError: As for `draw`.
        """
        return frozenset(mark.category for mark in self.marks(image_shape(self.image)))

    def draw(self, values: Mapping[str, int], rest: int) -> NDArray[np.uint8]:
        """Coded labels (row, column): later marks over earlier ones, `rest` where there is none.

        What is ignored (crowds, categories that are not learned) is drawn first, so that it hides no object.

        Raises:
            ConfigError: A category stands for no class, or a mark of a class has no pixels, such as a line without
                a width.
            SceneError: The image or its annotations cannot be read, or do not fit each other.
        """
        shape = image_shape(self.image)
        valued = self._valued(self.marks(shape), values)
        labels_hw = np.full(shape, rest, np.uint8)
        hidden = [(mark, NODATA_CLASS) for mark, value in valued if mark.ignored or value == NODATA_CLASS]
        _burn(labels_hw, hidden)
        _burn(labels_hw, [(mark, value) for mark, value in valued if not mark.ignored and value != NODATA_CLASS])
        return labels_hw

    def planes(self, values: Mapping[str, int], classes: int) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column); see `geoseg.datasets.chips.Chip`.

        Where a category lies that is not learned nothing is known but of the classes marked there; within a crowd
        it is unknown whether a pixel is of its class. Of classes that no category stands for nothing is known.

        Raises:
            ConfigError: As for `draw`.
            SceneError: Likewise.
        """
        shape = image_shape(self.image)
        valued = self._valued(self.marks(shape), values)
        unknown_hw = np.zeros(shape, np.uint8)
        _burn(unknown_hw, [(mark, NODATA_CLASS) for mark, value in valued if value == NODATA_CLASS])
        planes_chw = np.full((classes, *shape), NODATA_CLASS, np.uint8)
        for class_id in labelled_in(values, classes):
            own = [mark for mark, value in valued if value == class_id]
            planes_chw[class_id] = unknown_hw
            _burn(planes_chw[class_id], [(mark, NODATA_CLASS) for mark in own if mark.ignored])
            _burn(planes_chw[class_id], [(mark, 1) for mark in own if not mark.ignored])
        return planes_chw

    def check_size(self, height: int | None, width: int | None, shape: tuple[int, int]) -> None:
        """Refuse annotations that were made on an image of another size.

        Args:
            height: As the annotations say; None where they do not.
            width: Likewise.
            shape: (height, width) of the image in pixels.

        Raises:
            SceneError: The sizes differ.
        """
        if (height or shape[0], width or shape[1]) != shape:
            raise SceneError(
                f"{self.where} is about an image of {height} x {width} px, {self.image} has {shape[0]} x "
                f"{shape[1]} px (height x width): expected the image that was annotated; put it back"
            )

    def _valued(self, marks: Iterable[Mark], values: Mapping[str, int]) -> list[tuple[Mark, int]]:
        valued = [(mark, value_of(mark.category, values, self.ignored, self.where)) for mark in marks]
        for mark, value in valued:
            if mark.trouble is not None and value != NODATA_CLASS:
                raise ConfigError(f"{self.where}: {mark.trouble}, or ignore the category {mark.category[:80]!r}")
        return valued


def _burn(out_hw: NDArray[np.uint8], valued: Iterable[tuple[Mark, int]]) -> None:
    """Draw marks in order; outlines that follow one another in one go."""
    outlines: list[tuple[shapely.Polygon, int]] = []
    for mark, value in valued:
        for shape in mark.shapes:
            if not isinstance(shape, Patch):
                outlines.append((shape, value))
                continue
            _burn_outlines(out_hw, outlines)
            outlines = []
            shape.burn(out_hw, value)
    _burn_outlines(out_hw, outlines)


def _burn_outlines(out_hw: NDArray[np.uint8], outlines: Sequence[tuple[shapely.Polygon, int]]) -> None:
    if outlines:
        rasterize(outlines, out=out_hw, skip_invalid=False)
