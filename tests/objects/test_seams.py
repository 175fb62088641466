from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.objects.ground import GROUND_UNIT
from geoseg.objects.label import BlockObjects, label_block
from geoseg.objects.measures import Measures
from geoseg.objects.seams import BlockBorders, LinkedRow, link, settle

classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 1, 255]),
)
KEEP = (0, 1)
CHUNK_PX = 3


def cut(shape: tuple[int, ...], block_height: int, block_width: int) -> list[Window]:
    height, width = shape
    return [
        Window(row, col, min(block_height, height - row), min(block_width, width - col))
        for row in range(0, height, block_height)
        for col in range(0, width, block_width)
    ]


def label(classes_hw: NDArray[np.uint8], window: Window) -> BlockObjects:
    part_hw = classes_hw[window.slices_in(Window(0, 0, *classes_hw.shape))]
    confidence_hw = confidence_of(classes_hw)[window.slices_in(Window(0, 0, *classes_hw.shape))]
    return label_block(part_hw, confidence_hw, window, classes_hw.shape[1], KEEP, chunk_px=CHUNK_PX)


def confidence_of(classes_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (np.arange(classes_hw.size).reshape(classes_hw.shape) * 7 % 255).astype(np.uint8)


def linked_rows(blocks: list[BlockObjects]) -> list[LinkedRow]:
    linked: list[LinkedRow] = []
    for _, row in groupby(blocks, lambda block: block.window.row):
        above = linked[-1] if linked else None
        linked.append(link([BlockBorders.of(block) for block in row], above))
    return linked


def join(blocks: list[BlockObjects]) -> dict[Window, Measures]:
    """The whole objects of the border labels of each block."""
    rows = [list(row) for _, row in groupby(blocks, lambda block: block.window.row)]
    linked = linked_rows(blocks)
    joined: dict[Window, Measures] = {}
    below = None
    for row, of_row in zip(reversed(rows), reversed(linked), strict=True):
        of_blocks, below = settle(of_row.to_arrays(), below)
        joined |= {block.window: measures for block, measures in zip(row, of_blocks, strict=True)}
    return joined


def objects_by_joining(classes_hw: NDArray[np.uint8], windows: list[Window]) -> NDArray[np.int64]:
    """Id and other measures of the object of every pixel, (5, row, column), 0 for none."""
    found_chw = np.zeros((5, *classes_hw.shape), np.int64)
    blocks = [label(classes_hw, window) for window in windows]
    joined = join(blocks)
    for block in blocks:
        at = block.window.slices_in(Window(0, 0, *classes_hw.shape))
        border = BlockBorders.of(block).label
        for channel, (column, whole) in enumerate(
            zip(block.measures.columns, joined[block.window].columns, strict=True)
        ):
            of_label = np.concatenate(([0], column + (channel == 0)))
            of_label[border] = whole + (channel == 0)
            found_chw[channel][at] = of_label[block.runs.paint()]
    return found_chw


def objects_by_scipy(classes_hw: NDArray[np.uint8]) -> NDArray[np.int64]:
    found_chw = np.zeros((5, *classes_hw.shape), np.int64)
    for class_id in KEEP:
        component_hw, count = ndimage.label(classes_hw == class_id)
        for component in range(1, count + 1):
            mask_hw = component_hw == component
            pixels = int(mask_hw.sum())
            confidence_sum = int(confidence_of(classes_hw)[mask_hw].sum(dtype=np.int64))
            values = (
                1 + np.flatnonzero(mask_hw)[0],
                pixels,
                confidence_sum,
                pixels * GROUND_UNIT,
                sides_of(mask_hw),
            )
            found_chw[:, mask_hw] = np.array(values)[:, None]
    return found_chw


def sides_of(mask_hw: NDArray[np.bool_]) -> int:
    """Sides between pixels of an object and others, but for those on the borders of chunks."""
    down = (mask_hw[1:] != mask_hw[:-1])[np.arange(1, len(mask_hw)) % CHUNK_PX != 0]
    right = (mask_hw[:, 1:] != mask_hw[:, :-1])[:, np.arange(1, mask_hw.shape[1]) % CHUNK_PX != 0]
    return int(down.sum() + right.sum())


@settings(max_examples=60, deadline=None)
@given(classes_hw_arrays, st.integers(1, 6), st.integers(1, 6))
def test_objects_are_those_of_the_whole_raster(
    classes_hw: NDArray[np.uint8], block_height: int, block_width: int
) -> None:
    windows = cut(classes_hw.shape, block_height, block_width)
    expected_chw = objects_by_scipy(classes_hw)
    # Chunks are counted from where a block begins, so blocks are whole chunks where sides count.
    counted = 5 if block_height % CHUNK_PX == block_width % CHUNK_PX == 0 else 4
    assert np.array_equal(objects_by_joining(classes_hw, windows)[:counted], expected_chw[:counted])


@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (3, 2), (2, 7)])
@pytest.mark.parametrize(
    "picture",
    [
        ["0.0.0", "0.0.0", "000.0", "....0", "00000"],
        ["00000", "0...0", "0.0.0", "0.0.0", "000.0"],
        ["0000000", "......0", "00000.0", "0...0.0", "0.000.0", "0.....0", "0000000"],
    ],
    ids=["down and up again", "hooks", "a spiral"],
)
def test_objects_that_turn_back_are_whole(picture: list[str], sides: tuple[int, int]) -> None:
    classes_hw = np.array([[255 if c == "." else int(c) for c in row] for row in picture], np.uint8)
    found_chw = objects_by_joining(classes_hw, cut(classes_hw.shape, *sides))
    assert np.array_equal(found_chw[:4], objects_by_scipy(classes_hw)[:4])


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays, st.integers(1, 4), st.booleans())
def test_blocks_without_data_may_be_missing(classes_hw: NDArray[np.uint8], side: int, whole_row: bool) -> None:
    classes_hw[side : 2 * side, : None if whole_row else side] = 255
    windows = cut(classes_hw.shape, side, side)
    windows = [w for w in windows if not (w.row == side and (whole_row or w.col == 0))]
    assert np.array_equal(objects_by_joining(classes_hw, windows)[:4], objects_by_scipy(classes_hw)[:4])


