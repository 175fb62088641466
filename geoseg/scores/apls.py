"""APLS: how alike the lengths of ways through two road networks are (Van Etten et al. 2018, SpaceNet)."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.scores.areas import harmonic_mean
from geoseg.scores.road_graph import RoadGraph

SPACING_M = 50.0
"""At most so far apart are control points along a road."""

SNAP_M = 4.0
"""How far from the other network a control point may lie to have a place on it."""

LEAST_WAY_M = 10.0
"""Shorter ways are not compared."""

MOST_POINTS = 500
"""Of more control points, so many are drawn at random, always the same, and the ways between these compared."""

SEED = 0

_SHORT = 0.75
"""Roads shorter than this share of the spacing have control points at their ends alone."""


@dataclass(frozen=True, slots=True)
class Apls:
    """Path length similarity of two networks; None where there is nothing to compare.

    Attributes:
        both_ways: The harmonic mean of the two.
        true_to_mapped: How well ways of the reference are found in the map, 0 to 1.
        mapped_to_true: How well ways of the map are found in the reference.
        points: Control points of the reference and of the map.
        ways: Ways of the reference and of the map that were compared.
    """

    both_ways: float | None
    true_to_mapped: float | None
    mapped_to_true: float | None
    points: tuple[int, int]
    ways: tuple[int, int]


def apls(true: NDArray[np.object_], mapped: NDArray[np.object_]) -> Apls:
    """Average path length similarity (Van Etten, Lindenbaum and Bacastow 2018, SpaceNet, section 5).

    As SpaceNet's implementation with control points on every road, straight ones too (is_curved_eps < 0): control
    points are junctions, dead ends and places along roads at most `SPACING_M` apart; each has its place on the
    other network where that lies within `SNAP_M`; a way costs min(1, |a - b| / a), and 1 where the other network
    has none or one of its ends has no place there. Ways are undirected.

    Args:
        true: LineStrings (n,) of the reference in a plane in metres; vertices in common connect them.
        mapped: LineStrings (m,) of the map.
    """
    true_graph, mapped_graph = RoadGraph.of(true), RoadGraph.of(mapped)
    forth, points, ways = _one_way(true_graph, mapped_graph)
    back, points_back, ways_back = _one_way(mapped_graph, true_graph)
    return Apls(harmonic_mean(forth, back), forth, back, (points, points_back), (ways, ways_back))


def control_points(graph: RoadGraph) -> NDArray[np.float64]:
    """Junctions, ends and places along the roads of a network, float64 (n, 2)."""
    degree = graph.degree
    places = [graph.xy[(degree != 2) & (degree > 0)]]
    for chain in graph.chains():
        line = shapely.linestrings(graph.xy[chain])
        length_m = shapely.length(line)
        if degree[chain[0]] == 2:  # a ring without junctions
            places.append(graph.xy[chain[:1]])
        if length_m < _SHORT * SPACING_M:
            continue
        pieces = max(2, int(np.ceil(length_m / SPACING_M - 1e-9)))
        along = np.linspace(0, length_m, pieces + 1)[1:-1]
        places.append(shapely.get_coordinates(shapely.line_interpolate_point(line, along)))
    return np.concatenate(places)


def _one_way(graph: RoadGraph, other: RoadGraph) -> tuple[float | None, int, int]:
    points = control_points(graph)
    count = len(points)
    if count > MOST_POINTS:
        drawn = np.random.default_rng(SEED).choice(count, MOST_POINTS, replace=False)
        points = points[np.sort(drawn)]
    # The points lie on their own network, but for rounding.
    own, nodes = graph.with_nodes(*graph.nearest(points, SNAP_M))
    there, other_nodes = other.with_nodes(*other.nearest(points, SNAP_M))
    length_m, other_m = own.distances_m(nodes), there.distances_m(other_nodes)
    pairs = np.triu(np.isfinite(length_m) & (length_m >= LEAST_WAY_M), 1)
    if not pairs.any():
        return None, count, 0
    length_m, other_m = length_m[pairs], other_m[pairs]
    cost = np.minimum(1, np.abs(length_m - other_m) / length_m)
    return float(1 - cost.mean()), count, len(cost)
