"""How scenes cover a grid: how much, how often, and a small picture of it in characters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Grid

_COLUMNS = 64
"""Width of the picture in characters, which are about twice as high as wide."""

_ROWS = 20
_SHADES = " .:#"
"""Cells that scenes cover not at all, by less than a half, by more, and several times."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How scenes cover a grid, by their footprints; pixels without data inside these count as covered.

    Attributes:
        covered_px: Pixels in one scene or more.
        overlap_px: Pixels in two or more.
        gap_px: Pixels of the area of interest in none.
        picture: Lines of characters: blank where no scene lies, # where several do.
    """

    covered_px: float
    overlap_px: float
    gap_px: float
    picture: tuple[str, ...]

    @classmethod
    def of(cls, grid: Grid, footprints: Sequence[shapely.Geometry], area: shapely.Geometry | None) -> "Coverage":
        """Measure footprints.

        Args:
            grid: The grid.
            footprints: Polygons in pixel coordinates (x = column, y = row), one for each scene.
            area: The area of interest, likewise; None for the whole grid.
        """
        every = np.asarray(footprints, object)
        union = shapely.union_all(every)
        several = shapely.union_all(_overlaps(every))
        gap_px = 0.0 if area is None else float(shapely.area(shapely.difference(area, union)))
        picture = _picture(grid, union, several)
        return cls(float(shapely.area(union)), float(shapely.area(several)), gap_px, picture)


def _overlaps(footprints: NDArray[np.object_]) -> NDArray[np.object_]:
    """Where two footprints (n,) have pixels in common, a geometry for each pair (m,)."""
    one, other = shapely.STRtree(footprints).query(footprints, predicate="intersects")
    pair = one < other
    common: NDArray[np.object_] = shapely.intersection(footprints[one[pair]], footprints[other[pair]])
    return common


def _picture(grid: Grid, union: shapely.Geometry, several: shapely.Geometry) -> tuple[str, ...]:
    columns = min(_COLUMNS, grid.width)
    rows = max(1, min(_ROWS, round(columns * grid.height / grid.width / 2), grid.height))
    y, x = np.linspace(0, grid.height, rows + 1), np.linspace(0, grid.width, columns + 1)
    cells = shapely.box(x[:-1], y[:-1, None], x[1:], y[1:, None])
    shapely.prepare(union)
    cell_px = (grid.height / rows) * (grid.width / columns)
    share = shapely.area(shapely.intersection(cells, union)) / cell_px
    shade = np.where(share >= 0.5, 2, np.where(share > 0, 1, 0))
    shade[shapely.area(shapely.intersection(cells, several)) > 0] = 3
    return tuple("|" + "".join(_SHADES[one] for one in line) + "|" for line in shade.tolist())
