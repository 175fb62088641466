"""How many pixels segments of a map and of a reference have in common: counts that add up over windows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NO_OBJECT_CLASS, NODATA_CLASS

VOID = NODATA_CLASS
"""The class of pixels of which a side says nothing."""

NOTHING = NO_OBJECT_CLASS
"""The class of pixels that are known to be of no segment that is judged."""

Rename = Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""From classes (n,) and ids (n,) of segments to others."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """The segments of a window, of a map or of a reference.

    A segment is known by its class and id, wherever its pixels lie: an object has the same id in every window.
    Stuff has the id 0. The id 0 of a thing is, in a reference, a crowd: objects that nobody told apart.

    Attributes:
        class_hw: Class id of each pixel (row, column), `VOID` or `NOTHING`.
        id_hw: Whole numbers from 0 on (row, column).
    """

    class_hw: NDArray[np.uint8]
    id_hw: NDArray[Any]

    def only(self, mask_hw: NDArray[np.bool_]) -> "Segmented":
        """The same where a mask (row, column) is true, and `VOID` elsewhere."""
        class_hw = np.where(mask_hw, self.class_hw, np.uint8(VOID))
        return Segmented(class_hw, np.where(mask_hw, self.id_hw, self.id_hw.dtype.type(0)))

    @classmethod
    def void(cls, shape: tuple[int, int]) -> Self:
        """A window (height, width) of which nothing is said."""
        return cls(np.full(shape, VOID, np.uint8), np.zeros(shape, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Pixels in common of pairs of segments, a row a pair, in the order of the columns and each pair once.

    Attributes:
        predicted_class: int64 (n,); class of the map's segment.
        predicted_id: int64 (n,); its id.
        true_class: int64 (n,); class of the reference's segment.
        true_id: int64 (n,); its id.
        pixels: int64 (n,); in both.
    """

    predicted_class: NDArray[np.int64]
    predicted_id: NDArray[np.int64]
    true_class: NDArray[np.int64]
    true_id: NDArray[np.int64]
    pixels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def columns(self) -> tuple[NDArray[np.int64], ...]:
        """The arrays (n,) in the order of the attributes."""
        return self.predicted_class, self.predicted_id, self.true_class, self.true_id, self.pixels

    @classmethod
    def of(cls, predicted: Segmented, true: Segmented) -> Self:
        """Count the pixels of a window.

        Args:
            predicted: Of the map.
            true: Of the reference, in the same window.
        """
        sides = (predicted.class_hw, predicted.id_hw, true.class_hw, true.id_hw)
        flat = [np.ascontiguousarray(side).reshape(-1) for side in sides]
        # Neighbours along a row are mostly alike: stretches of equal pixels are few, and sorted in their place.
        changes = np.ones(flat[0].size, np.bool_)
        if flat[0].size:
            changes[1:] = False
        for values in flat:
            changes[1:] |= values[1:] != values[:-1]
        start = np.flatnonzero(changes)
        length = np.diff(start, append=flat[0].size)
        names = tuple(values[start].astype(np.int64) for values in flat)
        return cls._together(names, length.astype(np.int64))

    @classmethod
    def summed(cls, parts: Iterable["Overlaps"]) -> Self:
        """The counts of all parts together."""
        columns = [part.columns for part in parts]
        if not columns:
            return cls(*(np.empty(0, np.int64) for _ in range(5)))
        *names, pixels = (np.concatenate(column) for column in zip(*columns, strict=True))
        return cls._together(tuple(names), pixels)

    def renamed(self, predicted: Rename | None = None, true: Rename | None = None) -> "Overlaps":
        """The same pixels under other names; segments that get the same name are one.

        Args:
            predicted: Says how segments of the map are called.
            true: Likewise of the reference.
        """
        found, expected = self.columns[:2], self.columns[2:4]
        if predicted is not None:
            found = predicted(*found)
        if true is not None:
            expected = true(*expected)
        return Overlaps._together((*found, *expected), self.pixels)

    @classmethod
    def _together(cls, names: tuple[NDArray[np.int64], ...], pixels: NDArray[np.int64]) -> Self:
        """Rows with the same four names (n,) as one."""
        order = np.lexsort(names[::-1])
        pixels = pixels[order]
        names = tuple(name[order] for name in names)
        new = np.ones(len(pixels), np.bool_)
        if len(pixels):
            new[1:] = False
        for name in names:
            new[1:] |= name[1:] != name[:-1]
        first = np.flatnonzero(new)
        total = np.add.reduceat(pixels, first) if len(first) else pixels
        predicted_class, predicted_id, true_class, true_id = (name[first] for name in names)
        return cls(predicted_class, predicted_id, true_class, true_id, total)


class OverlapSum:
    """Adds up what windows hold, in any order, in memory that grows with the pairs of segments alone.

    Args:
        least_rows: Fewer rows are not brought together before they are asked for.
    """

    def __init__(self, least_rows: int = 100_000) -> None:
        self._least_rows = least_rows
        self._sum = Overlaps.summed(())
        self._pending: list[Overlaps] = []
        self._rows = 0

    def add(self, overlaps: Overlaps) -> None:
        """Add the counts of a window."""
        self._pending.append(overlaps)
        self._rows += len(overlaps)
        # When there are as many rows as were brought together before: each row is sorted a few times at most.
        if self._rows > max(self._least_rows, len(self._sum)):
            self.total()

    def total(self) -> Overlaps:
        """The counts of all windows so far."""
        if self._pending:
            self._sum = Overlaps.summed((self._sum, *self._pending))
            self._pending, self._rows = [], 0
        return self._sum
