import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.blend import BlockBlend, taper
from geoseg.grid import Window
from geoseg.tiling import Lattice

sizes = st.integers(1, 30)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    tile_px = draw(st.integers(1, 16))
    return Lattice(tile_px, 2 * draw(st.integers(0, tile_px // 4)))


def add_tiles(
    blend: BlockBlend, lattice: Lattice, window: Window, height: int, width: int, field: NDArray[np.float32]
) -> None:
    for tile in lattice.touching(window, height, width):
        fields_chw = np.broadcast_to(field[:, None, None], (len(field), lattice.tile_px, lattice.tile_px))
        blend.add(tile.window, fields_chw.astype(np.float32))


@given(lattices())
def test_the_taper_is_positive_and_symmetric(lattice: Lattice) -> None:
    weights = taper(lattice)
    assert weights.shape == (lattice.tile_px,)
    assert weights.dtype == np.float32
    assert (weights > 0).all()
    assert (weights <= 1).all()
    np.testing.assert_array_equal(weights, weights[::-1])
    assert (weights[lattice.overlap_px : lattice.tile_px - lattice.overlap_px] == 1).all()


@given(lattices())
def test_the_tapers_of_neighbours_sum_to_one(lattice: Lattice) -> None:
    weights = taper(lattice).astype(np.float64)
    overlap = lattice.overlap_px
    shared = weights[lattice.tile_px - overlap :] + weights[:overlap]
    np.testing.assert_allclose(shared, 1, atol=1e-6)
    assert (np.diff(weights[:overlap]) > 0).all()


@given(lattices(), sizes, sizes, st.floats(0, 1, width=32), st.data())
def test_a_constant_stays_constant_up_to_the_corners(
    lattice: Lattice, height: int, width: int, value: float, data: st.DataObject
) -> None:
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, height - row, width - col)
    blend = BlockBlend(window, 2, taper(lattice))
    add_tiles(blend, lattice, window, height, width, np.array([value, 1 - value], np.float32))
    mean_chw, covered_hw = blend.mean()
    assert covered_hw.all()
    np.testing.assert_allclose(mean_chw[0], value, rtol=1e-6, atol=1e-37)
    np.testing.assert_allclose(mean_chw[1], 1 - value, rtol=1e-6, atol=1e-7)


@given(lattices(), sizes, sizes, st.integers(0, 2**32 - 1))
def test_a_blend_is_the_weighted_mean_of_the_tiles(lattice: Lattice, height: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    window = Window(0, 0, height, width)
    blend = BlockBlend(window, 1, taper(lattice))
    total_hw, weight_hw = np.zeros(window.shape), np.zeros(window.shape)
    weights = taper(lattice).astype(np.float64)
    for tile in lattice.touching(window, height, width):
        fields_chw = generator.random((1, lattice.tile_px, lattice.tile_px), np.float32)
        blend.add(tile.window, fields_chw)
        for y in range(lattice.tile_px):
            for x in range(lattice.tile_px):
                row, col = tile.window.row + y, tile.window.col + x
                if 0 <= row < height and 0 <= col < width:
                    total_hw[row, col] += weights[y] * weights[x] * fields_chw[0, y, x]
                    weight_hw[row, col] += weights[y] * weights[x]
    np.testing.assert_allclose(blend.mean()[0][0], total_hw / weight_hw, rtol=1e-5)


def test_a_tile_elsewhere_changes_nothing_and_is_not_called_covered() -> None:
    blend = BlockBlend(Window(0, 0, 4, 6), 1, taper(Lattice(4, 2)))
    blend.add(Window(0, 40, 4, 4), np.ones((1, 4, 4), np.float32))
    blend.add(Window(0, 4, 4, 4), np.ones((1, 4, 4), np.float32))
    mean_chw, covered_hw = blend.mean()
    assert covered_hw.tolist() == [[False] * 4 + [True] * 2] * 4
    assert (mean_chw[0] == covered_hw).all()


@pytest.mark.parametrize("lattice", [Lattice(8, 0), Lattice(8, 4)])
def test_a_frame_without_weight_breaks_the_law(lattice: Lattice) -> None:
    """The mutant: as many pixels of no weight as lie outside a tile's cell, and one more."""
    framed = taper(lattice)
    frame = lattice.margin_px + 1
    framed[:frame] = framed[-frame:] = 0
    window = Window(0, 0, 16, 16)
    blend = BlockBlend(window, 1, framed)
    add_tiles(blend, lattice, window, 16, 16, np.ones(1, np.float32))
    mean_chw, covered_hw = blend.mean()
    assert not covered_hw.all()
    assert not covered_hw[0].any()
    assert mean_chw[0, 0, 0] != 1
