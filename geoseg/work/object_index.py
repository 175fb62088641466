"""The objects of a region in the order of their ids, kept in a file: a region may have more than memory holds."""

import math
import os
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RunFolderError
from geoseg.tiling import Block
from geoseg.work.run_objects import RunObjects


class ObjectIndex:
    """Ids of objects, to which each its place, and for objects of mixed pixels the class of most of them.

    Args:
        folder: Where the files lie; it is there.
        classes: Ids of the classes that objects can be of; counted where there are several.
    """

    def __init__(self, folder: Path, classes: Sequence[int]) -> None:
        self._ids_file, self._counts_file = folder / "ids", folder / "counts"
        self._classes = np.array(sorted(classes), np.int64)
        self._ids: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._counts: NDArray[np.int64] = np.empty((0, len(self._classes)), np.int64)
        self._length = 0
        self._ids_file.touch()

    def __len__(self) -> int:
        return self._length

    def append(self, ids: NDArray[np.uint64]) -> None:
        """Take objects in.

        Args:
            ids: uint64 (n,), sorted, all above those before.
        """
        with self._ids_file.open("ab") as stream:
            stream.write(ids.astype("<u8").tobytes())
        self._length += len(ids)
        if self._length:  # nothing cannot be mapped
            self._ids = np.memmap(self._ids_file, "<u8", "r")

    def places(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The place of each object, from 0, int64 (n,).

        Args:
            ids: uint64 (n,); of objects that are there.

        Raises:
            RunFolderError: One is not.
        """
        places = np.searchsorted(self._ids, ids)
        if len(ids) and (places.max() >= self._length or (self._ids[places] != ids).any()):
            raise RunFolderError(
                "the mosaic holds an object whose first pixel is not its own: it is damaged; run geoseg verify "
                "--mend, then repeat its geoseg map command"
            )
        return places

    def count(self, ids: NDArray[np.uint64], class_id: NDArray[np.int64], pixels: NDArray[np.int64]) -> None:
        """Count pixels, once all objects are there.

        Args:
            ids: uint64 (n,); objects.
            class_id: int64 (n,); classes, those given at first.
            pixels: int64 (n,); how many each object has of each.

        Raises:
            RunFolderError: As `places`.
        """
        if not self._length:
            return
        if not len(self._counts):
            shape = (self._length, len(self._classes))
            with self._counts_file.open("wb") as stream:
                # A mapped file for which the disk has no room ends the process, not in an error.
                os.posix_fallocate(stream.fileno(), 0, 8 * math.prod(shape))
            self._counts = np.memmap(self._counts_file, "<i8", "r+", shape=shape)
        np.add.at(self._counts, (self.places(ids), np.searchsorted(self._classes, class_id)), pixels)

    def classes(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The class that most counted pixels of each object are of, of equals the least id, int64 (n,).

        Args:
            ids: uint64 (n,).

        Raises:
            RunFolderError: As `places`.
        """
        if len(self._classes) == 1 or not len(ids):
            return np.full(len(ids), self._classes[0] if len(self._classes) else 0)
        return self._classes[np.argmax(self._counts[self.places(ids)], axis=1)]


def indexed(
    folder: Path, objects: RunObjects, blocks: Sequence[Block], advance: Callable[[int], None] = lambda _: None
) -> ObjectIndex:
    """All objects of a mosaic, none of their pixels counted yet.

    Args:
        folder: Where the index keeps its files; it is there.
        objects: The objects.
        blocks: Those that hold data, in row-major order.
        advance: Told of pixels that were gone over.
    """
    index = ObjectIndex(folder, sorted(objects.things))
    for _, row in groupby(blocks, lambda block: block.i):
        of_row = list(row)
        index.append(np.sort(np.concatenate([objects.begin(block) for block in of_row])))
        advance(sum(block.window.height * block.window.width for block in of_row))
    return index
