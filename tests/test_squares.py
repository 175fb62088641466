"""Pixels by squares are those of the whole grid, and no square is made twice while it is kept."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.squares import Squares


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 16), st.integers(1, 9), st.data())
def test_any_window_has_the_pixels_of_the_whole(
    height: int, width: int, side_px: int, most: int, data: st.DataObject
) -> None:
    whole_hw = np.arange(height * width).reshape(height, width)
    made = []

    def make(window: Window) -> NDArray[np.int64]:
        made.append(window)
        return whole_hw[window.slices_in(Window(0, 0, height, width))]

    squares = Squares(make, (height, width), side_px, most)
    for _ in range(4):
        row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        window = Window(row, col, data.draw(st.integers(1, height - row)), data.draw(st.integers(1, width - col)))
        assert np.array_equal(squares.read(window), whole_hw[window.slices_in(Window(0, 0, height, width))])
    assert all(window.row % side_px == window.col % side_px == 0 for window in made)
    if most >= -(-height // side_px) * -(-width // side_px):
        assert len(set(made)) == len(made)
