"""Where a model knows least: the windows of scenes whose labels would help it most."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.fields import predict_block
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.pixels import PixelSource
from geoseg.predict import Predictor
from geoseg.progress import Advance
from geoseg.tiling import BlockPlan, Lattice

_BLOCK_PX = 1024
"""Side of what is predicted at once; it changes no pixel."""

_APART_M = 1e8
"""Scenes without a place on earth lie so far from one another: nothing is near in them but their own windows."""


def entropy(probability_chw: NDArray[np.uint8], *, exclusive: bool = True) -> NDArray[np.float32]:
    """How little is known of each pixel: the entropy of its class, as a share of the greatest (Shannon 1948).

    Of classes that exclude each other it is -sum p log p / log n; of those that overlap the mean over the classes
    of -(p log p + (1 - p) log (1 - p)) / log 2 (uncertainty sampling, Settles 2009, section 3.1).

    Args:
        probability_chw: Probabilities (class, row, column) as they are stored, x 254; 255 is nodata.
        exclusive: Whether a pixel is of one class alone.

    Returns:
        From 0 to 1 (row, column), NaN where there is no data.
    """
    share_chw = probability_chw.astype(np.float32) / np.float32(254)
    if exclusive:
        # Rounded probabilities add up to 1 again.
        share_chw /= np.maximum(share_chw.sum(0), np.float32(1e-6))
        found_hw = _surprise(share_chw).sum(0) / np.float32(math.log(len(share_chw)))
    else:
        found_hw = (_surprise(share_chw) + _surprise(1 - share_chw)).mean(0) / np.float32(math.log(2))
    return np.where(probability_chw[0] == NODATA_CLASS, np.float32(np.nan), found_hw)


def _surprise(share_chw: NDArray[np.float32]) -> NDArray[np.float32]:
    positive = np.clip(share_chw, np.finfo(np.float32).tiny, 1)
    return -positive * np.log(positive)


def window_scores(
    source: PixelSource,
    grid: Grid,
    imagery: Imagery,
    lattice: Lattice,
    predictor: Predictor,
    classes: int,
    windows: Sequence[Window],
    advance: Advance,
) -> list[tuple[float, float]]:
    """How little a model knows of windows of a scene; the scene is predicted block by block.

    Args:
        source: The scene.
        grid: Its pixels.
        imagery: What the model expects.
        lattice: Its tiles.
        predictor: The model.
        classes: How many classes it tells apart.
        windows: Windows within the scene's grid.
        advance: Told of pixels and tiles that are done.

    Returns:
        For each window the mean entropy of its pixels with data (0 without), and their share.
    """
    sums, counts = np.zeros(len(windows)), np.zeros(len(windows), np.int64)
    plan = BlockPlan(grid.height, grid.width, lattice, _BLOCK_PX, (_BLOCK_PX, _BLOCK_PX))
    in_block = _in_blocks(windows)
    for block in plan:
        meeting = [
            (number, part)
            for number in in_block.get((block.i, block.j), ())
            if (part := windows[number].intersection(block.window)) is not None
        ]
        fields = predict_block(source, imagery, plan, block, predictor, classes) if meeting else None
        if fields is not None:
            entropy_hw = entropy(fields.probability_chw)
            for number, part in meeting:
                known = entropy_hw[part.slices_in(block.window)]
                sums[number] += float(np.nansum(known, dtype=np.float64))
                counts[number] += np.count_nonzero(~np.isnan(known))
        advance(block.window.height * block.window.width, 0 if fields is None else fields.tiles)
    means = sums / np.maximum(counts, 1)
    areas = [window.height * window.width for window in windows]
    return list(zip(means.tolist(), (counts / np.maximum(areas, 1)).tolist(), strict=True))


def _in_blocks(windows: Sequence[Window]) -> dict[tuple[int, int], list[int]]:
    """The windows that meet each block, by their numbers."""
    found: dict[tuple[int, int], list[int]] = {}
    for number, window in enumerate(windows):
        for i in range(window.row // _BLOCK_PX, (window.row_stop - 1) // _BLOCK_PX + 1):
            for j in range(window.col // _BLOCK_PX, (window.col_stop - 1) // _BLOCK_PX + 1):
                found.setdefault((i, j), []).append(number)
    return found


def places_m(grid: Grid, windows: Sequence[Window], number: int) -> NDArray[np.float64]:
    """Where windows lie: the middles as metres (n, 3) from the earth's (EPSG:4978).

    Args:
        grid: Of the scene.
        windows: Windows of it.
        number: Of the scene; one without a place on earth lies far from all others.
    """
    middles = [(window.col + window.width / 2, window.row + window.height / 2) for window in windows]
    xy_n2 = np.array([grid.transform @ middle for middle in middles], np.float64).reshape(-1, 2)
    if not grid.has_place:
        return np.column_stack([xy_n2, np.full(len(xy_n2), _APART_M * (1 + number))])
    to_earth = Transformer.from_crs(grid.crs, "EPSG:4978", always_xy=True)
    return np.column_stack(to_earth.transform(xy_n2[:, 0], xy_n2[:, 1], np.zeros(len(xy_n2))))


def choose_spread(
    scores: Sequence[float], places_n3: NDArray[np.float64], count: int, apart_m: float
) -> tuple[list[int], float]:
    """The highest scores that lie apart.

    The highest is taken, then the highest of those that lie at least `apart_m` from all that were, and so on;
    where that leaves too few, the distance is divided by the square root of 2 and the rest is gone through again.
    Of equal scores the first is taken.

    Args:
        scores: Finite numbers.
        places_n3: Where each is, in metres (n, 3).
        count: How many are wanted.
        apart_m: The distance to begin with, positive.

    Returns:
        The chosen, in the order in which they were, and the distance at which there were enough: no two lie nearer.
        It is 0 when all had to be taken.
    """
    order = sorted(range(len(scores)), key=lambda number: (-scores[number], number))
    if count >= len(order):
        return order, 0.0
    chosen: list[int] = []
    # How far each lies from the nearest chosen one.
    nearest_n = np.full(len(order), np.inf)
    while True:
        for number in order:
            if len(chosen) == count:
                return chosen, apart_m
            if nearest_n[number] >= apart_m:
                chosen.append(number)
                distance_n = np.linalg.norm(places_n3 - places_n3[number], axis=1)
                nearest_n = np.minimum(nearest_n, distance_n)
                nearest_n[number] = -1
        if len(chosen) == count:
            return chosen, apart_m
        apart_m = apart_m / math.sqrt(2) if apart_m > 1e-3 else 0.0
