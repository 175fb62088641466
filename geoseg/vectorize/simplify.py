"""Simplification that keeps the topology: neighbours that share an edge still share it afterwards."""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vectorize.rings import Rings
from geoseg.vectorize.smooth import smooth


@dataclass(frozen=True, slots=True)
class Generalization:
    """How outlines are made simpler than those of pixels.

    Attributes:
        tolerance_px: Square root of the largest triangle that simplification removes; 0 removes none.
        smooth: Whether the staircase of pixels is smoothed before.
        angular: Ids of the classes whose corners are not smoothed.
    """

    tolerance_px: float = 0.0
    smooth: bool = False
    angular: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance_px < math.inf:
            raise ValueError(f"expected a tolerance of 0 pixels or more, got {self.tolerance_px}")

    @property
    def is_none(self) -> bool:
        """Whether outlines are left as those of the pixels."""
        return self.tolerance_px == 0 and not self.smooth


def simplify(
    polygons: NDArray[np.object_],
    tolerance_px: float,
    nodes: NDArray[np.int64],
    keep_corners: NDArray[np.bool_] | None = None,
) -> NDArray[np.object_]:
    """Simplify the polygons of a partition together, as a coverage; its outer edges stay as they are.

    Visvalingam and Whyatt's algorithm (1993, Line generalisation by repeated elimination of points) on the
    shared edges of the coverage, as in GEOS's CoverageSimplifier: the vertex whose triangle with its two
    neighbours has the least area goes first, while that area is at most the tolerance squared and no line
    crosses another. Vertices where three or more outlines meet stay. At 1 px, steps of one pixel become
    slanted lines.

    Args:
        polygons: Polygons (n,) in pixel coordinates, with edges along rows and columns, whose interiors are
            disjoint. They may leave gaps, whose edges stay as well, and may touch at corners.
        tolerance_px: Square root of the largest triangle that is removed; 0 removes none.
        nodes: int64 (p, 2), x and y of points that become vertices of the outer edges that they lie on.
        keep_corners: bool (n,), the polygons whose corners stay when those of the others are cut before
            (`smooth`); None to cut none.

    Returns:
        The simplified polygons (n,), valid and none of them empty; all coordinates are among those given, or are
        those of corners that were cut, in halves of a pixel.
    """
    if len(polygons) == 0:
        return polygons
    noded = renode(polygons, nodes)
    if keep_corners is not None:
        noded = smooth(Rings.of(noded), keep_corners).polygons()
    if tolerance_px == 0:
        return noded
    simplified: NDArray[np.object_] = shapely.coverage_simplify(noded, tolerance_px, simplify_boundary=False)
    return simplified


def renode(polygons: NDArray[np.object_], nodes: NDArray[np.int64]) -> NDArray[np.object_]:
    """Insert into each edge the vertices of other polygons, and further points, that lie on it.

    Traced polygons have vertices only where they turn, so that at a T-junction the straight side lacks the
    vertex at which its two neighbours meet. As a coverage they are valid only with it.

    Args:
        polygons: Polygons (n,) with integer coordinates and edges along rows and columns.
        nodes: int64 (p, 2), x and y of the further points, within the bounds of the polygons.

    Returns:
        The same polygons (n,) with more vertices.
    """
    rings = Rings.of(polygons)
    if len(rings.xy) == 0:
        return polygons
    origin = np.concatenate((rings.xy.astype(np.int64), nodes)).min(axis=0)
    start = rings.xy.astype(np.int64) - origin
    end = start[rings.following]
    is_row = start[:, 1] == end[:, 1]
    vertices = np.concatenate((start, nodes - origin))

    inserted = [
        _on_edges(np.flatnonzero(on_axis), start[on_axis], end[on_axis], vertices, axis)
        for axis, on_axis in ((0, is_row), (1, ~is_row))
    ]
    edge = np.concatenate([edge for edge, _ in inserted])
    xy = np.concatenate([xy for _, xy in inserted]) + origin
    # Stable, since the points of one edge are in the edge's own order already.
    order = np.argsort(edge, kind="stable")
    return rings.insert_after(edge[order], xy[order]).polygons()


def _on_edges(
    edge: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    vertices: NDArray[np.int64],
    axis: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The vertices strictly inside edges that run along one axis, from each edge's start to its end.

    Sorted line by line, the vertices on an edge are a slice, so the work grows with the number of vertices
    and not with the length of the edges.

    Args:
        edge: int64 (e,); the number of each edge.
        start: int64 (e, 2), x and y from 0.
        end: int64 (e, 2).
        vertices: int64 (v, 2), from 0.
        axis: Along which the edges run, 0 for x and 1 for y.

    Returns:
        Edge numbers int64 (p,) and points int64 (p, 2).
    """
    stride = int(vertices[:, axis].max()) + 1
    keys = np.unique(vertices[:, 1 - axis] * stride + vertices[:, axis])
    line = start[:, 1 - axis] * stride
    low = np.searchsorted(keys, line + np.minimum(start[:, axis], end[:, axis]), side="right")
    high = np.searchsorted(keys, line + np.maximum(start[:, axis], end[:, axis]), side="left")
    count = high - low
    nth = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    forward = np.repeat(start[:, axis] < end[:, axis], count)
    at = np.where(forward, np.repeat(low, count) + nth, np.repeat(high, count) - 1 - nth)
    points = np.empty((len(at), 2), np.int64)
    points[:, 1 - axis], points[:, axis] = np.divmod(keys[at], stride)
    return np.repeat(edge, count), points
