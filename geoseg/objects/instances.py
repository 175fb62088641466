"""Whole instances from their pieces in blocks: by the coordinate of their centre, wherever the pieces lie.

A piece is what of an instance hangs together; pieces are whole already, over all blocks (`geoseg.objects.seams`).
The block in which a centre lies adds up the pieces around it: none lies further away than an offset and a capture
radius reach, which is less than a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.objects.measures import Measures


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """What a block has of instances that have a centre.

    Attributes:
        key: int64 (n,); the centre of each piece that has pixels in the block, as of `centre_keys`.
        measures: Of each piece, over all blocks.
        counted: int64 (m,); the centres of the pixels in the block, in order, each once.
        pixels: int64 (m, thing); how many of those pixels are of each thing class.
    """

    key: NDArray[np.int64]
    measures: Measures
    counted: NDArray[np.int64]
    pixels: NDArray[np.int64]


def count_classes(
    keys_hw: NDArray[np.int64], classes_hw: NDArray[np.uint8], things: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many pixels of each centre are of each thing class.

    Args:
        keys_hw: Centre of each pixel (row, column), as of `centre_keys`.
        classes_hw: Class of each pixel (row, column).
        things: The thing classes.

    Returns:
        The centres in order, int64 (m,), and the pixels of each class, int64 (m, thing).
    """
    has_centre_hw = keys_hw > 0
    counted, of_pixel = np.unique(keys_hw[has_centre_hw], return_inverse=True)
    number = np.searchsorted(things, classes_hw[has_centre_hw])
    pixels = np.bincount(of_pixel * len(things) + number, minlength=len(counted) * len(things))
    return counted, pixels.reshape(len(counted), len(things)).astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Instances:
    """The instances whose centre lies in a block, or in several.

    Attributes:
        key: int64 (n,); their centres, in order.
        class_id: uint8 (n,); the class of most of their pixels, of equals the least.
        body: int64 (n,); place on the grid of the first pixel of the largest piece, of equals the first.
        heat: uint8 (n,); heat at the centre x 254.
        measures: Of all pieces together.
    """

    key: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    body: NDArray[np.int64]
    heat: NDArray[np.uint8]
    measures: Measures

    @classmethod
    def gather(
        cls,
        around: Sequence[Pieces],
        window: Window,
        grid_width: int,
        things: Sequence[int],
        heat_hw: NDArray[np.uint8],
    ) -> Self:
        """Add up the pieces of the instances whose centre lies in a block.

        Args:
            around: What the block and those around it have.
            window: The block.
            grid_width: Columns of the grid.
            things: The thing classes.
            heat_hw: Heat of the block (row, column).
        """
        key = np.concatenate([np.empty(0, np.int64), *(pieces.key for pieces in around)])
        measures = Measures.concatenate(Measures.none(), *(pieces.measures for pieces in around))
        # A piece that lies in several blocks counts once.
        _, once = np.unique(measures.first_pixel, return_index=True)
        once = once[_lies_in(key[once], window, grid_width)]
        key, measures = key[once], measures.take(once)
        keys, group = np.unique(key, return_inverse=True)
        largest = np.lexsort((measures.first_pixel, -measures.pixels, group))
        body = measures.first_pixel[largest[np.searchsorted(group[largest], np.arange(len(keys)))]]
        pixels = np.zeros((len(keys), len(things)), np.int64)
        for pieces in around:
            at = np.searchsorted(keys, pieces.counted)
            mine = np.flatnonzero(at < len(keys))
            mine = mine[keys[at[mine]] == pieces.counted[mine]]
            pixels[at[mine]] += pieces.pixels[mine]
        row, col = np.divmod(keys - 1, grid_width)
        return cls(
            keys,
            np.array(things, np.uint8)[pixels.argmax(axis=1)],
            body,
            heat_hw[row - window.row, col - window.col],
            measures.joined(group, len(keys)),
        )

    @classmethod
    def concatenate(cls, several: "Sequence[Instances]") -> Self:
        """Those of several blocks, in order of their centres."""
        key = np.concatenate([np.empty(0, np.int64), *(one.key for one in several)])
        order = np.argsort(key)
        return cls(
            key[order],
            np.concatenate([np.empty(0, np.uint8), *(one.class_id for one in several)])[order],
            np.concatenate([np.empty(0, np.int64), *(one.body for one in several)])[order],
            np.concatenate([np.empty(0, np.uint8), *(one.heat for one in several)])[order],
            Measures.concatenate(Measures.none(), *(one.measures for one in several)).take(order),
        )

    def of(self, key: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in this table the instances of some centres (m,) are, int64 (m,).

        Raises:
            ValueError: One is not there.
        """
        at = np.searchsorted(self.key, key)
        if len(key) and (not len(self.key) or (self.key[np.minimum(at, len(self.key) - 1)] != key).any()):
            raise ValueError("expected every centre among those of the blocks around, one is missing")
        return at

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "measures"}
        return {**columns, **self.measures.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        columns = {field.name: arrays[field.name] for field in fields(cls) if field.name != "measures"}
        return cls(**columns, measures=Measures.from_arrays(arrays))


def _lies_in(key: NDArray[np.int64], window: Window, grid_width: int) -> NDArray[np.bool_]:
    """Whether centres (n,) lie in a window, boolean (n,)."""
    row, col = np.divmod(key - 1, grid_width)
    in_rows = (row >= window.row) & (row < window.row_stop)
    return in_rows & (col >= window.col) & (col < window.col_stop)
