"""Objects drawn on pixels: those of a slow reference in whatever windows, and the later one where they overlap."""

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.datasets.instances import DrawnInstances
from geoseg.grid import Window

SHAPE = (530, 600)

BOX = st.tuples(st.integers(480, 520), st.integers(480, 560), st.integers(1, 40), st.integers(1, 40))


def polygons(boxes: list[tuple[int, int, int, int]]) -> NDArray[np.object_]:
    """Rectangles (row, column, height, width); each third one with a hole, each fourth one in two parts."""
    found = np.empty(len(boxes), object)
    for number, (row, col, height, width) in enumerate(boxes):
        shape = shapely.box(col, row, col + width, row + height)
        if number % 3 == 2:
            shape = shape.difference(shapely.box(col + 3, row + 3, col + 9, row + 9))
        if number % 4 == 3:
            shape = shapely.union(shape, shapely.box(col + 60, row, col + 63, row + 5))
        found[number] = shape
    return found


def slow(shapes: NDArray[np.object_], window: Window) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The last polygon around each pixel's centre, from 1, and how many are around it."""
    rows_hw, cols_hw = np.mgrid[window.row : window.row_stop, window.col : window.col_stop] + 0.5
    last_hw, count_hw = np.zeros(window.shape, np.int64), np.zeros(window.shape, np.int64)
    for number, shape in enumerate(shapes):
        around_hw = shapely.contains_xy(shape, cols_hw, rows_hw)
        last_hw[around_hw] = number + 1
        count_hw += around_hw
    return last_hw, count_hw


@settings(max_examples=15)
@given(boxes=st.lists(BOX, max_size=8), row=st.integers(470, 515), col=st.integers(470, 560))
def test_a_pixel_is_of_the_last_polygon_around_its_centre(
    boxes: list[tuple[int, int, int, int]], row: int, col: int
) -> None:
    shapes = polygons(boxes)
    drawn = DrawnInstances(shapes, SHAPE)
    for window in (Window(row, col, 15, 40), Window(470, 470, 60, 130)):
        last_hw, count_hw = slow(shapes, window)
        assert np.array_equal(drawn.read(window), last_hw)
        assert np.array_equal(drawn.contested(window), count_hw > 1)


def test_a_polygon_of_many_vertices_is_drawn_as_any() -> None:
    ring = shapely.Point(512, 512).buffer(15, quad_segs=700)
    found = np.empty(1, object)
    found[:] = [ring]
    window = Window(490, 490, 40, 50)
    assert np.array_equal(DrawnInstances(found, SHAPE).read(window), slow(found, window)[0])
