"""What of objects and lines lies where a run is judged."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

_INSIDE = 0.5
"""An object counts where at least this share of its area lies inside."""


@dataclass(frozen=True, slots=True, eq=False)
class Inside:
    """What of objects lies inside a region.

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


def objects_inside(polygons: NDArray[np.object_], region: shapely.Geometry) -> Inside:
    """Cut objects along a region.

    Args:
        polygons: Valid polygons or multipolygons (m,) in a plane.
        region: A polygon or several.
    """
    shapely.prepare(region)
    whole = np.asarray(shapely.covers(region, polygons), np.bool_)
    found, counts = polygons.copy(), whole.copy()
    for i in np.flatnonzero(~whole):
        found[i] = _areas(shapely.intersection(polygons[i], region))
        counts[i] = found[i].area >= _INSIDE * polygons[i].area
    index = np.flatnonzero(shapely.area(found) > 0)
    return Inside(index, found[index], counts[index], whole[index])


def _areas(geometry: shapely.Geometry) -> shapely.Geometry:
    """What a geometry has of polygons; where it only touches, an intersection leaves points and lines."""
    parts = [part for part in shapely.get_parts(geometry) if part.geom_type == "Polygon"]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def lines_inside(lines: NDArray[np.object_], region: shapely.Geometry) -> NDArray[np.object_]:
    """What of lines lies inside a region, as LineStrings (n,) with a length.

    Args:
        lines: LineStrings or MultiLineStrings (m,) in a plane.
        region: A polygon or several.
    """
    shapely.prepare(region)
    whole = np.asarray(shapely.covers(region, lines), np.bool_)
    cut = shapely.get_parts(shapely.get_parts(shapely.intersection(lines[~whole], region)))
    parts = np.concatenate((shapely.get_parts(lines[whole]), cut))
    kept: NDArray[np.object_] = parts[
        (shapely.get_type_id(parts) == shapely.GeometryType.LINESTRING) & (shapely.length(parts) > 0)
    ]
    return kept
