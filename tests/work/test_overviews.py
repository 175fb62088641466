"""Overviews: only where there is data, and there the same as of everything."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.halving import majority_of_four, mean_of_four
from geoseg.io.mosaic import CHUNK_PX, level_grids
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.runner import LocalRunner, Unit
from geoseg.work.overviews import ReduceBlocks, level_key, level_windows

TRANSFORM = Affine(0.5, 0, 314047, 0, -0.5, 2775758)
sides = st.integers(1, 2**20)


@st.composite
def covered_grids(draw: st.DrawFn) -> tuple[int, int, list[Window]]:
    height, width = draw(sides), draw(sides)
    chunks = st.tuples(*(st.integers(0, (side - 1) // CHUNK_PX) for side in (height, width)))
    spans = st.tuples(st.integers(1, 11), st.integers(1, 11))
    windows = []
    for (i, j), (rows, cols) in draw(st.lists(st.tuples(chunks, spans), max_size=6)):
        row, col = i * CHUNK_PX, j * CHUNK_PX
        windows.append(Window(row, col, min(rows * CHUNK_PX, height - row), min(cols * CHUNK_PX, width - col)))
    return height, width, windows


@given(covered_grids())
def test_windows_are_those_that_see_what_is_covered(grid: tuple[int, int, list[Window]]) -> None:
    height, width, covered = grid
    whole = Grid("EPSG:32640", TRANSFORM, height, width)
    for level, level_grid in enumerate(level_grids(whole)[1:], 1):
        windows = level_windows(level, *level_grid.window.shape, covered)
        assert windows == sorted(set(windows))
        for window in windows:
            assert window.row % CHUNK_PX == window.col % CHUNK_PX == 0
            assert window.intersection(level_grid.window) == window
            full = Window(*(value << level for value in (window.row, window.col, window.height, window.width)))
            assert any(full.intersection(block) is not None for block in covered)
        for block in covered:
            # The pixels of the level that the block's outermost pixels went into.
            rows = block.row >> level, (block.row_stop - 1) >> level
            cols = block.col >> level, (block.col_stop - 1) >> level
            for row in rows:
                for col in cols:
                    assert sum(Window(row, col, 1, 1).intersection(window) is not None for window in windows) == 1


def with_data(classes_hw: NDArray[np.uint8], side: int) -> list[Window]:
    height, width = classes_hw.shape
    windows = [
        Window(row, col, min(side, height - row), min(side, width - col))
        for row in range(0, height, side)
        for col in range(0, width, side)
    ]
    whole = Window(0, 0, height, width)
    return [window for window in windows if (classes_hw[window.slices_in(whole)] != NODATA_CLASS).any()]


@settings(max_examples=4)
@given(st.integers(0, 99))
def test_overviews_are_those_of_the_whole_raster_and_nothing_else_is_stored(
    tmp_path_factory: pytest.TempPathFactory, labels: LabelSet, seed: int
) -> None:

    rng = np.random.default_rng(seed)
    grid = Grid("EPSG:32640", TRANSFORM, 4700, 5300)
    run = RunFolder(tmp_path_factory.mktemp("run"))
    run.mosaic.create(grid, labels, probability=False)
    classes_hw = np.full(grid.window.shape, NODATA_CLASS, np.uint8)
    for row, col in rng.integers(0, 4600, (3, 2)):
        part_hw = classes_hw[row : row + 300, col : col + 200]
        part_hw[:] = rng.choice(np.array([0, 1, NODATA_CLASS], np.uint8), part_hw.shape)
    confidence_hw = np.where(classes_hw == NODATA_CLASS, NODATA_CLASS, classes_hw * 100 + 50).astype(np.uint8)
    run.mosaic.write(0, "classes", grid.window, classes_hw)
    run.mosaic.write(0, "confidence", grid.window, confidence_hw)
    covered = with_data(classes_hw, CHUNK_PX)
    for level, (height, width) in enumerate(run.mosaic.level_shapes()[1:], 1):
        units = [Unit(level_key(level, w), w) for w in level_windows(level, height, width, covered)]
        assert all(report.error is None for report in LocalRunner().run(ReduceBlocks(run, level, "0"), units))
        classes_hw, confidence_hw = majority_of_four(classes_hw), mean_of_four(confidence_hw)
        assert np.array_equal(run.mosaic.read(level, "classes"), classes_hw)
        assert np.array_equal(run.mosaic.read(level, "confidence"), confidence_hw)
        stored = [name for name in run.mosaic.chunk_files() if name.startswith(f"{level}/classes/")]
        assert len(stored) == len(with_data(classes_hw, CHUNK_PX))
