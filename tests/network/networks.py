"""Networks of masks by the pure functions, block by block, and masks of known networks."""

from collections.abc import Sequence

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.layers import Lines, Nodes
from geoseg.network.edges import BlockPieces, Edge, edges_of
from geoseg.network.lines import place_lines, place_nodes
from geoseg.network.pieces import Skeleton, pieces_of
from geoseg.network.rules import Rules
from geoseg.network.thinning import skeleton

XY = Sequence[tuple[float, float]]


def grid_of(height: int, width: int) -> Grid:
    """A pixel is a metre, and the CRS's x and y are columns and rows but for the sign of y."""
    return Grid("EPSG:32640", Affine(1, 0, 500000, 0, -1, 2775758), height, width)


def network(
    mask_hw: NDArray[np.bool_],
    rules: Rules,
    block_px: tuple[int, int] | None = None,
    is_data_hw: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> tuple[Lines, Nodes]:
    """The network of a mask by way of blocks, in any order."""
    height, width = mask_hw.shape
    grid = grid_of(height, width)
    rows_px, cols_px = block_px or (height, width)
    windows = [
        Window(i, j, min(rows_px, height - i), min(cols_px, width - j))
        for i in range(0, height, rows_px)
        for j in range(0, width, cols_px)
    ]
    is_data_hw = np.ones_like(mask_hw) if is_data_hw is None else is_data_hw
    order = np.random.default_rng(seed).permutation(len(windows)).tolist()

    def around(window: Window, reach: int) -> Window:
        row, col = max(window.row - reach, 0), max(window.col - reach, 0)
        row_stop, col_stop = min(window.row_stop + reach, height), min(window.col_stop + reach, width)
        return Window(row, col, row_stop - row, col_stop - col)

    def is_data(window: Window) -> NDArray[np.bool_]:
        return is_data_hw[window.slices_in(grid.window)]

    skeletons = []
    for number in order:
        window = windows[number]
        outer = around(window, rules.skeleton_reach_px)
        at = window.slices_in(outer)
        on_hw, square_px = skeleton(mask_hw[outer.slices_in(grid.window)], rules)
        skeletons.append(Skeleton.of(on_hw[at], square_px[at], window, width))
    together = Skeleton(
        np.concatenate([one.place for one in skeletons]), np.concatenate([one.square for one in skeletons])
    )
    blocks = {
        number: BlockPieces(
            pieces_of(
                together, windows[number], around(windows[number], rules.graph_reach_px), grid, rules, is_data
            )
        )
        for number in order
    }
    columns = -(-width // cols_px)

    def block_of(place: int) -> int:
        return place // width // rows_px * columns + place % width // cols_px

    edges: list[Edge] = []
    for number in order:
        edges += edges_of(number, width, block_of, blocks.__getitem__)
    ring = np.array([edge.place[0] for edge in edges if edge.closed], np.int64)
    every = [blocks[number].pieces for number in order]
    degree = np.concatenate([*(one.nodes_degree for one in every), np.full(len(ring), 2)])
    ids = np.concatenate([*(one.nodes for one in every), ring + 1])
    xy = np.concatenate([*(one.nodes_xy for one in every), np.column_stack((ring % width, ring // width)) + 0.5])
    is_used = degree > 0
    return place_lines(edges, grid, 1), place_nodes(ids[is_used], xy[is_used], degree[is_used], grid)


def in_pixels(geometry: NDArray[np.object_], grid: Grid) -> NDArray[np.object_]:
    """Geometries (n,) of a grid in its pixel coordinates."""
    to_pixels = ~grid.transform
    moved: NDArray[np.object_] = shapely.transform(
        geometry, lambda xy: np.array([to_pixels @ (x, y) for x, y in xy]).reshape(-1, 2)
    )
    return moved


def drawn(paths: Sequence[XY], width_px: float, side_px: int, cap: str = "round") -> NDArray[np.bool_]:
    """The mask of roads of one width."""
    roads = [shapely.LineString(path).buffer(width_px / 2, cap_style=cap) for path in paths]
    return rasterio.features.rasterize(roads, out_shape=(side_px, side_px)).astype(bool)


def circle(x: float, y: float, radius: float) -> XY:
    turn = np.linspace(0, 2 * np.pi, 120)
    return [(float(x + radius * np.cos(t)), float(y + radius * np.sin(t))) for t in turn]
