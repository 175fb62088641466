"""Areas: the numbers of the whole raster, whatever the windows; those of scipy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Window
from geoseg.scores.areas import AreaCounts, AreaMeasure, Truth, harmonic_mean


def windows_of(height: int, width: int, side: int) -> list[Window]:
    corners = product(range(0, height, side), range(0, width, side))
    return [Window(row, col, min(side, height - row), min(side, width - col)) for row, col in corners]


def measured(
    mapped_hw: NDArray[np.uint8], true_hw: NDArray[np.uint8], measure: AreaMeasure, side: int
) -> dict[int, AreaCounts]:
    """255 in either is unknown."""

    def truth(window: Window) -> Truth:
        part_hw = true_hw[window.row : window.row_stop, window.col : window.col_stop]
        return Truth({one: part_hw == one for one in measure.classes}, part_hw != 255)

    def mapped(window: Window) -> NDArray[np.uint8]:
        return mapped_hw[window.row : window.row_stop, window.col : window.col_stop]

    return measure.total(windows_of(mapped_hw.shape[0], mapped_hw.shape[1], side), mapped, truth)


def edge(mask_hw: NDArray[np.bool_], known_hw: NDArray[np.bool_]) -> NDArray[np.bool_]:
    cross = ndimage.generate_binary_structure(2, 1)
    return mask_hw & known_hw & ndimage.binary_dilation(known_hw & ~mask_hw, cross)


def near(
    asked_hw: NDArray[np.bool_], other_hw: NDArray[np.bool_], pixel: tuple[float, float], metres: float
) -> int:
    if not other_hw.any():
        return 0
    distance_hw = ndimage.distance_transform_edt(~other_hw, sampling=pixel)
    return int(np.count_nonzero(asked_hw & (distance_hw <= metres + 1e-6)))


@settings(max_examples=15)
@given(
    seed=st.integers(0, 999),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    side=st.integers(1, 45),
    pixel=st.sampled_from([(1.0, 1.0), (0.5, 0.3), (2.0, 3.0)]),
)
def test_any_windows_give_what_scipy_gives_on_the_whole(
    seed: int, height: int, width: int, side: int, pixel: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    mapped_hw, true_hw = (
        rng.choice(np.array([0, 1, 255], np.uint8), (height // 3 + 1, width // 3 + 1), p=(0.5, 0.4, 0.1))
        .repeat(3, 0)
        .repeat(3, 1)[:height, :width]
        for _ in range(2)
    )
    distances = (0.0, 1.5, 4.0)
    found = measured(mapped_hw, true_hw, AreaMeasure(height, width, pixel, distances, (0, 1)), side)
    known_hw = (mapped_hw != 255) & (true_hw != 255)
    for one in (0, 1):
        counts = found[one]
        ours_hw, theirs_hw = (mapped_hw == one) & known_hw, (true_hw == one) & known_hw
        assert (counts.both, counts.mapped, counts.true) == (
            (ours_hw & theirs_hw).sum(),
            ours_hw.sum(),
            theirs_hw.sum(),
        )
        edges = edge(ours_hw, known_hw), edge(theirs_hw, known_hw)
        assert (counts.mapped_edge, counts.true_edge) == (edges[0].sum(), edges[1].sum())
        assert counts.mapped_near.tolist() == [near(*edges, pixel, metres) for metres in distances]
        assert counts.true_near.tolist() == [near(*edges[::-1], pixel, metres) for metres in distances]


def test_a_square_that_lies_two_pixels_off_has_the_figures_computed_by_hand() -> None:
    mapped_hw, true_hw = np.zeros((2, 20, 20), np.uint8)
    true_hw[5:10, 5:10] = 1
    mapped_hw[5:10, 7:12] = 1
    measure = AreaMeasure(20, 20, (1.0, 1.0), (1.0, 2.0), (1,))
    figures = measured(mapped_hw, true_hw, measure, 7)[1].figures(measure.distances_m)
    assert figures["iou"] == pytest.approx(15 / 35)
    assert figures["precision"] == figures["recall"] == figures["f1"] == pytest.approx(15 / 25)
    assert (figures["true_px"], figures["false_px"], figures["missed_px"]) == (15, 10, 10)
    # Of the 16 pixels around a square, 4 of its top row and 4 of its bottom row lie within 1 m of the other's rows,
    # and of the side within the other 2, next to those rows.
    assert figures["boundary_f1_2m"] == pytest.approx(1)
    assert figures["boundary_f1_1m"] == pytest.approx(10 / 16)


def test_a_perfect_map_is_1_and_an_empty_one_0() -> None:
    true_hw = np.zeros((9, 9), np.uint8)
    true_hw[2:5, 2:7] = 1
    measure = AreaMeasure(9, 9, (1.0, 1.0), (1.0,), (1,))
    perfect = measured(true_hw, true_hw, measure, 4)[1].figures((1.0,))
    assert [perfect[name] for name in ("iou", "precision", "recall", "f1", "boundary_f1_1m")] == [1] * 5
    empty = measured(np.zeros_like(true_hw), true_hw, measure, 4)[1].figures((1.0,))
    assert [empty[name] for name in ("iou", "precision", "recall", "f1", "boundary_f1_1m")] == [0, None, 0, 0, 0]
    nothing = measured(np.zeros_like(true_hw), np.zeros_like(true_hw), measure, 4)[1].figures((1.0,))
    assert all(nothing[name] is None for name in ("iou", "precision", "recall", "f1", "boundary_f1_1m"))


@pytest.mark.parametrize(
    ("one", "other", "mean"), [(1, 1, 1), (0.5, 1, 2 / 3), (0, 1, 0), (None, 0.5, 0), (None, None, None)]
)
def test_the_harmonic_mean_of_what_is_there(one: float | None, other: float | None, mean: float | None) -> None:
    assert harmonic_mean(one, other) == (None if mean is None else pytest.approx(mean))
