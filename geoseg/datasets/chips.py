"""Chips: small images, often without a place on earth, with labels on their own pixels."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


class Chip(Protocol):
    """An image with its labels, in whichever format they are kept."""

    @property
    def image(self) -> Path:
        """The image file."""
        ...

    @property
    def where(self) -> str:
        """Where its labels are kept, for messages: a file, or a file and a part of it."""
        ...

    def categories(self) -> frozenset[str]:
        """Which categories its labels name, as they do; for saying what a data set holds.

        Raises:
            SceneError: The labels cannot be read.
        """
        ...

    def draw(self, values: Mapping[str, int], rest: int) -> NDArray[np.uint8]:
        """Coded labels (row, column) on the image's own pixels.

        Args:
            values: From category, as the labels name it (a number or colour as text), to the label to write;
                `NODATA_CLASS` for categories that are not learned.
            rest: What is written where nothing is annotated.

        Raises:
            ConfigError: A category has no value; names it, those that have one, and the file.
            SceneError: The labels cannot be read, or do not fit the image.
        """
        ...

    def planes(self, values: Mapping[str, int], classes: int) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column), where classes may overlap: 1, 0, or `NODATA_CLASS`.

        Raises:
            ConfigError: As for `draw`.
            SceneError: Likewise.
        """
        ...


@runtime_checkable
class WithInstances(Protocol):
    """A chip whose labels tell one object from another."""

    def instances(self, categories: Collection[str]) -> NDArray[np.int32]:
        """The object of each pixel, int32 (row, column), on the image's own pixels.

        Args:
            categories: Those whose objects are asked for, as the labels name them.

        Returns:
            From 1 on an object, the same number on all its pixels; 0 where there is none, or it is not known which.

        Raises:
            SceneError: The labels cannot be read, or do not fit the image.
        """
        ...
