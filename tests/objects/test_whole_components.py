"""Components of a whole raster, square by square, against scipy's on all of it at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from geoseg.grid import Window
from geoseg.objects.whole_components import WholeComponents


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(1, 41))
def test_they_are_scipys_whatever_the_squares(seed: int, height: int, width: int, side: int) -> None:
    # Many runs and few: spirals and combs come together far from where they begin.
    rng = np.random.default_rng(seed)
    values = rng.choice(4, (-(-height // 2), -(-width // 2)), p=[0.25, 0.45, 0.2, 0.1]).astype(np.uint8)
    classes_hw = values.repeat(rng.integers(1, 3), 0).repeat(2, 1)[:height, :width]
    height, width = classes_hw.shape
    found = WholeComponents(
        lambda window: classes_hw[window.row : window.row_stop, window.col : window.col_stop],
        (height, width),
        (1, 2),
        side,
    )
    found_hw = np.zeros((height, width), np.int64)
    for row in range(0, height, side):
        for col in range(0, width, side):
            window = Window(row, col, min(side, height - row), min(side, width - col))
            found_hw[row : window.row_stop, col : window.col_stop] = found.square(window)
    expected_hw, count = np.zeros((height, width), np.int64), 0
    for class_id in (1, 2):
        numbers_hw, more = label(classes_hw == class_id)
        expected_hw[numbers_hw > 0] = numbers_hw[numbers_hw > 0] + count
        count += more
    assert found.count == count
    assert set(np.unique(found_hw[found_hw > 0]).tolist()) == set(range(1, count + 1))
    # The same partition: each number of one stands beside one number of the other.
    pairs = np.unique(np.stack([found_hw.ravel(), expected_hw.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(found_hw)) == len(np.unique(expected_hw))
    assert ((found_hw == 0) == (expected_hw == 0)).all()
