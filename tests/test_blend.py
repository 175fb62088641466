import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from geoseg.blend import BlockBlend, taper, weight_sums
from geoseg.grid import Window
from geoseg.tiling import Lattice

sizes = st.integers(1, 30)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    tile_px = draw(st.integers(1, 16))
    return Lattice(tile_px, 2 * draw(st.integers(0, tile_px // 4)))


def blended(
    lattice: Lattice,
    window: Window,
    height: int,
    width: int,
    field: list[float],
    taper_px: NDArray[np.float32] | None = None,
) -> Tensor:
    """The blend of a window, every tile of the lattice giving the same field."""
    weights = taper(lattice) if taper_px is None else taper_px
    blend = BlockBlend(window, len(field), weights)
    for tile in lattice.touching(window, height, width):
        fields_chw = torch.tensor(field)[:, None, None].expand(-1, lattice.tile_px, lattice.tile_px)
        blend.add(tile.window, fields_chw)
    weight_h = weight_sums(lattice, window.row, window.row_stop, height, weights)
    weight_w = weight_sums(lattice, window.col, window.col_stop, width, weights)
    return blend.mean(window.height, weight_h, weight_w)


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
    mean_chw = blended(lattice, window, height, width, [value, 1 - value]).numpy()
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
        blend.add(tile.window, torch.from_numpy(fields_chw))
        for y in range(lattice.tile_px):
            for x in range(lattice.tile_px):
                row, col = tile.window.row + y, tile.window.col + x
                if 0 <= row < height and 0 <= col < width:
                    total_hw[row, col] += weights[y] * weights[x] * fields_chw[0, y, x]
                    weight_hw[row, col] += weights[y] * weights[x]
    weight_h, weight_w = (weight_sums(lattice, 0, size, size, taper(lattice)) for size in (height, width))
    np.testing.assert_allclose(np.outer(weight_h, weight_w), weight_hw, rtol=1e-5)
    np.testing.assert_allclose(blend.mean(height, weight_h, weight_w)[0], total_hw / weight_hw, rtol=1e-5)


@given(lattices(), st.integers(2, 30), sizes, st.data())
def test_sums_go_on_below_bit_for_bit(lattice: Lattice, height: int, width: int, data: st.DataObject) -> None:
    border = data.draw(st.integers(1, height - 1))
    generator = np.random.default_rng(0)
    whole, upper = Window(0, 0, height, width), Window(0, 0, border, width)
    lower = Window(border, 0, height - border, width)
    of_tile = {
        tile: torch.from_numpy(generator.random((2, lattice.tile_px, lattice.tile_px), np.float32))
        for tile in lattice.touching(whole, height, width)
    }
    above = list(lattice.touching(upper, height, width))
    together, first = BlockBlend(whole, 2, taper(lattice)), BlockBlend(whole, 2, taper(lattice))
    for tile, fields_chw in of_tile.items():
        together.add(tile.window, fields_chw)
        if tile in above:
            first.add(tile.window, fields_chw)
    second = BlockBlend(lower, 2, taper(lattice), above=first.below(border))
    for tile in lattice.touching(lower, height, width):
        if tile not in above:
            second.add(tile.window, of_tile[tile])
    ones_w = np.ones(width, np.float32)
    found_chw = second.mean(height - border, np.ones(height - border, np.float32), ones_w)
    assert torch.equal(found_chw, together.mean(height, np.ones(height, np.float32), ones_w)[:, border:])


def test_a_tile_elsewhere_changes_nothing() -> None:
    blend = BlockBlend(Window(0, 0, 4, 6), 1, taper(Lattice(4, 2)))
    blend.add(Window(0, 40, 4, 4), torch.ones(1, 4, 4))
    assert not blend.mean(4, np.ones(4, np.float32), np.ones(6, np.float32)).any()


@pytest.mark.parametrize("lattice", [Lattice(8, 0), Lattice(8, 4)])
def test_a_frame_without_weight_breaks_the_law(lattice: Lattice) -> None:
    """The mutant: as many pixels of no weight as lie outside a tile's cell, and one more."""
    framed = taper(lattice)
    frame = lattice.margin_px + 1
    framed[:frame] = framed[-frame:] = 0
    window = Window(0, 0, 16, 16)
    assert blended(lattice, window, 16, 16, [1.0], framed)[0, 0, 0] != 1
    assert blended(lattice, window, 16, 16, [1.0])[0, 0, 0] == pytest.approx(1)
