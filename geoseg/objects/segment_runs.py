"""Segments: of a thing each object is one, of stuff each class; and what is counted of them, part by part."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS

VOID = 0
"""The key of pixels that are of no segment."""

_STUFF = 2**64 - 256
"""From here on keys are of classes; ids of objects, places on a grid, are far below."""


def stuff_key(class_id: int) -> int:
    """The key of the segment that all pixels of a class of stuff are."""
    return _STUFF + class_id


def class_of_stuff(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The class id of keys (n,) that `stuff_key` gave, int64 (n,); -1 of those of objects and of `VOID`."""
    is_stuff = keys >= np.uint64(_STUFF)
    return np.where(is_stuff, keys - np.uint64(_STUFF), 0).astype(np.int64) - ~is_stuff


def segment_keys(
    classes_hw: NDArray[np.uint8], instances_hw: NDArray[np.uint64], stuff: Iterable[int]
) -> NDArray[np.uint64]:
    """Which segment each pixel is of.

    Args:
        classes_hw: Class ids (row, column), `NODATA_CLASS` where there is no data, which is `VOID` whatever else.
        instances_hw: Ids of objects (row, column), from 1 on; 0 where there is none.
        stuff: Ids of the classes that are stuff. A pixel of another class that is of no object is `VOID`.

    Returns:
        uint64 (row, column): the id of an object, the key of a class of stuff, or `VOID`.
    """
    key_v = np.zeros(256, np.uint64)
    for class_id in stuff:
        key_v[class_id] = stuff_key(class_id)
    keys_hw = key_v[classes_hw]
    is_object_hw = (instances_hw > 0) & (classes_hw != NODATA_CLASS)
    return np.where(is_object_hw, instances_hw, keys_hw)


@dataclass(frozen=True, slots=True, eq=False)
class KeyRuns:
    """The pixels of an array as runs of equal keys, none of which leaves its row.

    Attributes:
        shape: (height, width) of the array.
        start: int64 (n,); row x width + column where each run begins.
        length: int64 (n,); how many pixels it has.
        keys: uint64 (m,); the keys that there are, in the order of their first pixels.
        first: int64 (m,); where the first pixel of each is, as `start`.
        index: int64 (n,); which of them the key of each run is.
    """

    shape: tuple[int, int]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    keys: NDArray[np.uint64]
    first: NDArray[np.int64]
    index: NDArray[np.int64]

    @classmethod
    def of(cls, keys_hw: NDArray[np.uint64]) -> "KeyRuns":
        """The runs of an array (row, column)."""
        height, width = keys_hw.shape
        begins_hw = np.ones((height, width), np.bool_)
        np.not_equal(keys_hw[:, 1:], keys_hw[:, :-1], out=begins_hw[:, 1:])
        start = np.flatnonzero(begins_hw)
        length = np.diff(start, append=height * width)
        keys, first, index = np.unique(keys_hw.reshape(-1)[start], return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return cls((height, width), start, length, keys[order], start[first[order]], place[index])

    def paint(self, value: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """The array (row, column) in which each of `keys` is a value.

        Args:
            value: uint32 (m,); of each key.
        """
        return np.repeat(value[self.index], self.length).reshape(self.shape)

    def measure(self, row: int, col: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many pixels each key has, and which box holds them.

        Args:
            row: What is added to rows.
            col: What is added to columns.

        Returns:
            int64 (m,), and int64 (m, 4): first row, first column, the row after the last and the column after the
            last.
        """
        count = len(self.keys)
        area = np.zeros(count, np.int64)
        np.add.at(area, self.index, self.length)
        rows, cols = np.divmod(self.start, self.shape[1])
        box = np.tile(np.array([np.iinfo(np.int64).max] * 2 + [0] * 2, np.int64), (count, 1))
        np.minimum.at(box[:, 0], self.index, rows + row)
        np.minimum.at(box[:, 1], self.index, cols + col)
        np.maximum.at(box[:, 2], self.index, rows + row + 1)
        np.maximum.at(box[:, 3], self.index, cols + col + self.length)
        return area, box


@dataclass(slots=True, eq=False)
class SegmentTable:
    """What is known of the segments of a picture that is seen part by part.

    Attributes:
        key: uint64 (n,), sorted.
        number: int64 (n,); what stands for each segment in the picture.
        class_id: int64 (n,).
        area: int64 (n,); pixels.
        box: int64 (n, 4), as `KeyRuns.measure` gives it.
    """

    key: NDArray[np.uint64]
    number: NDArray[np.int64]
    class_id: NDArray[np.int64]
    area: NDArray[np.int64]
    box: NDArray[np.int64]

    @classmethod
    def empty(cls) -> "SegmentTable":
        """Of a picture of which nothing was seen yet."""
        number, class_id, area = (np.empty(0, np.int64) for _ in range(3))
        return cls(np.empty(0, np.uint64), number, class_id, area, np.empty((0, 4), np.int64))

    def __len__(self) -> int:
        return len(self.key)

    def unknown(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which keys (m,) are not in the table, boolean (m,)."""
        return ~np.isin(keys, self.key, assume_unique=True)

    def add(self, keys: NDArray[np.uint64], numbers: NDArray[np.int64], class_id: NDArray[np.int64]) -> None:
        """Take segments in that are not in the table.

        Args:
            keys: uint64 (m,), each once.
            numbers: int64 (m,); what stands for them.
            class_id: int64 (m,); their classes.
        """
        order = np.argsort(keys)
        at = np.searchsorted(self.key, keys[order])
        self.key = np.insert(self.key, at, keys[order])
        self.number = np.insert(self.number, at, numbers[order])
        self.class_id = np.insert(self.class_id, at, class_id[order])
        self.area = np.insert(self.area, at, 0)
        far = np.tile(np.array([np.iinfo(np.int64).max] * 2 + [0] * 2, np.int64), (len(keys), 1))
        self.box = np.insert(self.box, at, far, axis=0)

    def numbers(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """What stands for segments that are in the table, int64 (m,).

        Args:
            keys: uint64 (m,).
        """
        return self.number[np.searchsorted(self.key, keys)]

    def count(self, keys: NDArray[np.uint64], area: NDArray[np.int64], box: NDArray[np.int64]) -> None:
        """Count pixels of segments that are in the table.

        Args:
            keys: uint64 (m,), each once.
            area: int64 (m,).
            box: int64 (m, 4), as `KeyRuns.measure` gives it.
        """
        at = np.searchsorted(self.key, keys)
        self.area[at] += area
        self.box[at, :2] = np.minimum(self.box[at, :2], box[:, :2])
        self.box[at, 2:] = np.maximum(self.box[at, 2:], box[:, 2:])
