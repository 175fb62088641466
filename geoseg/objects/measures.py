"""What is known of components, as whole numbers that can be summed in any order."""

from dataclasses import astuple, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """Measures of components, a row each.

    Attributes:
        first_pixel: int64 (n,); row x grid width + column, on the grid, of the first pixel in raster order.
        pixels: int64 (n,); size in pixels.
        confidence_sum: int64 (n,); sum of the pixels' confidence values (probability x 254).
        ground: int64 (n,); ground area, in units of `geoseg.objects.ground`.
        sides: int64 (n,); sides of pixels beside which something else or nothing lies, as far as they lie within a
            chunk of the mosaic: how long the outline is, nearly, whatever the blocks.
    """

    first_pixel: NDArray[np.int64]
    pixels: NDArray[np.int64]
    confidence_sum: NDArray[np.int64]
    ground: NDArray[np.int64]
    sides: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first_pixel)

    @classmethod
    def none(cls) -> Self:
        """Measures of nothing."""
        return cls(*(np.empty(0, np.int64) for _ in fields(cls)))

    @classmethod
    def concatenate(cls, *parts: "Measures") -> Self:
        """The rows of all parts, one after the other."""
        columns = zip(*(part.columns for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    @property
    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """The arrays (n,) in the order of the attributes."""
        return self.first_pixel, self.pixels, self.confidence_sum, self.ground, self.sides

    def take(self, index: NDArray[Any]) -> "Measures":
        """The rows at an index (m,), or where a mask (n,) is true."""
        return Measures(*(column[index] for column in self.columns))

    def joined(self, group: NDArray[Any], count: int) -> "Measures":
        """Measures of groups of rows as one component each.

        Args:
            group: Integers (n,), the group of each row, from 0.
            count: How many groups there are; each has a row.
        """
        first_pixel = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first_pixel, group, self.first_pixel)
        sums = [np.zeros(count, np.int64) for _ in self.columns[1:]]
        for total, column in zip(sums, self.columns[1:], strict=True):
            np.add.at(total, group, column)
        return Measures(first_pixel, *sums)

    def to_arrays(self, prefix: str = "") -> dict[str, NDArray[np.int64]]:
        """The arrays by name."""
        names = (f"{prefix}{field.name}" for field in fields(self))
        return dict(zip(names, astuple(self), strict=True))

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], prefix: str = "") -> Self:
        """What `to_arrays` gave."""
        return cls(*(arrays[f"{prefix}{field.name}"] for field in fields(cls)))
