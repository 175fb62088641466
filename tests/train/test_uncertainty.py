import math

import numpy as np
import pytest
import scipy.stats
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Grid, Window, without_place
from geoseg.imagery import Imagery
from geoseg.predict import Numerics, Predictor
from geoseg.tiling import Lattice
from geoseg.train.uncertainty import choose_spread, entropy, places_m, window_scores


@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
@settings(max_examples=15)
def test_entropy_is_that_of_scipy(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    share_chw = rng.dirichlet(np.full(classes, 0.3), (5, 7)).transpose(2, 0, 1)
    stored_chw = np.rint(share_chw * 254).astype(np.uint8)
    stored_chw[:, 0, 0] = 255
    found_hw = entropy(stored_chw)
    expected_hw = np.asarray(scipy.stats.entropy(stored_chw.astype(np.float64), base=classes, axis=0))
    assert np.isnan(found_hw[0, 0])
    assert np.allclose(found_hw[1:], expected_hw[1:], atol=1e-5)
    overlapping_hw = entropy(stored_chw, exclusive=False)
    pairs = np.stack([stored_chw, 254 - stored_chw]).astype(np.float64)
    assert np.allclose(
        overlapping_hw[1:], np.asarray(scipy.stats.entropy(pairs, base=2, axis=0)).mean(0)[1:], atol=1e-5
    )


class Noise:
    """A scene in memory: the first band decides, nodata in the left columns."""

    def __init__(self, height: int, width: int) -> None:
        self.grid = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), height, width)
        rng = np.random.default_rng(0)
        self.image_chw = rng.uniform(0, 3, (1, height, width)).astype(np.float32)
        self.valid_hw = np.indices((height, width))[1] >= 9

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        at = window.slices_in(self.grid.window)
        return self.image_chw[:, *at].copy(), self.valid_hw[at].copy()

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        return self.valid_hw[window.slices_in(self.grid.window)].copy()

    def holds(self, window: Window) -> bool:
        inside = window.intersection(self.grid.window)
        return inside is not None and bool(self.valid_hw[inside.slices_in(self.grid.window)].any())


def two_classes(images_nchw: torch.Tensor) -> torch.Tensor:
    return torch.cat([images_nchw, -images_nchw], dim=1)


def test_windows_are_scored_as_on_the_whole_scene() -> None:
    scene, imagery = Noise(1100, 90), Imagery(("grey",), "float32", (0, 3), (0.0,), (1.0,), 1.0)
    predictor = Predictor(two_classes, Numerics("cpu", "fp32", 1, 2))
    # Some reach over the border of what is predicted at once, one holds no data.
    windows = [Window(1000, 0, 60, 40), Window(0, 0, 30, 9), Window(1020, 50, 20, 30), Window(0, 5, 10, 10)]
    told: list[int] = []

    def advance(pixels: int, tiles: int = 0, *, retries: int = 0, quarantined: int = 0) -> None:
        told.append(pixels)

    found = window_scores(
        scene,
        scene.grid,
        imagery,
        Lattice(64, 16),
        predictor,
        2,
        windows,
        advance,
    )
    # A softmax of x and -x, the same whichever tile it is seen in.
    share_hw = 1 / (1 + np.exp(-2 * scene.image_chw[0].astype(np.float64)))
    expected_hw = np.asarray(scipy.stats.entropy(np.stack([share_hw, 1 - share_hw]), base=2, axis=0))
    assert sum(told) == 1100 * 90
    for window, (score, share) in zip(windows, found, strict=True):
        at = window.slices_in(scene.grid.window)
        valid_hw = scene.valid_hw[at]
        assert share == pytest.approx(valid_hw.mean())
        assert score == pytest.approx(expected_hw[at][valid_hw].mean() if valid_hw.any() else 0, abs=0.01)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=25)
def test_the_highest_that_lie_apart_are_chosen(seed: int, windows: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, windows) / 5
    places_n3 = (rng.integers(0, 4, (windows, 3)) * 100).astype(np.float64)
    chosen, apart_m = choose_spread(scores.tolist(), places_n3, count, 350.0)
    assert len(chosen) == len(set(chosen)) == min(count, windows)
    assert chosen[0] == int(scores.argmax())
    assert apart_m <= 350
    for number, one in enumerate(chosen):
        apart = [math.dist(places_n3[one], places_n3[other]) for other in chosen[:number]]
        assert not apart or min(apart) >= apart_m
    # One that was left out though it scores more than a chosen one lies too near to some.
    for left in set(range(windows)) - set(chosen):
        nearest = min(math.dist(places_n3[left], places_n3[one]) for one in chosen)
        last = scores[chosen].min()
        assert scores[left] <= last or nearest < 350
    assert choose_spread(scores.tolist(), places_n3, count, 350.0) == (chosen, apart_m)


def test_places_are_metres_apart_whatever_the_crs() -> None:
    metres = Grid("EPSG:32640", Affine(2, 0, 320000, 0, -2, 2770000), 400, 400)
    degrees = Grid("EPSG:4326", Affine(1e-5, 0, 55.2, 0, -1e-5, 25.0), 400, 400)
    windows = [Window(0, 0, 100, 100), Window(0, 300, 100, 100)]
    left, right = places_m(metres, windows, 0)
    assert math.dist(left, right) == pytest.approx(600, rel=1e-3)
    left, right = places_m(degrees, windows, 1)
    assert math.dist(left, right) == pytest.approx(300 * degrees.ground_resolution_m()[1], rel=1e-3)
    nowhere = without_place(400, 400, 0.5)
    left, right = places_m(nowhere, windows, 2)
    assert math.dist(left, right) == pytest.approx(150)
    assert math.dist(left, places_m(nowhere, windows, 3)[0]) > 1e7
