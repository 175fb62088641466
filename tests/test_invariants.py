"""Invariants 1 (tiling is invisible) and 2 (no border case), and 6 as far as nodata stays nodata.

The model is exact: whole numbers in, probabilities of 0, 1/2 and 1 out, so that results are compared bit for bit.
It looks at its neighbours, at the whole tile and at the place in it, so that two tiles disagree wherever they
overlap and no change of tiles goes unseen. Each law is shown to fail for a mutant of what it protects.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from geoseg.blend import taper
from geoseg.fields import Below, BlockFields, BlockPredictor, CentreFields
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.mosaic import NO_OFFSET
from geoseg.labels import NODATA_CLASS
from geoseg.pixels import BlockPixels
from geoseg.predict import Numerics, Predictor
from geoseg.tiling import Block, BlockPlan, Lattice, Tile

CLASSES = 5
IMAGERY = Imagery(("grey",), "uint8", (0, 255), (0.0,), (1.0,), 1.0)

Weights = Callable[[Lattice], NDArray[np.float32]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiles this small spend their time waking threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class ArraySource:
    """A scene in memory."""

    image_hw: NDArray[np.float32]
    valid_hw: NDArray[np.bool_]

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        index = window.slices_in(self.window)
        assert window.intersection(self.window) == window, "no read leaves the grid"
        return self.image_hw[index][None], self.valid_hw[index]

    def holds(self, window: Window) -> bool:
        return window.row < len(self.valid_hw)

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        return self.read(window)[1]

    @property
    def window(self) -> Window:
        return Window(0, 0, *self.image_hw.shape)


def hot(score_nhw: Tensor) -> Tensor:
    """Logits with one or two classes hot, by a whole number: probabilities of exactly 1, or 1/2 and 1/2."""
    score_nhw = score_nhw.long()
    is_hot = [(score_nhw % CLASSES == k) | (score_nhw // CLASSES % CLASSES == k) for k in range(CLASSES)]
    return torch.where(torch.stack(is_hot, dim=1), 0.0, -1000.0)


def box_sum(tiles_nchw: Tensor, mode: str) -> Tensor:
    padded = functional.pad(tiles_nchw, (1, 1, 1, 1), mode=mode)
    return functional.conv2d(padded, torch.ones(1, 1, 3, 3))[:, 0]


def suspicious(tiles_nchw: Tensor) -> Tensor:
    """Sees everything about its tile."""
    rows, cols = (torch.arange(size) for size in tiles_nchw.shape[2:])
    place_hw = 3 * rows[:, None] + 7 * cols
    return hot(box_sum(tiles_nchw, "constant") + tiles_nchw.sum((1, 2, 3))[:, None, None] + place_hw)


def shift_invariant(tiles_nchw: Tensor) -> Tensor:
    """Gives a constant for a constant, as a network with faultless padding would."""
    return hot(box_sum(tiles_nchw, "replicate"))


def with_centres(network: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network that has an instance branch, too: heat and offsets follow from its classes."""

    def forward(tiles_nchw: Tensor) -> Tensor:
        logits_nchw = network(tiles_nchw)
        score_nhw = (logits_nchw == 0).float().mul(torch.arange(1, CLASSES + 1)[:, None, None]).sum(1)
        centres_nchw = torch.stack([score_nhw / 7, score_nhw * 3.3 - 9, 20 - score_nhw * 5.7], 1)
        return torch.cat([logits_nchw, centres_nchw], 1)

    return forward


