"""Outlines of blocks, brought together, against the whole raster."""

import math
from collections.abc import Sequence
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
from geoseg.objects.label import components, runs_of
from geoseg.vectorize.outlines import Objects, Outlines, assemble, outline
from geoseg.vectorize.simplify import Generalization

KEEP = (0, 1)
PATCH_PX = 4
EXACT = Generalization()
WAYS = [
    Generalization(0.75),
    Generalization(1.0),
    Generalization(10.0),
    Generalization(0.0, smooth=True),
    Generalization(1.0, smooth=True, angular=(1,)),
    Generalization(10.0, smooth=True),
]
classes_hw_arrays = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=14),
    elements=st.sampled_from([0, 0, 1, 2, 255]),
)
# "." has no data. With blocks of 4 and 8 pixels the interesting spots lie on borders and block corners.
PICTURES = {
    "diagonal touch at a block corner": ["0000....", "0000....", "0000....", "0000....", "....0000", "....0000"],
    "diagonal touch of two classes": ["00001111"] * 4 + ["11110000"] * 4,
    "a ring through four blocks": ["........", ".000000.", ".0....0.", ".0....0.", ".0....0.", ".000000."],
    "nested holes": ["0000000", "0111110", "0100010", "0101010", "0100010", "0111110", "0000000"],
    "a hole that touches the outside at a corner": ["0000..", "0.00..", "00.000", "0000.0", "..0000"],
    "lines of one pixel": ["0.0.0.", "0.0.00", "0.0.0.", "0.0.0.", "000000", "......"],
    "one object everywhere": ["0000000"] * 5,
    "a checkerboard": ["010101", "101010"] * 3,
    "a staircase": ["2" * (9 - i) + "0" * i for i in range(9)],
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


def outlines_by_blocks(
    classes_hw: NDArray[np.uint8], windows: list[Window], how: Generalization, *, segments: bool = False
) -> Objects:
    # The first window of all is as large as any.
    block_px = max(windows, key=lambda window: -window.row - window.col).shape
    parts = parts_of_blocks(classes_hw, windows, how, segments=segments)
    return assemble(parts, block_px if how.is_none else None)


def parts_of_blocks(
    classes_hw: NDArray[np.uint8],
    windows: list[Window],
    how: Generalization,
    cut_ids: Sequence[int] = (),
    *,
    segments: bool = False,
) -> Outlines:
    """Outline blocks; which object a component is part of is looked up in the whole raster.

    With `segments` the objects of the first class are told apart by great numbers, as instances are.
    """
    segments_hw = np.where(classes_hw == 0, 2**40, classes_hw.astype(np.int64)) if segments else classes_hw
    whole = Window(0, 0, *classes_hw.shape)
    whole_hw = components(classes_hw, KEEP)
    _, first = np.unique(whole_hw, return_index=True)
    ids = 1 + first[-whole_hw.max() :] if whole_hw.max() else np.empty(0, np.int64)
    parts = []
    for window in windows:
        around = Window(max(window.row - 1, 0), max(window.col - 1, 0), window.height + 2, window.width + 2)
        around = around.intersection(whole) or whole
        at = window.slices_in(whole)
        labels_hw = components(classes_hw[at], KEEP)
        first = runs_of(classes_hw[at], KEEP).first_places()
        object_id = ids[whole_hw[at].reshape(-1)[first] - 1]
        in_parts = np.concatenate(([False], np.isin(object_id, cut_ids)))
        class_id = classes_hw[at].reshape(-1)[first]
        class_of = np.concatenate(([255], class_id)).astype(np.uint8)
        label, place, rings, _ = outline(
            labels_hw, segments_hw[around.slices_in(whole)], window, around, how, class_of, in_parts, PATCH_PX
        )
        assert set(label.tolist()) == {*range(1, labels_hw.max() + 1)}
        assert np.array_equal(place >= 0, in_parts[label])
        row, col = np.divmod(place, window.width)
        part = np.where(place >= 0, 1 + (row + window.row) * whole.width + col + window.col, 0)
        ids_n = object_id[label - 1]
        parts.append(Outlines(ids_n, part, place >= 0, class_id[label - 1], ids_n / 7, rings))
    return Outlines.concatenate(parts)


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays, st.sampled_from([EXACT, *WAYS]))
def test_segments_are_outlined_as_classes_are(classes_hw: NDArray[np.uint8], how: Generalization) -> None:
    windows = cut(classes_hw.shape, 4, 8)
    told_apart = outlines_by_blocks(classes_hw, windows, how, segments=True)
    assert as_rows(told_apart) == as_rows(outlines_by_blocks(classes_hw, windows, how))


def as_rows(outlines: Objects) -> list[tuple[object, ...]]:
    columns = (outlines.id, outlines.class_id, outlines.confidence)
    return [*zip(*(column.tolist() for column in columns), shapely.to_wkb(outlines.polygons).tolist(), strict=True)]


def check_exact(classes_hw: NDArray[np.uint8], windows: list[Window]) -> None:
    found = outlines_by_blocks(classes_hw, windows, EXACT)
    assert (np.diff(found.id) > 0).all()
    for class_id in KEEP:
        mask_hw = (classes_hw == class_id).astype(np.uint8)
        expected = [
            shapely.geometry.shape(geometry)
            for geometry, _ in rasterio.features.shapes(mask_hw, mask=mask_hw > 0, connectivity=4)
        ]
        polygons = found.polygons[found.class_id == class_id]
        assert {p.wkb for p in polygons} == {p.normalize().wkb for p in expected}
        assert len(polygons) == len(expected)