WIDE_PX = 10**6
FAR_PX = 900_000


@settings(max_examples=40, deadline=None)
@given(classes_hw_arrays, st.integers(1, 4), st.integers(1, 3))
def test_blocks_far_apart_on_a_wide_grid_are_joined_as_if_near(
    classes_hw: NDArray[np.uint8], side: int, gap: int
) -> None:
    """A column of blocks that is missing, for want of data, is pulled to hundreds of thousands of pixels."""
    height, width = classes_hw.shape
    classes_hw[:, gap * side : (gap + 1) * side] = 255
    near = [label(classes_hw, window) for window in cut(classes_hw.shape, side, side) if window.col != gap * side]
    far = []
    for block in near:
        window = block.window
        at = window.slices_in(Window(0, 0, height, width))
        moved = Window(window.row, window.col + FAR_PX * (window.col > gap * side), *window.shape)
        far.append(
            label_block(classes_hw[at], confidence_of(classes_hw)[at], moved, WIDE_PX, KEEP, chunk_px=CHUNK_PX)
        )
    joined_near, joined_far = join(near), join(far)
    for block, pulled in zip(near, far, strict=True):
        expected, found = joined_near[block.window], joined_far[pulled.window]
        row, col = np.divmod(expected.first_pixel, width)
        first_pixel = row * WIDE_PX + col + FAR_PX * (col > gap * side)
        assert np.array_equal(found.first_pixel, first_pixel)
        for ours, theirs in zip(expected.columns[1:], found.columns[1:], strict=True):
            assert np.array_equal(ours, theirs)
    for row_near, row_far in zip(linked_rows(near), linked_rows(far), strict=True):
        assert len(row_far.bottom_col) == len(row_far.bottom_set) <= width
        assert (np.diff(row_far.bottom_col) > 0).all()
        assert np.array_equal(row_far.bottom_set, row_near.bottom_set)
        # A block has at most its whole border of labels.
        assert all(array.size <= 4 * side * width for array in row_far.to_arrays().values())


def test_the_end_of_a_row_does_not_touch_the_start_of_the_next() -> None:
    classes_hw = np.array([[255, 0], [0, 255]], np.uint8)
    ids_hw = objects_by_joining(classes_hw, cut((2, 2), 2, 1))[0]
    assert ids_hw.tolist() == [[0, 2], [3, 0]]


def test_what_a_row_hands_down_does_not_grow_with_the_rows_above() -> None:
    classes_hw = np.tile(np.array([[0, 255, 1], [255, 1, 255]], np.uint8), (50, 1))
    above = None
    sizes = []
    for window in cut(classes_hw.shape, 2, 3):
        above = link([BlockBorders.of(label(classes_hw, window))], above)
        sizes.append(len(above.measures))
    assert max(sizes) == sizes[0] == 3


def border(window: Window) -> BlockBorders:
    return BlockBorders.of(label(np.zeros((2, 4), np.uint8), window))


@pytest.mark.parametrize(
    "windows",
    [
        [Window(0, 0, 2, 2), Window(0, 0, 2, 2)],
        [Window(0, 2, 2, 2), Window(0, 0, 2, 2)],
        [Window(0, 0, 1, 2), Window(1, 2, 1, 2)],
        [],
    ],
    ids=["twice", "from right to left", "two rows", "none"],
)
def test_what_is_no_row_of_blocks_is_refused(windows: list[Window]) -> None:
    with pytest.raises(ValueError, match="one row"):
        link([border(window) for window in windows], None)
