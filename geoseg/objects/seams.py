"""Objects across blocks: components that meet at a seam are one object.

Only the pixels on block borders are looked at, a row of blocks at a time: once from the top down, when components
become sets (`link`), and once from the bottom up, when each set learns what it became further down (`settle`).
Memory grows with the blocks of a row that are there, not with the grid's width or height.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import Window
from geoseg.objects.label import BlockObjects
from geoseg.objects.measures import Measures

_NO_SET = -1

_LINES = ("top_w", "bottom_w", "left_h", "right_h", "label", "segment")


@dataclass(frozen=True, slots=True, eq=False)
class BlockBorders:
    """What a block's neighbours need to know of it.

    Attributes:
        window: The block's place on the grid.
        top_w: int32 (column,); labels along the first row, 0 where there is no object.
        bottom_w: int32 (column,); along the last row.
        left_h: int32 (row,); along the first column.
        right_h: int32 (row,); along the last column.
        label: int32 (n,); the labels on those four lines, sorted, each once.
        segment: int64 (n,); the class of each, or what else tells it apart (`geoseg.objects.label`).
        measures: Of each, within the block.
    """

    window: Window
    top_w: NDArray[np.int32]
    bottom_w: NDArray[np.int32]
    left_h: NDArray[np.int32]
    right_h: NDArray[np.int32]
    label: NDArray[np.int32]
    segment: NDArray[np.int64]
    measures: Measures

    @classmethod
    def of(cls, objects: BlockObjects) -> Self:
        """The borders of a labelled block."""
        runs = objects.runs
        top_w, bottom_w = runs.row(0), runs.row(objects.window.height - 1)
        left_h, right_h = runs.side(last=False), runs.side(last=True)
        label = np.unique(np.concatenate((top_w, bottom_w, left_h, right_h)))
        label = label[label > 0]
        return cls(
            window=objects.window,
            top_w=top_w,
            bottom_w=bottom_w,
            left_h=left_h,
            right_h=right_h,
            label=label,
            segment=objects.segment[label - 1],
            measures=objects.measures.take(label - 1),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name, but for the window."""
        lines = {f"border_{name}": getattr(self, name) for name in _LINES}
        return {**lines, **self.measures.to_arrays("border_")}

    @classmethod
    def from_arrays(cls, window: Window, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        lines = {name: arrays[f"border_{name}"] for name in _LINES}
        return cls(window=window, **lines, measures=Measures.from_arrays(arrays, "border_"))


@dataclass(frozen=True, slots=True, eq=False)
class LinkedRow:
    """The components on the borders of a row of blocks, joined with all that lies above.

    Attributes:
        row_stop: The first grid row below the blocks.
        members: For each block, int64 (n,): the set of each of its `BlockBorders.label`.
        above: int64 (m,); the set that each set of the row above is part of, -1 where it does not reach this row.
        segment: int64 (n,); the segment of each of n sets.
        measures: Of each set, down to this row.
        bottom_col: int64 (place,); the grid columns along the last row of pixels where there is an object, sorted:
            where there are few blocks, far apart, an array as wide as the grid would outgrow all of them.
        bottom_set: int64 (place,); the set of each.
    """

    row_stop: int
    members: tuple[NDArray[np.int64], ...]
    above: NDArray[np.int64]
    segment: NDArray[np.int64]
    measures: Measures
    bottom_col: NDArray[np.int64]
    bottom_set: NDArray[np.int64]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What `settle` needs, by name."""
        sizes = np.array([len(part) for part in self.members], np.int64)
        members = np.concatenate((np.empty(0, np.int64), *self.members))
        return {"members": members, "sizes": sizes, "above": self.above, **self.measures.to_arrays()}


def link(blocks: Sequence[BlockBorders], above: LinkedRow | None) -> LinkedRow:
    """Join the components of a row of blocks with one another and with the row above.

    Two components are one object when a pixel of one is 4-adjacent to a pixel of the other across a border and
    the segments are equal.

    Args:
        blocks: Blocks of one row, from left to right; those without any data may be missing.
        above: The row above, or None if there is nothing above.

    Raises:
        ValueError: The blocks are not of one row, or overlap.
    """
    rows = {(block.window.row, block.window.row_stop) for block in blocks}
    if len(rows) != 1 or any(a.window.col_stop > b.window.col for a, b in pairwise(blocks)):
        raise ValueError("expected blocks of one row from left to right, each once")
    [(row, row_stop)] = rows
    starts = np.concatenate(([0], np.cumsum([len(block.label) for block in blocks]))).tolist()
    segment = np.concatenate([block.segment for block in blocks])
    measures = Measures.concatenate(*(block.measures for block in blocks))
    ones, others = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for (a, at_a), (b, at_b) in pairwise(zip(blocks, starts, strict=False)):
        if a.window.col_stop == b.window.col:
            one, other = _nodes(a, a.right_h, at_a), _nodes(b, b.left_h, at_b)
            touch = (one >= 0) & (other >= 0)
            ones.append(one[touch])
            others.append(other[touch])

    nodes = starts[-1]
    reaching = np.empty(0, np.int64)
    if above is not None and above.row_stop == row:
        top_col, top_node = _along(blocks, starts, "top_w")
        _, at_top, at_bottom = np.intersect1d(top_col, above.bottom_col, assume_unique=True, return_indices=True)
        here, there = top_node[at_top], above.bottom_set[at_bottom]
        touch = segment[here] == above.segment[there]
        reaching, of_above = np.unique(there[touch], return_inverse=True)
        ones.append(here[touch])
        others.append(nodes + of_above)
        segment = np.concatenate((segment, above.segment[reaching]))
        measures = Measures.concatenate(measures, above.measures.take(reaching))
    one, other = np.concatenate(ones), np.concatenate(others)
    same = segment[one] == segment[other]
    edges = (np.ones(int(same.sum()), np.uint8), (one[same], other[same]))
    graph = coo_array(edges, shape=(len(segment), len(segment)))
    count, set_of = connected_components(graph, directed=False) if len(segment) else (0, np.empty(0, np.int64))

    set_of = set_of.astype(np.int64)
    set_segment = np.zeros(count, np.int64)
    set_segment[set_of] = segment
    of_above = np.full(0 if above is None else len(above.measures), _NO_SET, np.int64)
    of_above[reaching] = set_of[nodes:]
    bottom_col, bottom_node = _along(blocks, starts, "bottom_w")
    members = tuple(np.split(set_of[:nodes], starts[1:-1]))
    joined = measures.joined(set_of, count)
    return LinkedRow(row_stop, members, of_above, set_segment, joined, bottom_col, set_of[bottom_node])


def settle(
    arrays: dict[str, NDArray[Any]], below: tuple[NDArray[np.int64], Measures] | None
) -> tuple[list[Measures], tuple[NDArray[np.int64], Measures]]:
    """The objects that the components on the borders of a row of blocks are part of.

    Args:
        arrays: The row, from `LinkedRow.to_arrays`.
        below: What this function returned second for the row below; None for the last row.

    Returns:
        For each block, a row for each of its `BlockBorders.label`: the measures of the whole object. And what the
        row above needs: the set here of each of its sets, int64 (m,), and the measures of those.
    """
    measures = Measures.from_arrays(arrays)
    if below is not None:
        set_below, final = below
        goes_on = set_below >= 0
        columns = (column.copy() for column in measures.columns)
        measures = Measures(*columns)
        for column, value in zip(measures.columns, final.take(set_below[goes_on]).columns, strict=True):
            column[goes_on] = value
    members = np.split(arrays["members"], np.cumsum(arrays["sizes"])[:-1])
    return [measures.take(member) for member in members], (arrays["above"], measures)


def _nodes(block: BlockBorders, line: NDArray[np.int32], start: int) -> NDArray[np.int64]:
    """Graph nodes along a line of a block, int64 (pixel,), -1 where there is no object."""
    return np.where(line > 0, start + np.searchsorted(block.label, line), _NO_SET).astype(np.int64)


def _along(
    blocks: Sequence[BlockBorders], starts: Sequence[int], side: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The grid columns along one side of a row of blocks in which there is an object, sorted, and its graph node.

    Returns:
        int64 (place,) each.
    """
    cols, nodes = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for block, start in zip(blocks, starts, strict=False):
        line = getattr(block, side)
        col = np.flatnonzero(line)
        cols.append(col + block.window.col)
        nodes.append(_nodes(block, line[col], start))
    return np.concatenate(cols), np.concatenate(nodes)
