"""What a block sees of the lines of a network: pieces from node to node, or to the block's border."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled, with_room
from geoseg.grid import Grid, Window
from geoseg.network.ends import HasData, bridge, extend, prune
from geoseg.network.junctions import Nodes, find_nodes
from geoseg.network.links import Place, follow, is_linked, steps
from geoseg.network.rules import Rules

_PIECES = ("place", "square", "size", "node", "node_xy")
_NODES = ("nodes", "nodes_xy", "nodes_degree")


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """Pixels of a skeleton, in raster order.

    Attributes:
        place: int64 (n,); row x grid width + column.
        square: int32 (n,); squared distance to the mask's edge, in pixels.
    """

    place: NDArray[np.int64]
    square: NDArray[np.int32]

    @classmethod
    def of(cls, on_hw: NDArray[np.bool_], square_px: NDArray[np.int32], window: Window, grid_width: int) -> Self:
        """The pixels of a window.

        Args:
            on_hw: Skeleton, boolean (row, column) of the window.
            square_px: Squared distances (row, column).
            window: Where they lie.
            grid_width: Columns of the grid.
        """
        row, col = np.nonzero(on_hw)
        return cls((row + window.row) * grid_width + col + window.col, square_px[row, col])

    def paint(
        self, on_hw: NDArray[np.uint8], square_px: NDArray[np.int32], window: Window, grid_width: int
    ) -> None:
        """Put what lies in a window into arrays (row, column) of it that have a rim of one pixel."""
        row, col = np.divmod(self.place, grid_width)
        row, col = row - window.row, col - window.col
        here = (row >= 0) & (row < window.height) & (col >= 0) & (col < window.width)
        on_hw[row[here] + 1, col[here] + 1] = 1
        square_px[row[here] + 1, col[here] + 1] = self.square[here]


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Pieces of lines, and the nodes of a block.

    A piece goes on in another block where its end is no node: its last pixel is then the first one there, and the
    piece there begins with the last pixel here. A closed line within the block ends with the pixel it begins with.

    Attributes:
        place: int64 (vertex,); pixels one after the other, as row x grid width + column.
        square: int32 (vertex,); their squared distance to the mask's edge.
        size: int64 (n,); pixels of each piece.
        node: int64 (n, 2); the nodes at both ends, 0 where it goes on in another block, -1 of a closed line.
        node_xy: float64 (n, 2, 2); where these lie in pixel coordinates, as x and y.
        nodes: int64 (m,); the block's nodes: 1 + row x grid width + column of the pixel that stands for each.
        nodes_xy: float64 (m, 2); where they lie in pixel coordinates.
        nodes_degree: int64 (m,); how many lines begin or end there.
    """

    place: NDArray[np.int64]
    square: NDArray[np.int32]
    size: NDArray[np.int64]
    node: NDArray[np.int64]
    node_xy: NDArray[np.float64]
    nodes: NDArray[np.int64]
    nodes_xy: NDArray[np.float64]
    nodes_degree: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.size)

    @classmethod
    def none(cls) -> Self:
        """Those of a block without any line."""
        whole, real = np.empty(0, np.int64), np.empty((0, 2))
        return cls(
            whole, whole.astype(np.int32), whole, whole.reshape(0, 2), real.reshape(0, 2, 2), whole, real, whole
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in (*_PIECES, *_NODES)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        return cls(**{name: arrays[name] for name in (*_PIECES, *_NODES)})


def pieces_of(
    skeleton: Skeleton, window: Window, around: Window, grid: Grid, rules: Rules, is_data: HasData
) -> Pieces:
    """The pieces of a block, which are those of the whole skeleton.

    Args:
        skeleton: What lies in `around`, or more.
        window: The block.
        around: The block and `rules.graph_reach_px` around it, as far as the grid goes.
        grid: The grid.
        rules: What is a spur and what a gap.
        is_data: Which pixels hold data.
    """
    shape = around.height + 2, around.width + 2
    on_hw, square_px = np.zeros(shape, np.uint8), np.zeros(shape, np.int32)
    skeleton.paint(on_hw, square_px, around, grid.width)
    prune(on_hw, square_px, rules)
    extend(on_hw, square_px, around, grid.height, grid.width, is_data)
    bridge(on_hw, square_px, around, rules, is_data)
    nodes = find_nodes(on_hw, square_px, around, rules)
    return _cut(on_hw, square_px, nodes, window, around, grid.width)


def _cut(
    on_hw: NDArray[np.uint8],
    square_px: NDArray[np.int32],
    nodes: Nodes,
    window: Window,
    around: Window,
    grid_width: int,
) -> Pieces:
    width = on_hw.shape[1]
    top, left = window.row - around.row + 1, window.col - around.col + 1
    box = np.array([top, left, top + window.height, left + window.width])
    of_pixel = nodes.of_pixel_hw.reshape(-1)
    place, direction = np.divmod(nodes.link, 8)
    direct = np.column_stack((place, place + steps(width)[direction]))[_within(place, width, box)]
    local, size = _trace(on_hw.reshape(-1), of_pixel, steps(width), box)
    local, size = np.concatenate((direct.reshape(-1), local)), np.concatenate((np.full(len(direct), 2), size))
    stop = np.cumsum(size)
    ends = np.column_stack((local[stop - size], local[stop - 1]))
    number = of_pixel[ends].astype(np.int64) - 1
    ids = 1 + _places(nodes.place, width, around, grid_width)
    has_node = number >= 0
    node, node_xy = np.zeros(number.shape, np.int64), np.zeros((*number.shape, 2))
    node[has_node], node_xy[has_node] = ids[number[has_node]], nodes.xy[number[has_node]]
    node[_within(ends[:, 0], width, box) & ~has_node[:, 0] & (ends[:, 0] == ends[:, 1])] = -1
    here = _within(nodes.place, width, box)
    return Pieces(
        place=_places(local, width, around, grid_width),
        square=square_px.reshape(-1)[local],
        size=size,
        node=node,
        node_xy=node_xy,
        nodes=ids[here],
        nodes_xy=nodes.xy[here],
        nodes_degree=nodes.degree[here],
    )


def _within(local: NDArray[np.int64], width: int, box: NDArray[np.int64]) -> NDArray[np.bool_]:
    row, col = np.divmod(local, width)
    return np.asarray((row >= box[0]) & (row < box[2]) & (col >= box[1]) & (col < box[3]))


def _places(local: NDArray[np.int64], width: int, around: Window, grid_width: int) -> NDArray[np.int64]:
    row, col = np.divmod(local, width)
    return (row + around.row - 1) * grid_width + col + around.col - 1


@compiled
def _is_inside(place: Place, width: int, box: NDArray[np.int64]) -> bool:
    row, col = place // width, place % width
    return box[0] <= row < box[2] and box[1] <= col < box[3]


@compiled
def _begin(
    on: NDArray[np.uint8],
    of_pixel: NDArray[np.int32],
    place: int,
    step: NDArray[np.int64],
    box: NDArray[np.int64],
    closed: bool,
) -> int:
    """The pixel beside one of a line at which a piece begins, a node's or one beyond the border; -1 if none is."""
    for direction in range(8):
        other = place + step[direction]
        if not is_linked(on, place, direction, step):
            continue
        if closed or of_pixel[other] != 0 or not _is_inside(other, step[2], box):
            return int(other)
    return -1


@compiled
def _trace(
    on: NDArray[np.uint8],
    of_pixel: NDArray[np.int32],
    step: NDArray[np.int64],
    box: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pixels of all pieces, one after the other, and how many each has."""
    width = step[2]
    places, sizes = np.empty(1024, np.int64), np.empty(64, np.int64)
    used = count = 0
    seen = np.zeros(len(on), np.bool_)
    # First what begins at a node or beyond the border, then what is left: closed lines.
    for closed in (False, True):
        for row in range(box[0], box[2]):
            for col in range(box[1], box[3]):
                place = row * width + col
                if not on[place] or of_pixel[place] != 0 or seen[place]:
                    continue
                before: Place = _begin(on, of_pixel, place, step, box, closed)
                if before < 0:
                    continue
                places = with_room(places, used + 1)
                begin = used
                if not closed:
                    places[used] = before
                    used += 1
                here: Place = place
                while True:
                    places = with_room(places, used + 2)
                    places[used] = here
                    used += 1
                    seen[here] = True
                    following = follow(on, before, here, step)
                    before, here = here, following
                    if of_pixel[here] != 0 or not _is_inside(here, width, box) or here == place:
                        places[used] = here
                        used += 1
                        break
                sizes = with_room(sizes, count + 1)
                sizes[count] = used - begin
                count += 1
    return places[:used].copy(), sizes[:count].copy()