def check_generalized(classes_hw: NDArray[np.uint8], windows: list[Window], how: Generalization) -> None:
    found = outlines_by_blocks(classes_hw, windows, how)
    whole = outlines_by_blocks(classes_hw, [Window(0, 0, *classes_hw.shape)], how)
    assert as_rows(found) == as_rows(whole)
    assert shapely.coverage_is_valid(found.polygons)
    assert shapely.is_valid(found.polygons).all()
    corners = shapely.get_coordinates(found.polygons) * (2 if how.smooth else 1)
    assert np.array_equal(np.rint(corners), corners)
    nodata = shapely.box(*np.nonzero(classes_hw == 255)[::-1], *(np.array(np.nonzero(classes_hw == 255)[::-1]) + 1))
    assert shapely.union_all(found.polygons).intersection(shapely.union_all(nodata)).area == 0


@settings(max_examples=50, deadline=None)
@given(classes_hw_arrays, st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_exact_outlines_are_those_of_the_whole_raster_in_any_order_of_blocks(
    classes_hw: NDArray[np.uint8], down: int, across: int, random: Random
) -> None:
    windows = cut(classes_hw.shape, down * PATCH_PX, across * PATCH_PX)
    random.shuffle(windows)
    check_exact(classes_hw, windows)


@settings(max_examples=100, deadline=None)
@given(
    classes_hw_arrays,
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from(WAYS),
    st.randoms(use_true_random=False),
)
def test_generalized_outlines_fit_together_and_do_not_depend_on_the_blocks(
    classes_hw: NDArray[np.uint8], down: int, across: int, how: Generalization, random: Random
) -> None:
    windows = cut(classes_hw.shape, down * PATCH_PX, across * PATCH_PX)
    random.shuffle(windows)
    check_generalized(classes_hw, windows, how)


@pytest.mark.parametrize("sides", [(4, 4), (8, 4), (4, 8)])
@pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES.keys())
def test_hard_shapes(picture: list[str], sides: tuple[int, int]) -> None:
    classes_hw = np.array([[255 if c == "." else int(c) for c in row] for row in picture], np.uint8)
    check_exact(classes_hw, cut(classes_hw.shape, *sides))
    for how in WAYS:
        check_generalized(classes_hw, cut(classes_hw.shape, *sides), how)


def test_steps_become_slanted_lines_across_the_edges_of_blocks_too() -> None:
    classes_hw = np.where(np.tri(32, dtype=bool), 0, 2).astype(np.uint8)
    [exact] = outlines_by_blocks(classes_hw, cut((32, 32), 8, 8), EXACT).polygons
    [slanted] = outlines_by_blocks(classes_hw, cut((32, 32), 8, 8), Generalization(1)).polygons
    assert shapely.get_num_coordinates(exact) == 67
    # What is left are the corners of the squares that the line crosses and where it crosses their edges.
    assert shapely.get_num_coordinates(slanted) < 55
    assert shapely.area(slanted) == pytest.approx(shapely.area(exact), rel=0.05)


@settings(max_examples=25, deadline=None)
@given(classes_hw_arrays)
def test_outlines_come_back_from_arrays_as_they_went(classes_hw: NDArray[np.uint8]) -> None:
    outlines = parts_of_blocks(classes_hw, [Window(0, 0, *classes_hw.shape)], EXACT)
    back = Outlines.from_arrays(outlines.to_arrays())
    assert as_rows(assemble(back, classes_hw.shape)) == as_rows(assemble(outlines, classes_hw.shape))


@settings(max_examples=60, deadline=None)
@given(classes_hw_arrays, st.integers(1, 3), st.integers(1, 3), st.sampled_from([EXACT, *WAYS[1::3]]), st.data())
def test_parts_of_large_objects_rejoin_exactly_whatever_the_blocks(
    classes_hw: NDArray[np.uint8], down: int, across: int, how: Generalization, data: st.DataObject
) -> None:
    shape = classes_hw.shape
    windows = cut(shape, down * PATCH_PX, across * PATCH_PX)
    whole = outlines_by_blocks(classes_hw, windows, how)
    ids: list[int] = data.draw(st.lists(st.sampled_from(whole.id.tolist()), unique=True)) if len(whole) else []
    block_px = windows[0].shape if how.is_none else None
    found = assemble(parts_of_blocks(classes_hw, windows, how, ids), block_px)
    one = parts_of_blocks(classes_hw, [Window(0, 0, *shape)], how, ids)
    assert as_rows(found) == as_rows(assemble(one, shape if how.is_none else None))
    assert (np.diff(np.where(found.part > 0, found.part, found.id)) > 0).all()
    assert set(found.id[found.part > 0].tolist()) == set(ids)
    assert shapely.is_valid(found.polygons).all()
    for object_id, polygon in zip(whole.id.tolist(), whole.polygons, strict=True):
        parts = found.polygons[found.id == object_id]
        assert shapely.area(parts).sum() == shapely.area(polygon)
        assert shapely.equals(shapely.union_all(parts), polygon)
        # Each lies within one square of the lattice, which gives it its size.
        if object_id in ids:
            bounds = shapely.bounds(parts)
            assert (np.ceil(bounds[:, 2:] / PATCH_PX) - np.floor(bounds[:, :2] / PATCH_PX) == 1).all()


@pytest.mark.parametrize("tolerance_px", [-1, math.nan, math.inf])
def test_a_senseless_tolerance_is_refused(tolerance_px: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Generalization(tolerance_px)
