import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import GeosegError
from geoseg.grid import Window
from geoseg.tiling import BlockPlan, Lattice, mirrored

sizes = st.integers(1, 40)


@st.composite
def lattices(draw: st.DrawFn) -> Lattice:
    tile_px = draw(st.integers(1, 16))
    return Lattice(tile_px, 2 * draw(st.integers(0, tile_px // 4)))


@st.composite
def plans(draw: st.DrawFn) -> BlockPlan:
    chunk_px = draw(st.integers(1, 8))
    block_px = chunk_px * draw(st.integers(1, 4)), chunk_px * draw(st.integers(1, 4))
    return BlockPlan(draw(sizes), draw(sizes), draw(lattices()), chunk_px, block_px)


@given(lattices(), sizes, sizes)
def test_every_pixel_is_covered_and_no_tile_is_idle(lattice: Lattice, height: int, width: int) -> None:
    grid = Window(0, 0, height, width)
    covered_hw = np.zeros(grid.shape, int)
    rows, cols = lattice.count(height, width)
    for i in range(rows):
        for j in range(cols):
            common = lattice.window(i, j).intersection(grid)
            assert common is not None
            covered_hw[common.slices_in(grid)] += 1
    assert covered_hw.min() >= 1
    # At most half a tile overlaps, so a pixel is seen by at most two tiles along each axis.
    assert covered_hw.max() <= 4


@given(plans())
def test_a_block_lists_exactly_the_tiles_that_touch_it(plan: BlockPlan) -> None:
    rows, cols = plan.lattice.count(plan.height, plan.width)
    for block in plan:
        touching = [
            (i, j, plan.lattice.window(i, j))
            for i in range(rows)
            for j in range(cols)
            if plan.lattice.window(i, j).intersection(block.window)
        ]
        assert [(tile.i, tile.j, tile.window) for tile in plan.tiles(block)] == touching


@given(plans())
def test_blocks_partition_the_grid_into_whole_chunks(plan: BlockPlan) -> None:
    grid = Window(0, 0, plan.height, plan.width)
    owners_hw = np.zeros(grid.shape, int)
    blocks = list(plan)
    assert len(blocks) == len(plan)
    for block in blocks:
        assert block == plan.block(block.i, block.j)
        owners_hw[block.window.slices_in(grid)] += 1
        for start, stop, size in (
            (block.window.row, block.window.row_stop, plan.height),
            (block.window.col, block.window.col_stop, plan.width),
        ):
            assert start % plan.chunk_px == 0
            assert stop % plan.chunk_px == 0 or stop == size
    assert (owners_hw == 1).all()
    assert len({block.key for block in blocks}) == len(blocks)


@given(plans())
def test_the_tiles_of_a_plan_are_counted_as_they_are_listed(plan: BlockPlan) -> None:
    listed = {(block.j, tile) for block in plan for tile in plan.tiles(block)}
    assert plan.tiles_evaluated == len(listed)
    assert plan.tiles_needed == len({tile for _, tile in listed})


@given(lattices(), sizes, sizes)
def test_neighbours_share_the_overlap(lattice: Lattice, i: int, j: int) -> None:
    here, right, below = lattice.window(i, j), lattice.window(i, j + 1), lattice.window(i + 1, j)
    assert here.col_stop - right.col == here.row_stop - below.row == lattice.overlap_px


@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 40))
def test_mirrored_is_numpys_symmetric_padding(size: int, before: int, after: int) -> None:
    expected = np.pad(np.arange(size), (before, after), mode="symmetric")
    np.testing.assert_array_equal(mirrored(-before, size + after, size), expected)


@given(st.integers(1, 12), st.integers(-40, 40), st.integers(1, 20), st.integers(0, 19))
def test_mirrored_does_not_depend_on_where_it_starts(size: int, start: int, length: int, skip: int) -> None:
    whole = mirrored(start, start + length, size)
    np.testing.assert_array_equal(mirrored(start + min(skip, length), start + length, size), whole[skip:])


@pytest.mark.parametrize(("tile_px", "overlap_px"), [(0, 0), (-4, 0), (8, -2), (8, 6), (8, 3), (2, 2)])
def test_lattices_that_cannot_blend_are_refused(tile_px: int, overlap_px: int) -> None:
    with pytest.raises(GeosegError, match="--tile-size"):
        Lattice(tile_px, overlap_px)


@pytest.mark.parametrize(("chunk_px", "block_px"), [(0, (4, 4)), (4, (0, 4)), (4, (4, 2)), (4, (6, 6))])
def test_blocks_that_cut_chunks_are_refused(chunk_px: int, block_px: tuple[int, int]) -> None:
    with pytest.raises(GeosegError, match="--block-size"):
        BlockPlan(10, 10, Lattice(4, 0), chunk_px, block_px)
