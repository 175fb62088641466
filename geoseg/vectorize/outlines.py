"""Outlines of the objects of a block, exact or simplified; parts of one object in different blocks fit together."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.vectorize.polygons import dissolve, trace
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.simplify import simplify

PATCH_PX = 512
"""Side of the squares, anchored at the grid's origin, that are simplified by themselves."""


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Outlines of objects or of parts of them, sorted by id.

    Attributes:
        id: int64 (n,); 1 + row x grid width + column of the object's first pixel in raster order.
        class_id: uint8 (n,).
        confidence: float64 (n,); mean probability of the whole object's class over its pixels, 0 to 1.
        polygons: shapely polygons (n,) in pixel coordinates (x = column, y = row, at pixel corners).
    """

    id: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    polygons: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: NDArray[Any]) -> "Outlines":
        """The rows at an index (m,), or where a mask (n,) is true."""
        return Outlines(self.id[index], self.class_id[index], self.confidence[index], self.polygons[index])

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        rings = Rings.of(self.polygons)
        # Pixel corners are integers, at most 2^31 a side.
        return {
            "id": self.id,
            "class_id": self.class_id,
            "confidence": self.confidence,
            **rings.to_arrays(np.int32),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        polygons = Rings.from_arrays(arrays).polygons()
        return cls(arrays["id"], arrays["class_id"], arrays["confidence"], polygons)


def assemble(parts: list[Outlines], *, exact: bool) -> Outlines:
    """Whole objects from the parts that blocks hold of them.

    Args:
        parts: All parts of some objects, in any order; at least one.
        exact: Whether the outlines are those of pixels, see `dissolve`.

    Returns:
        Each object once, its polygon in shapely's normal form: where a ring starts depends on the blocks.

    Raises:
        ValueError: The parts of an object do not hang together.
    """
    every = np.concatenate([part.id for part in parts])
    ids, polygons = dissolve(np.concatenate([part.polygons for part in parts]), every, exact=exact)
    _, first = np.unique(every, return_index=True)
    class_id = np.concatenate([part.class_id for part in parts])[first]
    confidence = np.concatenate([part.confidence for part in parts])[first]
    return Outlines(ids, class_id, confidence, shapely.normalize(polygons))


def outline(
    labels_hw: NDArray[np.int32],
    classes_hw: NDArray[np.uint8],
    window: Window,
    around: Window,
    tolerance_px: float,
    patch_px: int = PATCH_PX,
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """The outlines of the labelled objects of a block.

    At a tolerance of 0 they are those of the pixels. Else squares of `patch_px` are simplified one by one, each
    with all that is in it, and their edges stay as they are. Outlines thus depend neither on the blocks nor on
    what lies further away; lines that cross the edge of a square keep the vertex there. Towards pixels without
    data outlines stay those of the pixels.

    Args:
        labels_hw: int32 (row, column) of the block, 0 for background; what has no outline of its own counts as
            background.
        classes_hw: uint8 (row, column) of `around`, 255 = nodata.
        window: The block, starting at multiples of `patch_px`.
        around: The block and the pixels beside it, as far as the grid goes.
        tolerance_px: Square root of the largest triangle that is removed, in pixels.
        patch_px: Side of the squares, anchored at the grid's origin.

    Returns:
        Labels in increasing order, int64 (n,), and the polygon of each in the grid's pixel coordinates, (n,).

    Raises:
        ValueError: The tolerance is negative or not finite.
    """
    if not 0 <= tolerance_px < math.inf:
        raise ValueError(f"expected a tolerance of 0 pixels or more, got {tolerance_px}")
    if tolerance_px == 0:
        label, traced = trace(labels_hw, labels_hw > 0, window)
        order = np.argsort(label)
        return label[order], traced[order]
    labels, polygons = [np.empty(0, np.int64)], [np.empty(0, object)]
    for patch in _patches(window, patch_px):
        at = patch.slices_in(window)
        if not labels_hw[at].any():
            continue
        valid_hw = classes_hw[patch.slices_in(around)] != NODATA_CLASS
        of_polygon, traced = trace(labels_hw[at], valid_hw, patch)
        simplified = simplify(traced, tolerance_px, _nodes(classes_hw, patch, around))
        labels.append(of_polygon[of_polygon > 0])
        polygons.append(simplified[of_polygon > 0])
    return dissolve(np.concatenate(polygons), np.concatenate(labels), exact=False)


def _patches(window: Window, patch_px: int) -> Iterator[Window]:
    for row in range(window.row, window.row_stop, patch_px):
        for col in range(window.col, window.col_stop, patch_px):
            height, width = min(patch_px, window.row_stop - row), min(patch_px, window.col_stop - col)
            yield Window(row, col, height, width)


def _nodes(classes_hw: NDArray[np.uint8], patch: Window, around: Window) -> NDArray[np.int64]:
    """Points on a patch's edges where the class changes, on either side; int64 (p, 2), x and y.

    Both sides need them as vertices, so that what is simplified apart fits together without a gap.
    """
    top, left = patch.row - around.row, patch.col - around.col
    bottom, right = top + patch.height, left + patch.width
    nodes = [np.empty((0, 2), np.int64)]
    for line, inner_and_outer in ((top, (top, top - 1)), (bottom, (bottom - 1, bottom))):
        for row in inner_and_outer:
            if 0 <= row < around.height:
                x = 1 + np.flatnonzero(np.diff(classes_hw[row, left:right].astype(np.int16)))
                nodes.append(np.column_stack((patch.col + x, np.full(len(x), around.row + line))))
    for line, inner_and_outer in ((left, (left, left - 1)), (right, (right - 1, right))):
        for col in inner_and_outer:
            if 0 <= col < around.width:
                y = 1 + np.flatnonzero(np.diff(classes_hw[top:bottom, col].astype(np.int16)))
                nodes.append(np.column_stack((np.full(len(y), around.col + line), patch.row + y)))
    return np.concatenate(nodes)
