"""Regularized outlines among their neighbours: none overlaps another, and what lies around is cut back."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

_INTERIORS_MEET = "T********"
_TOUCH_PX = 1e-6
"""Cuts are rounded: what touched before may be this far apart after."""


@dataclass(frozen=True, slots=True, eq=False)
class Walls:
    """Objects whose outlines may have been regularized.

    Attributes:
        id: int64 (n,).
        before: Polygons (n,), of a coverage: no two overlap.
        after: Polygons (n,), regularized or as before.
        changed: bool (n,); whether they are regularized.
    """

    id: NDArray[np.int64]
    before: NDArray[np.object_]
    after: NDArray[np.object_]
    changed: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> "Walls":
        """The rows at an index (m,), or where a mask (n,) is true."""
        return Walls(self.id[index], self.before[index], self.after[index], self.changed[index])

    @classmethod
    def concatenate(cls, several: "list[Walls]") -> "Walls":
        """All of them; there is at least one."""
        return cls(
            *(
                np.concatenate([getattr(one, name) for one in several])
                for name in ("id", "before", "after", "changed")
            )
        )


def stands_apart(own: Walls, around: Walls) -> NDArray[np.bool_]:
    """Which regularized outlines overlap no other object, whichever of the two outlines that one gets.

    Each is judged by itself, against both outlines of its neighbours, so that the answer depends on no order: of
    two that overlap when regularized both stay as they were.

    Args:
        own: The objects to judge.
        around: All others that may overlap them.

    Returns:
        bool (n,), false for those that are not changed.
    """
    apart = own.changed.copy()
    judged = np.flatnonzero(own.changed)
    everyone = Walls.concatenate([own, around])
    others_after = np.flatnonzero(everyone.changed)
    for others, number in (
        (everyone.before, np.arange(len(everyone))),
        (everyone.after[others_after], others_after),
    ):
        mine, theirs = shapely.STRtree(others).query(own.after[judged], predicate="intersects")
        different = judged[mine] != number[theirs]
        mine, theirs = mine[different], theirs[different]
        meets = shapely.relate_pattern(own.after[judged[mine]], others[theirs], _INTERIORS_MEET)
        apart[judged[mine[meets]]] = False
    return apart


def overlapping(bodies: NDArray[np.object_], walls: NDArray[np.object_]) -> list[NDArray[np.int64]]:
    """For each body (n,) the walls (m,) whose inside meets its inside, int64 indices in order."""
    if len(bodies) == 0:
        return []  # what is split at no place is one piece
    body, wall = shapely.STRtree(walls).query(bodies, predicate="intersects")
    meets = shapely.relate_pattern(bodies[body], walls[wall], _INTERIORS_MEET)
    body, wall = body[meets], wall[meets]
    order = np.lexsort((wall, body))
    body, wall = body[order], wall[order]
    return np.split(wall, np.searchsorted(body, np.arange(1, len(bodies))))


def splitting(body: shapely.Polygon, walls: NDArray[np.object_], least_px2: float) -> NDArray[np.bool_]:
    """Which walls must go back to what they were, lest they cut a body into several or take most of it.

    Args:
        body: A polygon.
        walls: Polygons (n,) that overlap it.
        least_px2: Pieces that are smaller do not count: they are left out.

    Returns:
        bool (n,).
    """
    goes = np.zeros(len(walls), bool)
    while not goes.all():
        pieces = _pieces(body, walls[~goes])
        if 2 * shapely.area(pieces).sum() < shapely.area(body):
            return np.ones(len(walls), bool)
        large = [pieces[0], *(piece for piece in pieces[1:] if shapely.area(piece) >= least_px2)]
        if len(large) == 1:
            return goes
        beside = shapely.dwithin(walls[:, None], np.array(large, object)[None], _TOUCH_PX).sum(axis=1)
        # Those between two pieces; where there are none, several together part them.
        choices = (beside > 1, beside > 0, np.ones(len(walls), bool))
        goes |= next(some for some in choices if (some & ~goes).any())
    return goes


def cut_back(body: shapely.Polygon, walls: NDArray[np.object_]) -> tuple[shapely.Polygon, NDArray[np.object_]]:
    """What walls leave of a body: the largest piece, and the pieces (n,) that are cut off from it."""
    left, *pieces = _pieces(body, walls)
    cut_off = np.empty(len(pieces), object)
    cut_off[:] = pieces
    return left, cut_off


def _pieces(body: shapely.Polygon, walls: NDArray[np.object_]) -> list[shapely.Polygon]:
    """The parts of a body outside walls, the largest first; there may be an empty one only."""
    left = shapely.difference(body, shapely.union_all(walls))
    pieces = shapely.get_parts(left)
    if len(pieces) == 0:
        return [shapely.Polygon()]
    pieces = shapely.normalize(pieces)
    # Of two as large as each other the order must not hang on how the overlay came by them.
    return sorted(pieces, key=lambda piece: (-shapely.area(piece), shapely.to_wkb(piece)))
