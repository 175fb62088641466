"""Components that are seen window by window: those of scipy on the whole, with the ids of the layers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.scores.window_components import WindowComponents

KEEP = (0, 1)


def slow(classes_hw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """1 + the place of the first pixel in raster order of each pixel's component; 0 for none."""
    ids_hw = np.zeros(classes_hw.shape, np.int64)
    for class_id in KEEP:
        labels_hw, count = ndimage.label(classes_hw == class_id)
        for label in range(1, count + 1):
            ids_hw[labels_hw == label] = 1 + np.flatnonzero(labels_hw == label)[0]
    return ids_hw


@given(
    classes_hw=hnp.arrays(
        np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=14), elements=st.sampled_from([0, 0, 1, 2, 255])
    ),
    side=st.integers(1, 15),
    seed=st.integers(0, 99),
)
def test_components_over_windows_in_any_order_are_those_of_the_whole(
    classes_hw: NDArray[np.uint8], side: int, seed: int
) -> None:
    height, width = classes_hw.shape
    whole = Window(0, 0, height, width)
    corners = [(row, col) for row in range(0, height, side) for col in range(0, width, side)]
    components = WindowComponents(KEEP, width)
    ids_hw = np.zeros(classes_hw.shape, np.int64)
    for number in np.random.default_rng(seed).permutation(len(corners)):
        row, col = corners[number]
        window = Window(row, col, side, side).intersection(whole)
        assert window is not None
        at = window.slices_in(whole)
        ids_hw[at] = components.add(classes_hw[at], window)
    assert np.array_equal(components.whole(ids_hw.reshape(-1)).reshape(ids_hw.shape), slow(classes_hw))
    # Nothing of the inside is remembered: only sides along the edge of the grid, which nothing lies beyond.
    assert all(row in (0, height) or col in (0, width) for _, row, col in components._sides)
