import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from geoseg.blend import BlockBlend, axis_weights, taper
from geoseg.grid import Window
from geoseg.labels import Activation
from geoseg.tiling import Lattice, Tile

sizes = st.integers(1, 30)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    tile_px = draw(st.integers(1, 16))
    return Lattice(tile_px, 2 * draw(st.integers(0, tile_px // 4)))


def add(
    blend: BlockBlend,
    tile: Tile,
    logits_chw: Tensor,
    lattice: Lattice,
    shape: tuple[int, int],
    taper_px: NDArray[np.float32] | None = None,
) -> None:
    weights = taper(lattice) if taper_px is None else taper_px
    weight_h, weight_w = (
        axis_weights(lattice, k, size, weights) for k, size in zip((tile.i, tile.j), shape, strict=True)
    )
    blend.add(tile.window, logits_chw, weight_h, weight_w)


def blended(
    lattice: Lattice,
    window: Window,
    height: int,
    width: int,
    logits: list[float],
    taper_px: NDArray[np.float32] | None = None,
    activation: Activation = "softmax",
) -> Tensor:
    """The blend of a window, every tile of the lattice giving the same logits."""
    blend = BlockBlend(window, len(logits), activation=activation)
    for tile in lattice.touching(window, height, width):
        logits_chw = torch.tensor(logits)[:, None, None].expand(-1, lattice.tile_px, lattice.tile_px)
        add(blend, tile, logits_chw, lattice, (height, width), taper_px)
    return blend.mean(window.height)


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


@given(lattices(), sizes, sizes, st.floats(-9, 9, width=32), st.data())
def test_a_constant_stays_constant_up_to_the_corners(
    lattice: Lattice, height: int, width: int, value: float, data: st.DataObject
) -> None:
    row, col = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    window = Window(row, col, height - row, width - col)
    mean_chw = blended(lattice, window, height, width, [value, 0]).numpy()
    np.testing.assert_allclose(mean_chw[0], 1 / (1 + np.exp(-value)), rtol=2e-6)
    np.testing.assert_allclose(mean_chw.sum(axis=0), 1, rtol=2e-6)


@given(lattices(), sizes, sizes, st.floats(-9, 9, width=32), st.floats(-9, 9, width=32))
def test_with_sigmoids_each_class_is_blended_by_itself(
    lattice: Lattice, height: int, width: int, one: float, other: float
) -> None:
    mean_chw = blended(lattice, Window(0, 0, height, width), height, width, [one, other], None, "sigmoid").numpy()
    np.testing.assert_allclose(mean_chw[0], 1 / (1 + np.exp(-one)), rtol=2e-6)
    np.testing.assert_allclose(mean_chw[1], 1 / (1 + np.exp(-other)), rtol=2e-6)


@given(lattices(), sizes, sizes, st.integers(0, 2**32 - 1))
def test_a_blend_is_the_weighted_mean_of_the_tiles(lattice: Lattice, height: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    window = Window(0, 0, height, width)
    blend = BlockBlend(window, 2)
    total_chw, weight_hw = np.zeros((2, *window.shape)), np.zeros(window.shape)
    weights_hw = np.outer(*[taper(lattice).astype(np.float64)] * 2)
    for tile in lattice.touching(window, height, width):
        logits_chw = generator.normal(size=(2, lattice.tile_px, lattice.tile_px)).astype(np.float32)
        add(blend, tile, torch.from_numpy(logits_chw), lattice, (height, width))
        probability_chw = np.exp(logits_chw) / np.exp(logits_chw).sum(axis=0)
        common = tile.window.intersection(window)
        assert common is not None
        of_tile = common.slices_in(tile.window)
        total_chw[:, *common.slices_in(window)] += (weights_hw * probability_chw)[:, *of_tile]
        weight_hw[common.slices_in(window)] += weights_hw[of_tile]
    np.testing.assert_allclose(blend.mean(height), total_chw / weight_hw, rtol=1e-5)


@given(lattices(), sizes, sizes, st.integers(0, 2**32 - 1))
def test_offsets_weigh_as_much_as_their_pixel_is_of_a_thing(
    lattice: Lattice, height: int, width: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    window = Window(0, 0, height, width)
    blend = BlockBlend(window, 3, things=(0, 2))
    heat_hw, offset_ahw = np.zeros(window.shape), np.zeros((2, *window.shape))
    weight_hw, of_things_hw = np.zeros(window.shape), np.zeros(window.shape)
    weights_hw = np.outer(*[taper(lattice).astype(np.float64)] * 2)
    for tile in lattice.touching(window, height, width):
        answer_chw = generator.normal(size=(6, lattice.tile_px, lattice.tile_px)).astype(np.float32)
        add(blend, tile, torch.from_numpy(answer_chw), lattice, (height, width))
        probability_chw = np.exp(answer_chw[:3]) / np.exp(answer_chw[:3]).sum(axis=0)
        common = tile.window.intersection(window)
        assert common is not None
        of_tile, here = common.slices_in(tile.window), common.slices_in(window)
        thing_hw = weights_hw * (probability_chw[0] + probability_chw[2])
        weight_hw[here] += weights_hw[of_tile]
        of_things_hw[here] += thing_hw[of_tile]
        heat_hw[here] += (weights_hw * answer_chw[3].clip(0, 1))[of_tile]
        offset_ahw[:, *here] += (thing_hw * answer_chw[4:])[:, *of_tile]
    heat, offset = blend.centres(height)
    np.testing.assert_allclose(heat, heat_hw / weight_hw, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(offset, offset_ahw / of_things_hw, rtol=1e-4, atol=1e-5)


def test_a_blend_of_classes_alone_has_no_centres() -> None:
    with pytest.raises(ValueError, match="classes alone"):
        BlockBlend(Window(0, 0, 4, 4), 2).centres(4)


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
    together, first = BlockBlend(whole, 2), BlockBlend(whole, 2)
    for tile, logits_chw in of_tile.items():
        add(together, tile, logits_chw, lattice, whole.shape)
        if tile in above:
            add(first, tile, logits_chw, lattice, whole.shape)
    second = BlockBlend(lower, 2, above=first.below(border))
    for tile in lattice.touching(lower, height, width):
        if tile not in above:
            add(second, tile, of_tile[tile], lattice, whole.shape)
    assert torch.equal(second.mean(height - border), together.mean(height)[:, border:])


def test_a_tile_elsewhere_changes_nothing() -> None:
    lattice, blend = Lattice(4, 2), BlockBlend(Window(0, 0, 4, 6), 1)
    add(blend, Tile(0, 20, Window(0, 40, 4, 4)), torch.ones(1, 4, 4), lattice, (4, 60))
    assert not blend.mean(4).any()


@pytest.mark.parametrize("lattice", [Lattice(8, 0), Lattice(8, 4)])
def test_a_frame_without_weight_breaks_the_law(lattice: Lattice) -> None:
    """The mutant: as many pixels of no weight as lie outside a tile's cell, and one more."""
    framed = taper(lattice)
    frame = lattice.margin_px + 1
    framed[:frame] = framed[-frame:] = 0
    window = Window(0, 0, 16, 16)
    assert blended(lattice, window, 16, 16, [1.0], framed)[0, 0, 0] != 1
    assert blended(lattice, window, 16, 16, [1.0])[0, 0, 0] == pytest.approx(1)
