"""What of a road mask is taken for a road: lengths on the ground, as whole pixels of a grid."""

import math
from dataclasses import dataclass
from typing import Self

from geoseg.grid import Grid
from geoseg.objects.ground import nominal_pixel_m2

_HALF_WIDTH_M = 25.0
_HALF_WIDTH_PX = (4, 40)
_HOLE_M2 = 30.0
_SPUR_M = 3.0
_GAP_M = 15.0
_GAP_PX = (2, 40)

SPUR_RATIO = 1.5
"""A dead end is the mask's own raggedness up to so many times the distance from its junction to the mask's edge."""

SPUR_ROUNDS = 2
"""How often spurs are taken away: each round sees what the one before left."""

LOOK_PX = 12
"""Of the way to a dead end, so much tells its direction."""

ARM_PX = (4, 8, 20)
"""Of a road that leaves a junction: how many pixels tell no direction, how many more there must be, and at most."""

LOOP_PX = 6
"""A way back to its own junction of so few pixels is part of the junction."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a road mask becomes lines, in pixels; what each step reaches is bounded, and so is the whole.

    Attributes:
        half_width_px: What lies further from the mask's edge is a square, not a road: lines go around it.
        hole_px: Holes of up to so many pixels are filled.
        spur_px: Besides `SPUR_RATIO`, so much longer may a dead end be that is taken away.
        gap_px: Dead ends that face each other are joined over so much.
    """

    half_width_px: int
    hole_px: int
    spur_px: float
    gap_px: int

    @classmethod
    def of(cls, grid: Grid) -> Self:
        """For a grid: roads of up to 50 m, holes of up to 30 m2, gaps of up to 15 m, within bounds in pixels.

        Raises:
            SceneError: The grid's centre has no place on earth.
        """
        pixel_m2 = nominal_pixel_m2(grid)
        pixel_m = math.sqrt(pixel_m2)
        return cls(
            half_width_px=_within(_HALF_WIDTH_M / pixel_m, _HALF_WIDTH_PX),
            hole_px=min(int(_HOLE_M2 / pixel_m2), _HALF_WIDTH_PX[1] ** 2),
            spur_px=max(2.0, _SPUR_M / pixel_m),
            gap_px=_within(_GAP_M / pixel_m, _GAP_PX),
        )

    @property
    def hole_side_px(self) -> int:
        """Longest side of the box around a hole that is filled."""
        return 3 * math.ceil(math.sqrt(self.hole_px))

    @property
    def merge_px(self) -> int:
        """Discs around junctions are no larger: squares do not swallow the roads that lead to them."""
        return (self.half_width_px + 1) // 2

    @property
    def thinning_rounds(self) -> int:
        """Enough for what is as wide as a road may be: a round takes a pixel from either side, or two of three."""
        return math.ceil(1.5 * self.half_width_px) + 1

    @property
    def skeleton_reach_px(self) -> int:
        """A pixel of the skeleton, and its distance, depend on the mask up to here, along rows and columns.

        On the hole around, on the mask's edge beyond, and each of a round's two steps on one pixel more; the
        distance is measured after squares are cut out.
        """
        return (
            self.hole_side_px + 1 + self.half_width_px + 1 + max(self.half_width_px + 1, 2 * self.thinning_rounds)
        )

    @property
    def most_spur_px(self) -> float:
        """The longest way that is taken away as a spur."""
        return SPUR_RATIO * (self.half_width_px + 1) + self.spur_px

    @property
    def graph_reach_px(self) -> int:
        """What a pixel is in the graph depends on the skeleton up to here, along rows and columns.

        Spurs, round by round; the way to the grid's edge; a gap's two ends with all that each could be joined to
        besides. Then junctions: whether a pixel is of a node follows from its disc, the one that this joins, those
        that could lead instead, and the junctions that these belong to. A node is as wide as two discs that join a
        third. Where its arms meet follows from where they end; whether it is one with another, from the nearest
        ones of both; and where the arms of both meet, from their ends again.
        """
        width = self.half_width_px + 1
        spurs = SPUR_ROUNDS * (math.ceil(self.most_spur_px) + 3) + 1
        edge = math.ceil(SPUR_RATIO * width) + 4 + LOOK_PX
        gaps = 2 * (self.gap_px + 2 * width) + LOOK_PX + 3
        is_node = 7 * self.merge_px + 2
        node = 6 * self.merge_px
        arms = ARM_PX[2] + 2
        is_one = 2 * (3 * self.merge_px + node)
        return spurs + edge + gaps + is_node + 3 * node + 2 * arms + is_one + 2 * LOOP_PX


def _within(value: float, bounds: tuple[int, int]) -> int:
    return min(max(math.ceil(value), bounds[0]), bounds[1])
