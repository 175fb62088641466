"""Instances out of blocks of any size: against grouping the pixels of the whole field at once."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.objects.centres import centre_keys
from geoseg.objects.grouping import Grouping, Panoptic
from geoseg.objects.instances import Instances, Pieces, count_classes
from geoseg.objects.label import BlockObjects, label_block
from geoseg.objects.measures import Measures
from geoseg.objects.seams import BlockBorders, LinkedRow, link, settle
from geoseg.objects.segments import key_of

THINGS, STUFF = (0, 1), 2
KEEP = (*THINGS, STUFF)
GROUPING = Grouping(least_heat=100, suppress_px=1, reach_px=2, capture_px=1)
SIDE_PX = 3
"""No smaller blocks: a centre lies in the block of its pixel or in one beside it."""


class Field:
    """Heat, offsets and classes of a grid."""

    def __init__(self, seed: int, height: int, width: int) -> None:
        rng = np.random.default_rng(seed)
        self.window = Window(0, 0, height, width)
        self.heat_hw = rng.choice(np.array([0, 120, 200, 255], np.uint8), (height, width), p=[0.7, 0.1, 0.1, 0.1])
        self.offset_ahw = rng.integers(-60, 60, (2, height, width), dtype=np.int16)
        classes = np.array([0, 0, 0, 1, STUFF, NODATA_CLASS], np.uint8)
        self.classes_hw = rng.choice(classes, (height, width))
        self.confidence_hw = rng.integers(0, 255, (height, width), dtype=np.uint8)

    def keys(self, core: Window) -> NDArray[np.int64]:
        halo = GROUPING.halo_px
        row, col = max(core.row - halo, 0), max(core.col - halo, 0)
        bottom = min(core.row_stop + halo, self.window.height)
        right = min(core.col_stop + halo, self.window.width)
        seen = Window(row, col, bottom - row, right - col)
        at, within = seen.slices_in(self.window), core.slices_in(self.window)
        is_thing_hw = Panoptic(THINGS, GROUPING).is_thing(self.classes_hw[within])
        offset_ahw = self.offset_ahw[:, *within]
        return centre_keys(self.heat_hw[at], offset_ahw, is_thing_hw, seen, core, self.window.width, GROUPING)

    def label(self, window: Window) -> BlockObjects:
        keys_hw, at = self.keys(window), window.slices_in(self.window)
        segments_hw = np.where(keys_hw > 0, NODATA_CLASS + keys_hw, self.classes_hw[at])
        return label_block(segments_hw, self.confidence_hw[at], window, self.window.width, KEEP)


def wholes(blocks: list[BlockObjects]) -> dict[Window, Measures]:
    """What each label of each block is part of, over all blocks."""
    rows = [list(row) for _, row in groupby(blocks, lambda block: block.window.row)]
    linked: list[LinkedRow] = []
    for row in rows:
        linked.append(link([BlockBorders.of(block) for block in row], linked[-1] if linked else None))
    found, below = {}, None
    for row, of_row in zip(reversed(rows), reversed(linked), strict=True):
        of_blocks, below = settle(of_row.to_arrays(), below)
        for block, measures in zip(row, of_blocks, strict=True):
            columns = tuple(column.copy() for column in block.measures.columns)
            for column, value in zip(columns, measures.columns, strict=True):
                column[BlockBorders.of(block).label - 1] = value
            found[block.window] = Measures(*columns)
    return found


def touch(a: Window, b: Window) -> bool:
    rows = a.row <= b.row_stop and b.row <= a.row_stop
    return rows and a.col <= b.col_stop and b.col <= a.col_stop


def in_blocks(field: Field, height_px: int, width_px: int) -> list[Instances]:
    """The instances of each block."""
    windows = [
        Window(row, col, min(height_px, field.window.height - row), min(width_px, field.window.width - col))
        for row in range(0, field.window.height, height_px)
        for col in range(0, field.window.width, width_px)
    ]
    blocks = [field.label(window) for window in windows]
    whole = wholes(blocks)
    pieces = {}
    for block in blocks:
        key = key_of(block.segment)
        at = block.window.slices_in(field.window)
        counted, pixels = count_classes(field.keys(block.window), field.classes_hw[at], THINGS)
        pieces[block.window] = Pieces(key[key > 0], whole[block.window].take(key > 0), counted, pixels)
    return [
        Instances.gather(
            [pieces[other] for other in windows if touch(window, other)],
            window,
            field.window.width,
            THINGS,
            field.heat_hw[window.slices_in(field.window)],
        )
        for window in windows
    ]


def at_once(field: Field) -> dict[int, tuple[int, ...]]:
    """Of each centre: class, first pixel of the largest piece, heat, first pixel, pixels and sum of confidence."""
    keys_hw = field.keys(field.window)
    found: dict[int, tuple[int, ...]] = {}
    for key in np.unique(keys_hw[keys_hw > 0]).tolist():
        mask_hw = keys_hw == key
        votes = [int((field.classes_hw[mask_hw] == thing).sum()) for thing in THINGS]
        piece_hw, count = ndimage.label(mask_hw)
        sizes = [(-int((piece_hw == n).sum()), int(np.flatnonzero(piece_hw == n)[0])) for n in range(1, count + 1)]
        found[key] = (
            THINGS[int(np.argmax(votes))],
            min(sizes)[1],
            int(field.heat_hw.ravel()[key - 1]),
            int(np.flatnonzero(mask_hw)[0]),
            int(mask_hw.sum()),
            int(field.confidence_hw[mask_hw].sum(dtype=np.int64)),
        )
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.builds(Field, st.integers(0, 2**32 - 1), st.integers(1, 16), st.integers(1, 16)),
    st.integers(SIDE_PX, 9),
    st.integers(SIDE_PX, 9),
)
def test_instances_are_those_of_the_whole_field(field: Field, height_px: int, width_px: int) -> None:
    found = Instances.concatenate(in_blocks(field, height_px, width_px))
    measures = found.measures
    columns = (
        found.class_id,
        found.body,
        found.heat,
        measures.first_pixel,
        measures.pixels,
        measures.confidence_sum,
    )
    rows = [tuple(map(int, row)) for row in zip(*columns, strict=True)]
    assert dict(zip(found.key.tolist(), rows, strict=True)) == at_once(field)
    np.testing.assert_array_equal(found.of(found.key[::-1]), np.arange(len(found.key))[::-1])


def test_a_centre_that_nobody_has_is_refused() -> None:
    field = Field(1, 12, 12)
    found = Instances.concatenate(in_blocks(field, 12, 12))
    with pytest.raises(ValueError, match="one is missing"):
        found.of(np.array([found.key.max() + 1]))
    again = Instances.from_arrays(found.to_arrays())
    np.testing.assert_array_equal(again.key, found.key)
    np.testing.assert_array_equal(again.measures.pixels, found.measures.pixels)
