"""Where a run is judged, and what of objects and lines lies there."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

_INSIDE = 0.5
"""An object counts where at least this share of its area lies inside."""

_ALL = 1 - 1e-6
"""This share of an area or length is all of it: cells may leave slivers between them in another CRS."""


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What of objects lies inside an extent.

    Attributes:
        index: int64 (n,); which of the objects these are: those with an area inside.
        polygons: What of each lies inside, polygons or multipolygons (n,).
        counts: Boolean (n,); whether at least half of its area does. Others count neither for nor against.
        whole: Boolean (n,); whether all of it does.
    """

    index: NDArray[np.int64]
    polygons: NDArray[np.object_]
    counts: NDArray[np.bool_]
    whole: NDArray[np.bool_]


class Extent:
    """A part of the plane, in small cells: what is cut along it meets a few of them, however ragged it is."""

    def __init__(self, cells: NDArray[np.object_]) -> None:
        """Keep the cells.

        Args:
            cells: Disjoint polygons (n,) in a plane.
        """
        self._cells = cells
        self._tree = shapely.STRtree(cells)

    @property
    def area_m2(self) -> float:
        """Area of it all."""
        return float(shapely.area(self._cells).sum())

    def objects(self, polygons: NDArray[np.object_]) -> Inside:
        """Cut objects along it.

        Args:
            polygons: Valid polygons or multipolygons (m,) in the plane.
        """
        object_of, cell, common = self._common(polygons)
        area, whole_area = np.bincount(object_of, shapely.area(common), len(polygons)), shapely.area(polygons)
        whole = area >= _ALL * whole_area
        found = polygons.copy()
        for i in np.flatnonzero((area > 0) & ~whole):
            found[i] = _areas(shapely.intersection(polygons[i], self._around(object_of, cell, int(i))))
        index = np.flatnonzero(area > 0)
        return Inside(index, found[index], (area >= _INSIDE * whole_area)[index], whole[index])

    def lines(self, lines: NDArray[np.object_]) -> NDArray[np.object_]:
        """What of LineStrings or MultiLineStrings (m,) lies inside, as LineStrings (n,) with a length."""
        line_of, cell, common = self._common(lines)
        length, whole_length = np.bincount(line_of, shapely.length(common), len(lines)), shapely.length(lines)
        # Along the side of two cells a line would count twice.
        whole = (length >= _ALL * whole_length) & (np.bincount(line_of, minlength=len(lines)) == 1)
        found = list(lines[whole])
        for i in np.flatnonzero((length > 0) & ~whole):
            inside = shapely.intersection(lines[i], self._around(line_of, cell, int(i)))
            all_of_it = shapely.length(inside) >= _ALL * whole_length[i]
            found += [lines[i]] if all_of_it else list(shapely.get_parts(inside))
        kept = np.empty(len(found), object)
        kept[:] = found
        parts: NDArray[np.object_] = shapely.get_parts(kept)
        return parts[(shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING) & (shapely.length(parts) > 0)]

    def _common(
        self, shapes: NDArray[np.object_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.object_]]:
        """Which shapes meet which cells, in order of the shapes, and what each pair has in common."""
        shape_of, cell = self._tree.query(shapes, predicate="intersects")
        order = np.lexsort((cell, shape_of))
        shape_of, cell = shape_of[order], cell[order]
        return shape_of, cell, shapely.intersection(shapes[shape_of], self._cells[cell])

    def _around(self, shape_of: NDArray[np.int64], cell: NDArray[np.int64], shape: int) -> shapely.Geometry:
        """The cells that a shape meets, as one: cut along these, it has no other ends than those of the extent."""
        first, last = np.searchsorted(shape_of, (shape, shape + 1))
        return shapely.union_all(self._cells[cell[first:last]])


def _areas(geometry: shapely.Geometry) -> shapely.Geometry:
    """What a geometry has of polygons; where it only touches, an intersection leaves points and lines."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
