from random import Random

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.objects.label import label_block
from geoseg.vectorize.pieces import BlockPieces, PixelObjects, merge

KEEP = (0, 1)
classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 1, 255]),
)
# "." has no data. With blocks of 2 and 3 pixels the interesting spots lie on borders and block corners.
PICTURES = {
    "diagonal touch at a block corner": ["00..", "00..", "..00", "..00"],
    "diagonal touch of two classes": ["0011", "0011", "1100", "1100"],
    "a ring through four blocks": ["......", ".0000.", ".0..0.", ".0..0.", ".0000.", "......"],
    "nested holes": ["0000000", "0111110", "0100010", "0101010", "0100010", "0111110", "0000000"],
    "a hole that touches the outside at a corner": ["0000..", "0.00..", "00.000", "0000.0", "..0000"],
    "lines of one pixel": ["0.0.0.", "0.0.00", "0.0.0.", "0.0.0.", "000000", "......"],
    "one object everywhere": ["0000000"] * 5,
    "a checkerboard": ["010101", "101010"] * 3,
    "a spiral": ["0000000", "......0", "00000.0", "0...0.0", "0.000.0", "0.....0", "0000000"],
    "one column": ["0", "0", "1", ".", "0"],
}


def cut(shape: tuple[int, ...], block_height: int, block_width: int) -> list[Window]:
    height, width = shape
    return [
        Window(row, col, min(block_height, height - row), min(block_width, width - col))
        for row in range(0, height, block_height)
        for col in range(0, width, block_width)
    ]


def pieces_of(classes_hw: NDArray[np.uint8], window: Window) -> BlockPieces:
    confidence_hw = (np.arange(classes_hw.size).reshape(classes_hw.shape) * 7 % 255).astype(np.uint8)
    at = window.slices_in(Window(0, 0, *classes_hw.shape))
    return BlockPieces.of(label_block(classes_hw[at], confidence_hw[at], window, classes_hw.shape[1], KEEP))


def as_rows(objects: PixelObjects) -> list[tuple[object, ...]]:
    columns = (objects.id, objects.class_id, objects.pixels, objects.confidence_sum)
    return [*zip(*(column.tolist() for column in columns), shapely.to_wkb(objects.polygons).tolist(), strict=True)]


def check_against_the_whole_raster(classes_hw: NDArray[np.uint8], windows: list[Window]) -> None:
    objects = merge([pieces_of(classes_hw, window) for window in windows])
    whole = merge([pieces_of(classes_hw, Window(0, 0, *classes_hw.shape))])
    assert as_rows(objects) == as_rows(whole)
    for class_id in KEEP:
        mask_hw = (classes_hw == class_id).astype(np.uint8)
        expected = [
            shapely.geometry.shape(geometry)
            for geometry, _ in rasterio.features.shapes(mask_hw, mask=mask_hw > 0, connectivity=4)
        ]
        found = objects.polygons[objects.class_id == class_id]
        assert {p.wkb for p in found} == {p.normalize().wkb for p in expected}
        assert len(found) == len(expected)
    assert shapely.is_valid(objects.polygons).all()
    assert np.array_equal(shapely.area(objects.polygons), objects.pixels)


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays, st.integers(1, 6), st.integers(1, 6), st.randoms(use_true_random=False))
def test_objects_of_blocks_are_those_of_the_whole_raster(
    classes_hw: NDArray[np.uint8], block_height: int, block_width: int, random: Random
) -> None:
    windows = cut(classes_hw.shape, block_height, block_width)
    random.shuffle(windows)
    check_against_the_whole_raster(classes_hw, windows)


@pytest.mark.parametrize("sides", [(1, 1), (2, 2), (3, 2), (3, 3), (2, 7)])
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_hard_shapes_are_those_of_the_whole_raster(picture: list[str], sides: tuple[int, int]) -> None:
    classes_hw = np.array([[255 if c == "." else int(c) for c in row] for row in picture], np.uint8)
    check_against_the_whole_raster(classes_hw, cut(classes_hw.shape, *sides))


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays)
def test_pieces_come_back_from_bytes_as_they_went(classes_hw: NDArray[np.uint8]) -> None:
    pieces = pieces_of(classes_hw, Window(0, 0, *classes_hw.shape))
    data = pieces.to_bytes()
    back = BlockPieces.from_bytes(data)
    assert back.to_bytes() == data
    assert back.borders.window == pieces.borders.window
    assert as_rows(merge([back])) == as_rows(merge([pieces]))


def test_no_blocks_are_no_objects() -> None:
    assert len(merge([])) == 0


def test_merging_leaves_the_pieces_as_they_were() -> None:
    blocks = [pieces_of(np.zeros((2, 4), np.uint8), window) for window in cut((2, 4), 2, 2)]
    before = [block.to_bytes() for block in blocks]
    assert as_rows(merge(blocks)) == as_rows(merge(blocks))
    assert [block.to_bytes() for block in blocks] == before
