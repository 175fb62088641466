"""Outlines of the objects of a block, exact or simplified; parts of one object in different blocks fit together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.io.layers import feature_of
from geoseg.labels import NO_OBJECT_CLASS, NODATA_CLASS
from geoseg.vectorize.polygons import dissolve, trace
from geoseg.vectorize.rings import Rings
from geoseg.vectorize.simplify import Generalization, simplify

PATCH_PX = 512
"""Side of the squares, anchored at the grid's origin, that are simplified by themselves."""

PARTS_ABOVE_SIDES = 2**21
"""Objects with a longer outline, in sides of pixels (`Measures.sides`), are written in parts: an outline that long
has as many vertices at most, of which a worker that joins it holds a few hundred MiB."""

_COLUMNS = ("id", "part", "class_id", "confidence")

_OF_OUTLINES = (*_COLUMNS, "is_cut")


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """Outlines of what blocks hold of objects, in any order.

    Attributes:
        id: int64 (n,); 1 + row x grid width + column of the object's first pixel in raster order.
        part: int64 (n,); 0 of an object that is one feature, and of the largest piece of an instance in several;
            where each part or piece is a feature of its own, 1 + row x grid width + column of its first pixel.
        is_cut: bool (n,); whether the outline is a feature as it is; else all with the same feature are one.
        class_id: uint8 (n,).
        confidence: float64 (n,); of the whole object, 0 to 1: the mean probability of its class over its pixels, of
            an instance times the heat of its centre.
        rings: The polygon of each in pixel coordinates, int32 (x = column, y = row, at pixel corners); float64 in
            halves of a pixel where they are smoothed.
    """

    id: NDArray[np.int64]
    part: NDArray[np.int64]
    is_cut: NDArray[np.bool_]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    rings: Rings

    def __len__(self) -> int:
        return len(self.id)

    @property
    def feature(self) -> NDArray[np.int64]:
        """int64 (n,); what tells the feature apart that each becomes: its part, else its id."""
        return feature_of(self.id, self.part)

    def take(self, index: NDArray[Any]) -> "Outlines":
        """The rows at an index (m,), or where a mask (n,) is true."""
        columns = {name: getattr(self, name)[index] for name in _OF_OUTLINES}
        return Outlines(**columns, rings=self.rings.at(index))

    @classmethod
    def concatenate(cls, several: "Sequence[Outlines]") -> Self:
        """All of them; there is at least one."""
        columns = {name: np.concatenate([getattr(one, name) for one in several]) for name in _OF_OUTLINES}
        return cls(**columns, rings=Rings.concatenate([one.rings for one in several]))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {**{name: getattr(self, name) for name in _OF_OUTLINES}, **self.rings.to_arrays()}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        return cls(**{name: arrays[name] for name in _OF_OUTLINES}, rings=Rings.from_arrays(arrays))


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """What becomes of objects: a polygon of each, or one of each part, in raster order of their first pixels.

    Attributes:
        id: int64 (n,); as of `Outlines`.
        part: int64 (n,); as of `Outlines`.
        class_id: uint8 (n,).
        confidence: float64 (n,).
        polygons: shapely polygons (n,) in pixel coordinates.
    """

    id: NDArray[np.int64]
    part: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    polygons: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)

    @property
    def feature(self) -> NDArray[np.int64]:
        """int64 (n,); as of `Outlines`."""
        return feature_of(self.id, self.part)


def assemble(outlines: Outlines, exact_block_px: tuple[int, int] | None) -> Objects:
    """Whole objects from what blocks hold of them; what is a part for good is left as it is.

    Args:
        outlines: All outlines of some objects.
        exact_block_px: (height, width) of the blocks where the outlines are those of pixels; None where they are
            simplified.

    Returns:
        Polygons in shapely's normal form: where a ring starts depends on the blocks.

    Raises:
        ValueError: The outlines of an object do not hang together.
    """
    pieces, parts = outlines.take(~outlines.is_cut), outlines.take(outlines.is_cut)
    if exact_block_px is None:
        _, polygons = dissolve(pieces.rings.polygons(), pieces.feature)
    else:
        # numba takes a second to load, and most commands join nothing.
        from geoseg.vectorize.joining import join  # noqa: PLC0415

        _, joined = join(pieces.rings, pieces.feature, exact_block_px)
        polygons = joined.polygons()
    _, first = np.unique(pieces.feature, return_index=True)
    columns = {name: np.concatenate((getattr(pieces, name)[first], getattr(parts, name))) for name in _COLUMNS}
    polygons = shapely.normalize(np.concatenate((polygons, parts.rings.polygons())))
    order = np.argsort(feature_of(columns["id"], columns["part"]))
    return Objects(**{name: column[order] for name, column in columns.items()}, polygons=polygons[order])


