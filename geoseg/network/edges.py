"""Whole lines of a network from the pieces of blocks, each put together for the block in which it begins."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.network.pieces import Pieces


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """A line from node to node.

    Attributes:
        id: 1 + 4 x (row x grid width + column) of its first pixel in raster order that is of no node. Of a line
            that leads right from node to node, of the first of its two, and besides 0 to 3 for where the other
            lies: east, south-east, south, south-west. Two such lines may share a pixel.
        place: int64 (n,); its pixels, as row x grid width + column.
        square: int32 (n,); their squared distance to the mask's edge.
        node: The nodes at its beginning and its end.
        node_xy: float64 (2, 2); where these lie in pixel coordinates, as x and y.
        closed: Whether it has no node but its own first pixel.
    """

    id: int
    place: NDArray[np.int64]
    square: NDArray[np.int32]
    node: tuple[int, int]
    node_xy: NDArray[np.float64]
    closed: bool = False


class BlockPieces:
    """The pieces of a block, found by where they cross its border.

    Args:
        pieces: All of them.
    """

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        stop = np.cumsum(pieces.size)
        self._start, self._stop = (stop - pieces.size).tolist(), stop.tolist()
        self._crossing: dict[tuple[int, int], tuple[int, bool]] = {}
        for number in np.flatnonzero((pieces.node == 0).any(axis=1)).tolist():
            place = self.place(number)
            if pieces.node[number, 0] == 0:
                self._crossing[int(place[1]), int(place[0])] = (number, False)
            if pieces.node[number, 1] == 0:
                self._crossing[int(place[-2]), int(place[-1])] = (number, True)

    def __len__(self) -> int:
        return len(self.pieces)

    def place(self, number: int) -> NDArray[np.int64]:
        """The pixels (n,) of a piece."""
        return self.pieces.place[self._start[number] : self._stop[number]]

    def square(self, number: int) -> NDArray[np.int32]:
        """The squared distances (n,) of a piece's pixels to the mask's edge."""
        return self.pieces.square[self._start[number] : self._stop[number]]

    def is_closed(self, number: int) -> bool:
        """Whether a piece is a closed line by itself."""
        return bool(self.pieces.node[number, 0] == -1)

    def first(self, number: int) -> int:
        """The first pixel in raster order of a piece that is the block's own and of no node."""
        place = self.place(number)
        return int(place.min() if len(place) == 2 or self.is_closed(number) else place[1:-1].min())

    def crossing(self, inside: int, outside: int) -> tuple[int, bool]:
        """The piece that crosses the border from one pixel to another, and whether it does so at its end.

        Raises:
            ValueError: None does.
        """
        found = self._crossing.get((inside, outside))
        if found is None:
            raise ValueError(f"no line goes on from pixel {outside} to pixel {inside}")
        return found


def edges_of(
    block: int, grid_width: int, block_of: Callable[[int], int], blocks: Callable[[int], BlockPieces]
) -> Iterator[Edge]:
    """The lines whose first pixel lies in a block, whole.

    From each piece of the block it goes on both ways, block by block, until both ways end, or until a pixel before
    the piece's own first one is met: then the line begins elsewhere.

    Args:
        block: Its number.
        grid_width: Columns of the grid.
        block_of: The number of the block in which a pixel lies.
        blocks: The pieces of a block by its number.
    """
    own = blocks(block)
    for number in range(len(own)):
        if own.is_closed(number):
            yield _closed(own.place(number)[:-1], own.square(number)[:-1])
            continue
        chain = _chain(block, number, grid_width, block_of, blocks)
        if chain is not None:
            yield chain


_Step = tuple[int, int, bool]
"""A block, a piece of it, and whether that is gone along from its end to its beginning."""


def _chain(
    block: int,
    number: int,
    grid_width: int,
    block_of: Callable[[int], int],
    blocks: Callable[[int], BlockPieces],
) -> Edge | None:
    """The whole line of a piece, where its first pixel is the piece's."""
    start = (block, number)
    first = blocks(block).first(number)
    # Ways forward from the piece as it is, and from the piece turned around.
    ways: list[list[_Step]] = [[(block, number, False)], [(block, number, True)]]
    is_open = [True, True]
    while any(is_open):
        for side in (0, 1):
            if not is_open[side]:
                continue
            following = _next(ways[side][-1], block_of, blocks)
            if following is None:
                is_open[side] = False
            elif following[:2] == start:
                place, square = _together(ways[side], blocks)
                return _closed(place[1:-1], square[1:-1])
            elif blocks(following[0]).first(following[1]) < first:
                return None
            else:
                ways[side].append(following)
    back = [(other, piece, not turned) for other, piece, turned in ways[1][:0:-1]]
    steps = back + ways[0]
    place, square = _together(steps, blocks)
    ends = [_end(steps[0], 0, blocks), _end(steps[-1], 1, blocks)]
    # One of the two ways to go along it, whatever the blocks.
    if (place[0], place[1]) > (place[-1], place[-2]):
        place, square, ends = place[::-1], square[::-1], ends[::-1]
    edge_id = 1 + 4 * first
    if len(place) == 2:
        edge_id += _direction(place, grid_width)
    return Edge(edge_id, place, square, (ends[0][0], ends[1][0]), np.array([ends[0][1], ends[1][1]]))


def _direction(place: NDArray[np.int64], grid_width: int) -> int:
    """0 to 3: where the latter of two pixels lies, east, south-east, south or south-west."""
    (row, col), (other_row, other_col) = (divmod(int(one), grid_width) for one in (place.min(), place.max()))
    return 0 if other_row == row else 2 - (other_col - col)


def _next(step: _Step, block_of: Callable[[int], int], blocks: Callable[[int], BlockPieces]) -> _Step | None:
    """Where a line goes on after a piece; None where it ends at a node."""
    block, number, turned = step
    here = blocks(block)
    if here.pieces.node[number, 0 if turned else 1] != 0:
        return None
    place = here.place(number)
    inside, outside = (place[1], place[0]) if turned else (place[-2], place[-1])
    other = block_of(int(outside))
    piece, at_end = blocks(other).crossing(int(outside), int(inside))
    return other, piece, at_end


def _together(
    steps: list[_Step], blocks: Callable[[int], BlockPieces]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Pixels and their distances along several pieces, of which each begins with the last two of the one before."""
    places, squares = [], []
    for position, (block, number, turned) in enumerate(steps):
        here, way = blocks(block), -1 if turned else 1
        skip = 2 if position else 0
        places.append(here.place(number)[::way][skip:])
        squares.append(here.square(number)[::way][skip:])
    return np.concatenate(places), np.concatenate(squares)


def _end(step: _Step, at: int, blocks: Callable[[int], BlockPieces]) -> tuple[int, NDArray[np.float64]]:
    """The node before (0) or after (1) a piece, and where it lies."""
    block, number, turned = step
    pieces = blocks(block).pieces
    side = 1 - at if turned else at
    return int(pieces.node[number, side]), pieces.node_xy[number, side]


def _closed(ring: NDArray[np.int64], square: NDArray[np.int32]) -> Edge:
    """A closed line from its first pixel in raster order, by the lesser of the two beside it."""
    first = int(ring.argmin())
    ring, square = np.roll(ring, -first), np.roll(square, -first)
    if ring[-1] < ring[1]:
        ring, square = np.roll(ring[::-1], 1), np.roll(square[::-1], 1)
    place, square = np.append(ring, ring[0]), np.append(square, square[0])
    node = int(ring[0]) + 1
    return Edge(1 + 4 * int(ring[0]), place, square, (node, node), np.full((2, 2), np.nan), closed=True)