def run(
    source: ArraySource,
    plan: BlockPlan,
    network: Callable[[Tensor], Tensor] = suspicious,
    *,
    batch: int = 4,
    order: Sequence[int] | None = None,
    weights: Weights = taper,
    keep: bool = False,
) -> BlockFields:
    """The fields of the whole grid, block after block; with `keep`, each from what the last gave, if it fits."""
    predictor = Predictor(with_centres(network), Numerics("cpu", "fp32", 1, batch))
    blockwise = BlockPredictor(plan, predictor, CLASSES, weights=weights, things=(0, CLASSES - 1))
    below: Below | None = None
    blocks = list(plan)
    whole = Window(0, 0, plan.height, plan.width)
    empty_chw = np.full((CLASSES, *whole.shape), NODATA_CLASS, np.uint8)
    probability_chw, tiles, cached = empty_chw.copy(), 0, 0
    classes_hw, confidence_hw = empty_chw[0].copy(), empty_chw[0].copy()
    centres = CentreFields(empty_chw[0].copy(), np.full((2, *whole.shape), NO_OFFSET, np.int16))
    for number in order if order is not None else range(len(blocks)):
        block = blocks[number]
        above = below if keep and below is not None and below.block == block else None
        pixels = BlockPixels.read(source, IMAGERY, plan, block, whole=above is None)
        fields, below = blockwise.predict(pixels, above)
        if fields is not None:
            index = block.window.slices_in(whole)
            classes_hw[index], confidence_hw[index] = fields.classes_hw, fields.confidence_hw
            probability_chw[(slice(None), *index)] = fields.probability_chw
            assert fields.centres is not None
            centres.heat_hw[index] = fields.centres.heat_hw
            centres.offset_ahw[(slice(None), *index)] = fields.centres.offset_ahw
            tiles, cached = tiles + fields.tiles, cached + fields.cached
    return BlockFields(classes_hw, confidence_hw, probability_chw, centres, tiles, cached)


def assert_same(first: BlockFields, second: BlockFields) -> None:
    np.testing.assert_array_equal(first.classes_hw, second.classes_hw)
    np.testing.assert_array_equal(first.confidence_hw, second.confidence_hw)
    np.testing.assert_array_equal(first.probability_chw, second.probability_chw)
    assert first.centres is not None
    assert second.centres is not None
    np.testing.assert_array_equal(first.centres.heat_hw, second.centres.heat_hw)
    np.testing.assert_array_equal(first.centres.offset_ahw, second.centres.offset_ahw)


def assert_constant(fields: BlockFields) -> None:
    expected_chw = fields.probability_chw[:, :1, :1]
    np.testing.assert_array_equal(
        fields.probability_chw, np.broadcast_to(expected_chw, fields.probability_chw.shape)
    )
    assert sorted(set(expected_chw.ravel().tolist())) in ([0, 127], [0, 254])
    assert (fields.confidence_hw == expected_chw.max()).all()
    assert (fields.classes_hw == expected_chw.argmax()).all()


def assert_nodata_is_where_it_was(source: ArraySource, fields: BlockFields) -> None:
    np.testing.assert_array_equal(fields.classes_hw == NODATA_CLASS, ~source.valid_hw)
    np.testing.assert_array_equal(fields.confidence_hw == NODATA_CLASS, ~source.valid_hw)
    for probability_hw in fields.probability_chw:
        np.testing.assert_array_equal(probability_hw == NODATA_CLASS, ~source.valid_hw)


def random_source(height: int, width: int, seed: int, nodata: str) -> ArraySource:
    generator = np.random.default_rng(seed)
    image_hw = generator.integers(0, 10, (height, width)).astype(np.float32)
    valid_hw = np.ones((height, width), np.bool_)
    match nodata:
        case "specks":
            valid_hw = generator.random((height, width)) < 0.5
        case "regions":  # large enough to leave whole tiles and blocks without data
            valid_hw = np.add.outer(np.arange(height), np.arange(width)) > (height + width) / 2
    return ArraySource(image_hw, valid_hw)


