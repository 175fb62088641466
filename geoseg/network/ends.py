"""Dead ends of a skeleton: spurs go, ends at the grid's edge reach it, those that face each other meet."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled, with_room
from geoseg.grid import Window
from geoseg.network.links import Place, degree, follow, steps
from geoseg.network.rules import LOOK_PX, SPUR_RATIO, SPUR_ROUNDS, Rules

HasData = Callable[[Window], NDArray[np.bool_]]
"""Which pixels (row, column) of a window of the grid hold data."""

_LEAST_LOOK_PX = 3
_FACING = math.cos(math.radians(35))
"""The way over a gap leaves an end, and reaches the other, within so much of where these lead."""


def prune(on_hw: NDArray[np.uint8], square_px: NDArray[np.int32], rules: Rules) -> None:
    """Take away what is no road but the raggedness of a mask's edge, in place.

    A dead end goes up to its junction where it is hardly longer than the junction is from the mask's edge; two of
    them at the corners of a road's blunt end both do. What is nearly round leaves a line without a junction, which
    goes as a whole, and single pixels do. All that go in a round go at once, so that no order matters.

    Args:
        on_hw: Skeleton, uint8 (row, column), with an empty rim.
        square_px: Squared distance (row, column) of each of its pixels to the mask's edge.
        rules: How long a spur may be.
    """
    on, square, step = on_hw.reshape(-1), square_px.reshape(-1), steps(on_hw.shape[1])
    for _ in range(SPUR_ROUNDS):
        _prune(on, square, step, SPUR_RATIO, rules.spur_px, rules.most_spur_px)
    _remove_alone(on, step)


def extend(
    on_hw: NDArray[np.uint8],
    square_px: NDArray[np.int32],
    window: Window,
    height: int,
    width: int,
    is_data: HasData,
) -> None:
    """Let ends that are as far from the grid's edge as from their road's own edges go on to it, in place.

    Thinning eats a road from where the grid cuts it, too.

    Args:
        on_hw: Skeleton, uint8 (row, column), with an empty rim around the window.
        square_px: Squared distance (row, column) of each of its pixels to the mask's edge.
        window: Where it lies.
        height: Rows of the grid.
        width: Columns of the grid.
        is_data: Only over pixels with data.
    """
    on, step = on_hw.reshape(-1), steps(on_hw.shape[1])
    place, toward_xy = _ends(on, step, LOOK_PX, _LEAST_LOOK_PX)
    row, col = np.divmod(place, on_hw.shape[1])
    row, col = row + window.row - 1, col + window.col - 1
    most = SPUR_RATIO * np.sqrt(square_px.reshape(-1)[place]) + 2
    to_edge = np.column_stack((col, width - 1 - col, row, height - 1 - row))
    lead = np.column_stack((-toward_xy[:, 0], toward_xy[:, 0], -toward_xy[:, 1], toward_xy[:, 1]))
    reaches = (to_edge > 0) & (to_edge <= most[:, None]) & (lead > 0.5)
    lines = []
    for number in np.flatnonzero(reaches.any(axis=1)).tolist():
        side = int(np.where(reaches[number], to_edge[number], 2**62).argmin())
        length = to_edge[number, side] / lead[number, side]
        end_xy = np.rint(np.array([col[number], row[number]]) + toward_xy[number] * length).astype(np.int64)
        end_xy = np.clip(end_xy, 0, (width - 1, height - 1))
        lines.append((int(row[number]), int(col[number]), int(end_xy[1]), int(end_xy[0])))
    _draw(on_hw, square_px, window, lines, is_data)


def bridge(
    on_hw: NDArray[np.uint8], square_px: NDArray[np.int32], window: Window, rules: Rules, is_data: HasData
) -> None:
    """Join dead ends that face each other over a gap, in place.

    Each end chooses the nearest of those that it leads to and that lead back to it; two that choose each other are
    joined by a straight line of pixels, unless it meets another line or crosses pixels without data. Of equally
    near ones the first in raster order is chosen.

    Args:
        on_hw: Skeleton, uint8 (row, column), with an empty rim around the window.
        square_px: Squared distance (row, column) of each of its pixels to the mask's edge.
        window: Where it lies.
        rules: How wide a gap may be.
        is_data: Only over pixels with data.
    """
    on, step = on_hw.reshape(-1), steps(on_hw.shape[1])
    place, toward_xy = _ends(on, step, LOOK_PX, _LEAST_LOOK_PX)
    row, col = np.divmod(place, on_hw.shape[1])
    from_edge = np.sqrt(square_px.reshape(-1)[place])
    chosen = _choose(row, col, toward_xy, from_edge, float(rules.gap_px), _FACING)
    here = np.arange(len(chosen))
    pairs = here[(chosen > here) & (chosen[chosen] == here)]
    lines = [
        (
            int(row[a]) + window.row - 1,
            int(col[a]) + window.col - 1,
            int(row[b]) + window.row - 1,
            int(col[b]) + window.col - 1,
        )
        for a, b in zip(pairs.tolist(), chosen[pairs].tolist(), strict=True)
    ]
    _draw(on_hw, square_px, window, lines, is_data)


def _draw(
    on_hw: NDArray[np.uint8],
    square_px: NDArray[np.int32],
    window: Window,
    lines: list[tuple[int, int, int, int]],
    is_data: HasData,
) -> None:
    """Draw lines from one pixel of the grid to another, with the lesser of their distances; all that are free."""
    drawn = []
    for row, col, last_row, last_col in lines:
        count = max(abs(last_row - row), abs(last_col - col))
        # Halves go up, so that a line's pixels follow from where it lies, not from the window.
        along = np.arange(1, count + 1)
        rows = row + (2 * along * (last_row - row) + count) // (2 * count)
        cols = col + (2 * along * (last_col - col) + count) // (2 * count)
        rows_here, cols_here = rows - window.row + 1, cols - window.col + 1
        first, last = (row - window.row + 1, col - window.col + 1), (rows_here[-1], cols_here[-1])
        if not (1 <= last[0] <= window.height and 1 <= last[1] <= window.width):
            continue  # an end that the window's edge cuts, where nothing is asked for
        if not _is_free(on_hw, rows_here, cols_here, *first, *last):
            continue
        box = Window(int(rows.min()), int(cols.min()), int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1)
        if is_data(box)[rows - box.row, cols - box.col].all():
            least = square_px[first]
            if on_hw[last]:
                least = min(least, square_px[last])
            drawn.append((rows_here, cols_here, least))
    for rows, cols, least in drawn:
        new = on_hw[rows, cols] == 0
        # Two lines may cross: what either says must not depend on which comes first.
        square_px[rows[new], cols[new]] = np.maximum(square_px[rows[new], cols[new]], least)
    for rows, cols, _ in drawn:
        on_hw[rows, cols] = 1


@compiled
def _prune(
    on: NDArray[np.uint8],
    square: NDArray[np.int32],
    step: NDArray[np.int64],
    ratio: float,
    more: float,
    most: float,
) -> None:
    """One round of `prune`."""
    gone = np.empty(64, np.int64)
    going = 0
    way = np.empty(int(most) + 8, np.int64)
    for end in np.flatnonzero(on):
        if degree(on, end, step) != 1:
            continue
        count, length = _way_to_junction(on, end, step, most, way)
        last = way[count - 1]
        links = degree(on, last, step)
        if links == 2:
            continue
        # A junction stays, the other end of a line without one goes.
        own = count if links == 1 else count - 1
        wide = max(square[end], square[last]) if links == 1 else square[last]
        if length <= ratio * np.sqrt(wide) + more:
            gone = with_room(gone, going + own)
            gone[going : going + own] = way[:own]
            going += own
    for k in range(going):
        on[gone[k]] = 0


@compiled
def _way_to_junction(
    on: NDArray[np.uint8], end: Place, step: NDArray[np.int64], most: float, way: NDArray[np.int64]
) -> tuple[int, float]:
    """Pixels from a dead end to where its line ends, or to beyond the most, how many and how long the way is."""
    before: Place = -1
    here: Place = end
    length, count = 0.0, 1
    way[0] = end
    while length <= most and (count == 1 or degree(on, here, step) == 2):
        following = follow(on, before, here, step)
        jump = abs(following - here)
        length += 1.0 if jump == 1 or jump == step[2] else 1.4142135623730951
        before, here = here, following
        way[count] = here
        count += 1
    return count, length


@compiled
def _remove_alone(on: NDArray[np.uint8], step: NDArray[np.int64]) -> None:
    for place in np.flatnonzero(on):
        if degree(on, place, step) == 0:
            on[place] = 0


@compiled
def _ends(
    on: NDArray[np.uint8], step: NDArray[np.int64], look: int, least: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Dead ends in raster order, and the direction (n, 2) as x and y that each leads to; 0, 0 of short ones."""
    width = step[2]
    places = np.empty(16, np.int64)
    toward = np.empty(32, np.float64)
    count = 0
    for end in np.flatnonzero(on):
        if degree(on, end, step) != 1:
            continue
        places, toward = with_room(places, count + 1), with_room(toward, 2 * count + 2)
        before: Place = -1
        here: Place = end
        seen = 0
        while seen < look:
            following = follow(on, before, here, step)
            if following < 0:
                break
            before, here = here, following
            seen += 1
            if degree(on, here, step) != 2:
                break
        dx = float(end % width - here % width)
        dy = float(end // width - here // width)
        length = np.sqrt(dx * dx + dy * dy)
        is_long = seen >= least
        places[count] = end
        toward[2 * count] = dx / length if is_long else 0.0
        toward[2 * count + 1] = dy / length if is_long else 0.0
        count += 1
    return places[:count].copy(), toward[: 2 * count].copy().reshape((count, 2))


@compiled
def _choose(
    row: NDArray[np.int64],
    col: NDArray[np.int64],
    toward: NDArray[np.float64],
    from_edge: NDArray[np.float64],
    gap: float,
    facing: float,
) -> NDArray[np.int64]:
    """The end (n,) that each end chooses; -1 for none. Ends come in raster order."""
    count = len(row)
    chosen = np.full(count, -1, np.int64)
    best = np.full(count, np.int64(2**62))
    reach = gap + (2 * from_edge.max() if count else 0.0)
    for a in range(count):
        for b in range(a + 1, count):
            dy, dx = row[b] - row[a], col[b] - col[a]
            if dy > reach:
                break
            square = dy * dy + dx * dx
            most = gap + from_edge[a] + from_edge[b]
            if square > most * most or square == 0:
                continue
            length = np.sqrt(float(square))
            leaves = (toward[a, 0] * dx + toward[a, 1] * dy) / length
            comes = -(toward[b, 0] * dx + toward[b, 1] * dy) / length
            if leaves < facing or comes < facing:
                continue
            # The first of equally near ones stays, for either.
            if square < best[a]:
                best[a], chosen[a] = square, b
            if square < best[b]:
                best[b], chosen[b] = square, a
    return chosen


@compiled
def _is_free(
    on_hw: NDArray[np.uint8],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    first_row: int,
    first_col: int,
    last_row: int,
    last_col: int,
) -> bool:
    """Whether no line but the two that it joins lies on or beside a line of pixels."""
    height, width = on_hw.shape
    for k in range(len(rows)):
        for row in range(max(rows[k] - 1, 0), min(rows[k] + 2, height)):
            for col in range(max(cols[k] - 1, 0), min(cols[k] + 2, width)):
                if not on_hw[row, col]:
                    continue
                at_first = max(abs(row - first_row), abs(col - first_col)) <= 2
                at_last = max(abs(row - last_row), abs(col - last_col)) <= 2
                if not (at_first or at_last):
                    return False
    return True
