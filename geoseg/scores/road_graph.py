"""A road network as a graph: lines that share vertices, cut where control points lie on them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

_SAME_PLACE_M = 0.001
"""Vertices this near are one: lines that meet have been brought there from the same numbers."""

_SOURCES_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class RoadGraph:
    """An undirected graph in a plane; its edges are straight.

    Attributes:
        xy: float64 (n, 2); the nodes.
        ends: int64 (m, 2); the nodes of each edge, two different ones.
        length_m: float64 (m,).
    """

    xy: NDArray[np.float64]
    ends: NDArray[np.int64]
    length_m: NDArray[np.float64]

    @classmethod
    def of(cls, lines: NDArray[np.object_]) -> Self:
        """The graph of LineStrings (m,): every vertex is a node, and vertices at the same place are one.

        Lines that cross without a common vertex (bridges) are not connected there.
        """
        xy, line = shapely.get_coordinates(lines, return_index=True)
        if len(xy) == 0:
            return cls(np.empty((0, 2)), np.empty((0, 2), np.int64), np.empty(0))
        _, first, node = np.unique(
            np.rint(xy / _SAME_PLACE_M).astype(np.int64), axis=0, return_index=True, return_inverse=True
        )
        node = node.reshape(-1)
        along = line[1:] == line[:-1]
        ends = np.column_stack((node[:-1][along], node[1:][along]))
        return cls.from_edges(xy[first], ends)

    @classmethod
    def from_edges(cls, xy: NDArray[np.float64], ends: NDArray[np.int64]) -> Self:
        """A graph without loops, and with one edge where several are the same.

        Args:
            xy: float64 (n, 2).
            ends: int64 (m, 2).
        """
        ends = np.unique(np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1), axis=0)
        away = xy[ends[:, 0]] - xy[ends[:, 1]]
        return cls(xy, ends, np.hypot(away[:, 0], away[:, 1]))

    @property
    def degree(self) -> NDArray[np.int64]:
        """Edges at each node, int64 (n,)."""
        return np.bincount(self.ends.ravel(), minlength=len(self.xy)).astype(np.int64)

    def chains(self) -> list[NDArray[np.int64]]:
        """The roads between nodes of another degree than 2, as the nodes (m,) that each goes through.

        A ring without such a node begins and ends at its first one.
        """
        neighbours: list[list[int]] = [[] for _ in range(len(self.xy))]
        for one, other in self.ends.tolist():
            neighbours[one].append(other)
            neighbours[other].append(one)
        degree = self.degree
        seen: set[tuple[int, int]] = set()
        chains = []
        nodes = np.arange(len(self.xy))
        for start in (*nodes[(degree != 2) & (degree > 0)].tolist(), *nodes[degree == 2].tolist()):
            for second in neighbours[start]:
                if (start, second) in seen:
                    continue
                chain = [start, second]
                while degree[chain[-1]] == 2 and chain[-1] != start:
                    one, other = neighbours[chain[-1]]
                    chain.append(other if one == chain[-2] else one)
                steps = list(pairwise(chain))
                seen.update(steps)
                seen.update((other, one) for one, other in steps)
                chains.append(np.array(chain, np.int64))
        return chains

    def nearest(
        self, points: NDArray[np.float64], within_m: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The edge (m,) nearest to each point (m, 2), -1 for none within a distance; and how far along it, in m.

        Args:
            points: float64 (m, 2).
            within_m: The distance.
        """
        edge = np.full(len(points), -1, np.int64)
        along_m = np.zeros(len(points))
        if len(self.ends) == 0 or len(points) == 0:
            return edge, along_m
        segments = shapely.linestrings(self.xy[self.ends])
        places = shapely.points(points)
        asked, found = shapely.STRtree(segments).query_nearest(
            places, max_distance=within_m * (1 + 1e-9) + 1e-9, all_matches=False
        )
        edge[asked] = found
        along_m[asked] = shapely.line_locate_point(segments[found], places[asked])
        return edge, along_m

    def with_nodes(self, edge: NDArray[np.int64], along_m: NDArray[np.float64]) -> tuple[Self, NDArray[np.int64]]:
        """The graph cut at places along its edges, and the node (m,) at each.

        Args:
            edge: int64 (m,); -1 for a place that is nowhere, which gets the node -1.
            along_m: float64 (m,); from the first end of the edge.
        """
        at_node = np.full(len(edge), -1, np.int64)
        there = np.flatnonzero(edge >= 0)
        on, along = edge[there], along_m[there]
        at_start, at_end = along <= _SAME_PLACE_M, along >= self.length_m[on] - _SAME_PLACE_M
        at_node[there[at_start]] = self.ends[on[at_start], 0]
        at_node[there[at_end & ~at_start]] = self.ends[on[at_end & ~at_start], 1]
        within = there[~at_start & ~at_end]
        order = within[np.lexsort((along_m[within], edge[within]))]
        on, along = edge[order], along_m[order]
        # Places that are the same are one node.
        new = np.ones(len(order), np.bool_)
        new[1:] = (on[1:] != on[:-1]) | (along[1:] - along[:-1] > _SAME_PLACE_M)
        at_node[order] = len(self.xy) + np.cumsum(new) - 1
        on, along = on[new], along[new]
        one, other = self.xy[self.ends[on, 0]], self.xy[self.ends[on, 1]]
        xy = np.vstack((self.xy, one + (other - one) * (along / self.length_m[on])[:, None]))
        whole = np.ones(len(self.ends), np.bool_)
        whole[on] = False
        number = np.arange(len(self.xy), len(xy))
        first, last = np.append(True, on[1:] != on[:-1])[: len(on)], np.append(on[1:] != on[:-1], True)[: len(on)]
        before = np.where(first, self.ends[on, 0], number - 1)
        parts = [self.ends[whole], np.column_stack((before, number))]
        parts.append(np.column_stack((number[last], self.ends[on[last], 1])))
        return type(self).from_edges(xy, np.concatenate(parts)), at_node

    def distances_m(self, nodes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Lengths (m, m) of the shortest ways between nodes (m,), infinite where there is none; -1 is nowhere."""
        found = np.full((len(nodes), len(nodes)), np.inf)
        there = np.flatnonzero(nodes >= 0)
        size = len(self.xy)
        weights = csr_array((self.length_m, (self.ends[:, 0], self.ends[:, 1])), shape=(size, size))
        for start in range(0, len(there), _SOURCES_AT_ONCE):
            asked = there[start : start + _SOURCES_AT_ONCE]
            from_here = dijkstra(weights, directed=False, indices=nodes[asked])
            found[np.ix_(asked, there)] = from_here[:, nodes[there]]
        return found