sizes = st.integers(1, 24)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    tile_px = draw(st.integers(3, 16))
    return Lattice(tile_px, 2 * draw(st.integers(0, tile_px // 4)))


@st.composite
def plans(draw: st.DrawFn) -> BlockPlan:
    chunk_px = draw(st.integers(4, 8))
    block_px = chunk_px * draw(st.integers(1, 3)), chunk_px * draw(st.integers(1, 3))
    return BlockPlan(draw(sizes), draw(sizes), draw(lattices()), chunk_px, block_px)


@st.composite
def sources(draw: st.DrawFn, plan: BlockPlan) -> ArraySource:
    nodata = draw(st.sampled_from(["none", "specks", "regions"]))
    return random_source(plan.height, plan.width, draw(st.integers(0, 999)), nodata)


@settings(max_examples=25)
@given(plans(), st.integers(4, 30), st.integers(1, 5), st.data())
def test_neither_block_size_nor_order_nor_batch_is_seen(
    plan: BlockPlan, other_px: int, batch: int, data: st.DataObject
) -> None:
    source = data.draw(sources(plan))
    expected = run(source, plan)
    other = replace(plan, chunk_px=other_px, block_px=(other_px, other_px))
    assert_same(run(source, other), expected)
    order = data.draw(st.permutations(range(len(plan))))
    assert_same(run(source, plan, order=order, batch=batch), expected)
    assert_same(run(source, plan, order=order, keep=True), expected)
    assert_nodata_is_where_it_was(source, expected)


@settings(max_examples=25)
@given(plans(), st.integers(0, 24))
def test_a_constant_gives_a_constant_up_to_the_corners(plan: BlockPlan, value: int) -> None:
    shape = plan.height, plan.width
    source = ArraySource(np.full(shape, value, np.float32), np.ones(shape, np.bool_))
    fields = run(source, plan, shift_invariant)
    assert_constant(fields)


def down_the_columns(plan: BlockPlan) -> list[int]:
    rows, cols = plan.shape
    return [i * cols + j for j in range(cols) for i in range(rows)]


@settings(max_examples=40)
@given(plans(), st.data())
def test_what_the_block_above_gave_is_not_seen_and_saves_its_tiles(plan: BlockPlan, data: st.DataObject) -> None:
    source = data.draw(sources(plan))
    kept = run(source, plan, order=down_the_columns(plan), keep=True)
    alone = run(source, plan)
    assert_same(kept, alone)
    assert kept.tiles + kept.cached == alone.tiles
    if source.valid_hw.all():
        assert kept.tiles == plan.tiles_evaluated


def test_what_another_block_gave_is_refused() -> None:
    plan = BlockPlan(20, 20, Lattice(8, 4), 4, (4, 4))
    source = random_source(20, 20, 0, "none")
    blockwise = BlockPredictor(plan, Predictor(suspicious, Numerics("cpu", "fp32", 1, 1)), CLASSES)
    first, second, beside = plan.block(0, 0), plan.block(1, 0), plan.block(1, 1)
    _, below = blockwise.predict(BlockPixels.read(source, IMAGERY, plan, first, whole=True), None)
    for block, whole, above in ((beside, False, below), (second, True, below), (second, False, None)):
        pixels = BlockPixels.read(source, IMAGERY, plan, block, whole=whole)
        with pytest.raises(ValueError, match="the block above"):
            blockwise.predict(pixels, above)


@settings(max_examples=20)
@given(plans(), st.sampled_from([np.nan, np.inf, 1e30, 255.0]), st.data())
def test_what_lies_under_nodata_changes_nothing(plan: BlockPlan, hidden: float, data: st.DataObject) -> None:
    source = data.draw(sources(plan))
    image_hw = np.where(source.valid_hw, source.image_hw, np.float32(hidden))
    assert_same(run(ArraySource(image_hw, source.valid_hw), plan), run(source, plan))


@pytest.mark.parametrize("shape", [(1, 1), (1, 28), (28, 1), (2, 3), (11, 27)])
def test_slivers_and_scenes_smaller_than_a_tile(shape: tuple[int, int]) -> None:
    plan = BlockPlan(*shape, Lattice(16, 8), 4, (4, 4))
    source = random_source(*shape, seed=1, nodata="none")
    assert_same(run(source, plan), run(source, replace(plan, block_px=(32, 32))))
    flat = ArraySource(np.full(shape, 3, np.float32), np.ones(shape, np.bool_))
    assert_constant(run(flat, plan, shift_invariant))


def test_a_scene_without_data_is_not_predicted() -> None:
    plan = BlockPlan(20, 20, Lattice(8, 4), 4, (8, 8))

    def never(tiles_nchw: Tensor) -> Tensor:
        raise AssertionError("there is nothing to see")

    source = ArraySource(np.ones((20, 20), np.float32), np.zeros((20, 20), np.bool_))
    fields = run(source, plan, never)
    assert fields.tiles == 0
    assert (fields.classes_hw == NODATA_CLASS).all()


# The mutants: each is what someone might write, and each must break a law above.


@dataclass(frozen=True)
class AnchoredAtTheBlock(BlockPlan):
    """Every block starts a lattice of its own."""

    def tiles(self, block: Block) -> tuple[Tile, ...]:
        height, width = block.window.shape
        at_origin = self.lattice.touching(Window(0, 0, height, width), height, width)
        return tuple(
            replace(
                tile, window=replace(window, row=window.row + block.window.row, col=window.col + block.window.col)
            )
            for tile in at_origin
            for window in [tile.window]
        )


@dataclass(frozen=True)
class HalvedHalo(BlockPlan):
    """Tiles that reach a block by the outer half of their margin only are forgotten."""

    def tiles(self, block: Block) -> tuple[Tile, ...]:
        cut = (self.lattice.margin_px + 1) // 2
        side = self.lattice.tile_px - 2 * cut
        return tuple(
            tile
            for tile in super().tiles(block)
            if Window(tile.window.row + cut, tile.window.col + cut, side, side).intersection(block.window)
        )


def zero_frame(lattice: Lattice) -> NDArray[np.float32]:
    """No weight on the outermost pixel, where it counts: at the grid's edge."""
    weights = taper(lattice)
    weights[: lattice.margin_px + 1] = 0
    weights[lattice.tile_px - lattice.margin_px - 1 :] = 0
    return weights


def shrunken_hann(lattice: Lattice) -> NDArray[np.float32]:
    """A Hann window over a tile without its margin: zero at both ends."""
    weights = np.zeros(lattice.tile_px, np.float32)
    margin = lattice.margin_px
    weights[margin : lattice.tile_px - margin] = np.hanning(lattice.stride_px)
    return weights


@pytest.mark.parametrize("mutant", [AnchoredAtTheBlock, HalvedHalo])
@pytest.mark.parametrize("overlap_px", [2, 4, 8])
@pytest.mark.parametrize("seed", [0, 1])
def test_mutants_of_the_lattice_are_seen(mutant: type[BlockPlan], overlap_px: int, seed: int) -> None:
    source = random_source(26, 30, seed, "none")
    lattice = Lattice(16, overlap_px)
    # The first small block ends one pixel inside the second tile: it needs that tile's outermost pixels alone.
    chunk_px = lattice.stride_px - lattice.margin_px + 1
    honest = BlockPlan(26, 30, lattice, chunk_px, (chunk_px, chunk_px))
    assert_same(run(source, honest), run(source, replace(honest, block_px=(4 * chunk_px, 4 * chunk_px))))
    small, large = (mutant(26, 30, lattice, chunk_px, (side, side)) for side in (chunk_px, 4 * chunk_px))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        assert_same(run(source, small), run(source, large))


@pytest.mark.parametrize("mutant", [zero_frame, shrunken_hann])
@pytest.mark.parametrize("overlap_px", [0, 2, 8])
def test_mutants_of_the_weights_are_seen(mutant: Weights, overlap_px: int) -> None:
    plan = BlockPlan(26, 30, Lattice(16, overlap_px), 5, (10, 10))
    source = ArraySource(np.full((26, 30), 3, np.float32), np.ones((26, 30), np.bool_))
    assert_constant(run(source, plan, shift_invariant))
    with pytest.raises(AssertionError, match="Arrays are not equal"):
        assert_constant(run(source, plan, shift_invariant, weights=mutant))