def outline(
    labels_hw: NDArray[np.int32],
    segments_hw: NDArray[np.integer[Any]],
    window: Window,
    around: Window,
    how: Generalization,
    class_of: NDArray[np.uint8],
    in_parts: NDArray[np.bool_],
    patch_px: int = PATCH_PX,
) -> tuple[NDArray[np.int64], NDArray[np.int64], Rings, int]:
    """The outlines of the labelled objects of a block.

    Without generalization they are those of the pixels. Else squares of `patch_px` are generalized one by one, each
    with all that is in it, and their edges stay as they are. Outlines thus depend neither on the blocks nor on
    what lies further away; lines that cross the edge of a square keep the vertex there. Towards pixels without
    data outlines stay those of the pixels. Objects in parts are cut along the edges of the squares, too.

    Args:
        labels_hw: int32 (row, column) of the block, 0 for background; what has no outline of its own counts as
            background.
        segments_hw: Classes, uint8 (row, column) of `around`, 255 = nodata, or segments, int64 (row, column); two
            pixels side by side with labels are of one segment if their labels are equal, and only then.
        window: The block, starting at multiples of `patch_px`.
        around: The block and the pixels beside it, as far as the grid goes.
        how: How outlines are made simpler.
        class_of: Class of each label, uint8 (label,), from 0.
        in_parts: Whether the object of each label is cut into parts, boolean (label,), from 0.
        patch_px: Side of the squares, anchored at the grid's origin.

    Returns:
        The label of each outline, int64 (n,); of a part the place of its first pixel in the block, row x width +
        column, int64 (n,), else -1; polygons in the grid's pixel coordinates, as `Outlines` has them; and how
        many vertices they had before they were generalized.
    """
    here_hw = segments_hw[window.slices_in(around)]
    nothing, other = here_hw.dtype.type(NODATA_CLASS), here_hw.dtype.type(NO_OBJECT_CLASS)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], Rings]] = []
    vertices = 0
    if how.is_none:
        is_whole_hw = (labels_hw > 0) & ~in_parts[labels_hw]
        rings, place = trace(np.where(is_whole_hw, here_hw, nothing), window)
        found.append((labels_hw.reshape(-1)[place].astype(np.int64), np.full(len(place), -1), rings))
        vertices += len(rings.xy)
    pieces: list[tuple[NDArray[np.object_], NDArray[np.int64]]] = []
    for patch in patches(window, patch_px) if not how.is_none or in_parts.any() else ():
        at = patch.slices_in(window)
        if how.is_none:
            values_hw = np.where(in_parts[labels_hw[at]], here_hw[at], nothing)
        else:
            is_other_hw = (labels_hw[at] == 0) & (here_hw[at] != NODATA_CLASS)
            values_hw = np.where(is_other_hw, other, here_hw[at])
            if not labels_hw[at].any():
                continue
        rings, first = trace(values_hw, patch)
        row, col = np.divmod(first, patch.width)
        place = (row + patch.row - window.row) * window.width + col + patch.col - window.col
        label = labels_hw.reshape(-1)[place].astype(np.int64)
        is_part = in_parts[label]
        vertices += int(rings.at(label > 0).size.sum())
        if how.is_none:
            found.append((label, place, rings))
            continue
        keep_corners = (label > 0) & np.isin(class_of[label], how.angular) if how.smooth else None
        simplified = simplify(rings.polygons(), how.tolerance_px, _nodes(segments_hw, patch, around), keep_corners)
        found.append((label[is_part], place[is_part], _stored(simplified[is_part], how)))
        is_piece = (label > 0) & ~is_part
        pieces.append((simplified[is_piece], label[is_piece]))
    if pieces:
        label, polygons = dissolve(*(np.concatenate(column) for column in zip(*pieces, strict=True)))
        found.append((label, np.full(len(label), -1), _stored(polygons, how)))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), _stored(np.empty(0, object), how), 0
    labels, places, several = zip(*found, strict=True)
    return np.concatenate(labels), np.concatenate(places), Rings.concatenate(several), vertices


def _stored(polygons: NDArray[np.object_], how: Generalization) -> Rings:
    """Polygons (n,), as int32 where vertices are corners of pixels, on grids of at most 2^31 pixels a side."""
    rings = Rings.of(polygons)
    if how.smooth:
        return rings
    return Rings(rings.xy.astype(np.int32), rings.size, rings.count)


def patches(window: Window, patch_px: int) -> Iterator[Window]:
    """The squares of a window that starts at multiples of their side; at its ends they may be smaller."""
    for row in range(window.row, window.row_stop, patch_px):
        for col in range(window.col, window.col_stop, patch_px):
            height, width = min(patch_px, window.row_stop - row), min(patch_px, window.col_stop - col)
            yield Window(row, col, height, width)


def _nodes(segments_hw: NDArray[np.integer[Any]], patch: Window, around: Window) -> NDArray[np.int64]:
    """Points on a patch's edges where the segment changes, on either side; int64 (p, 2), x and y.

    Both sides need them as vertices, so that what is simplified apart fits together without a gap.
    """
    top, left = patch.row - around.row, patch.col - around.col
    bottom, right = top + patch.height, left + patch.width
    nodes = [np.empty((0, 2), np.int64)]
    for line, inner_and_outer in ((top, (top, top - 1)), (bottom, (bottom - 1, bottom))):
        for row in inner_and_outer:
            if 0 <= row < around.height:
                x = 1 + np.flatnonzero(segments_hw[row, left + 1 : right] != segments_hw[row, left : right - 1])
                nodes.append(np.column_stack((patch.col + x, np.full(len(x), around.row + line))))
    for line, inner_and_outer in ((left, (left, left - 1)), (right, (right - 1, right))):
        for col in inner_and_outer:
            if 0 <= col < around.width:
                y = 1 + np.flatnonzero(segments_hw[top + 1 : bottom, col] != segments_hw[top : bottom - 1, col])
                nodes.append(np.column_stack((np.full(len(y), around.col + line), patch.row + y)))
    return np.concatenate(nodes)
