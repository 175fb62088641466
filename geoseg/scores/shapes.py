"""How alike the shapes of matched objects are: PoLiS distance, rotation, vertices."""

import numpy as np
import shapely
from numpy.typing import NDArray

_MOST_BY_HAND = 10_000
"""Pairs of a vertex and a side that are looked at one by one."""


def polis_m(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    """PoLiS distance (n,) of pairs of polygons, in the unit of the plane.

    Half the mean distance of the vertices of each from the boundary of the other, added up (Avbelj, Müller and
    Bamler 2015, A metric for polygon comparison and building extraction evaluation, equation 3). Holes are boundary
    too.

    Args:
        one: Polygons or multipolygons (n,).
        other: Their partners (n,).
    """
    return (_mean_distance(one, other) + _mean_distance(other, one)) / 2


def _mean_distance(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    xy, index = _vertices(one)
    places, counts = shapely.points(xy), np.bincount(index, minlength=len(one))
    starts = np.cumsum(counts) - counts
    boundaries = shapely.boundary(other)
    # Each vertex against each side takes long where both are many; a tree of the sides finds the nearest.
    large = counts * shapely.get_num_coordinates(other) > _MOST_BY_HAND
    small = ~large[index]
    away = np.zeros(len(xy))
    away[small] = shapely.distance(places[small], boundaries[index[small]])
    for i in np.flatnonzero(large):
        mine = slice(starts[i], starts[i] + counts[i])
        _, away[mine] = shapely.STRtree(_sides(other[i])).query_nearest(
            places[mine], return_distance=True, all_matches=False
        )
    return np.asarray(np.bincount(index, away, len(one)) / counts)


def _sides(polygon: shapely.Geometry) -> NDArray[np.object_]:
    """The sides of all rings of a polygon or multipolygon, as lines (n,)."""
    xy, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(polygon)), return_index=True)
    along = ring[1:] == ring[:-1]
    sides: NDArray[np.object_] = shapely.linestrings(np.stack((xy[:-1][along], xy[1:][along]), axis=1))
    return sides


def _vertices(polygons: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The vertices (m, 2) of polygons, without the one that closes a ring, and whose each is (m,)."""
    parts, polygon_of_part = shapely.get_parts(polygons, return_index=True)
    rings, part_of_ring = shapely.get_rings(parts, return_index=True)
    xy, ring_of_vertex = shapely.get_coordinates(rings, return_index=True)
    last = np.append(ring_of_vertex[1:] != ring_of_vertex[:-1], True)[: len(xy)]
    return xy[~last], polygon_of_part[part_of_ring[ring_of_vertex[~last]]]


def vertex_counts(polygons: NDArray[np.object_]) -> NDArray[np.int64]:
    """Vertices of each polygon or multipolygon (n,), holes included, those that close rings not."""
    _, index = _vertices(polygons)
    return np.bincount(index, minlength=len(polygons)).astype(np.int64)


def orientation_deg(polygons: NDArray[np.object_]) -> NDArray[np.float64]:
    """Main orientation (n,) of polygons: that of a side of the smallest rectangle around each, 0 to 90.

    Counter-clockwise from the x axis. Right angles make a direction and its perpendicular the same; the rectangle
    is that of least area, since the sides of an outline of pixels say nothing of where it points.
    """
    boxes = shapely.minimum_rotated_rectangle(polygons)
    angles = np.empty(len(polygons))
    for i, box in enumerate(boxes):
        (ax, ay), (bx, by), *_ = shapely.get_coordinates(box)
        angles[i] = np.degrees(np.arctan2(by - ay, bx - ax)) % 90
    return angles


def rotation_error_deg(one: NDArray[np.object_], other: NDArray[np.object_]) -> NDArray[np.float64]:
    """Difference (n,) of the main orientations of pairs of polygons, 0 to 45."""
    apart = np.abs(orientation_deg(one) - orientation_deg(other))
    return np.asarray(np.minimum(apart, 90 - apart))


def shape_figures(predicted: NDArray[np.object_], true: NDArray[np.object_]) -> dict[str, float | int | None]:
    """Shape figures of matched pairs, by name; None of no pairs.

    Args:
        predicted: Polygons or multipolygons (n,) in a plane in metres.
        true: Their partners (n,).
    """
    if len(predicted) == 0:
        names = ("polis_m_mean", "polis_m_median", "rotation_error_deg_mean", "rotation_error_deg_median")
        return {"shape_pairs": 0, **dict.fromkeys((*names, "vertex_ratio"))}
    polis, turned = polis_m(predicted, true), rotation_error_deg(predicted, true)
    return {
        "shape_pairs": len(predicted),
        "polis_m_mean": float(polis.mean()),
        "polis_m_median": float(np.median(polis)),
        "rotation_error_deg_mean": float(turned.mean()),
        "rotation_error_deg_median": float(np.median(turned)),
        "vertex_ratio": float(vertex_counts(predicted).sum() / vertex_counts(true).sum()),
    }
