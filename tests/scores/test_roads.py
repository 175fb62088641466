"""Roads: APLS and buffers, by hand, by networkx and by laws."""

import math
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.ops import substring

from geoseg.scores import apls as module
from geoseg.scores.apls import apls, control_points
from geoseg.scores.buffered import buffered_figures
from geoseg.scores.road_graph import RoadGraph


def roads(*lines: list[tuple[float, float]]) -> NDArray[np.object_]:
    found = np.empty(len(lines), object)
    found[:] = [shapely.LineString(line) for line in lines]
    return found


def as_networkx(graph: RoadGraph) -> nx.Graph:
    found = nx.Graph()
    found.add_weighted_edges_from(zip(*graph.ends.T.tolist(), graph.length_m.tolist(), strict=True))
    return found


def apls_one_way(one: NDArray[np.object_], other: NDArray[np.object_]) -> float | None:
    """The definition, point by point: each is put into both networks, and networkx finds the ways."""
    points = control_points(RoadGraph.of(one))
    graphs = []
    for lines in (one, other):
        graph = as_networkx(RoadGraph.of(lines))
        xy = RoadGraph.of(lines).xy
        on_edges: dict[tuple[int, int], list[tuple[float, str]]] = {}
        for i, point in enumerate(points):
            edges = [(shapely.LineString(xy[list(edge)]), edge) for edge in graph.edges]
            if not edges:
                continue
            line, edge = min(edges, key=lambda found: found[0].distance(shapely.Point(point)))
            if line.distance(shapely.Point(point)) <= module.SNAP_M + 1e-6:
                on_edges.setdefault(edge, []).append((line.project(shapely.Point(point)), f"p{i}"))
        for (a, b), places in on_edges.items():
            length = graph.edges[a, b]["weight"]
            graph.remove_edge(a, b)
            stops = [(0.0, a), *sorted(places), (length, b)]
            for (before, here), (after, there) in pairwise(stops):
                graph.add_edge(here, there, weight=max(0.0, after - before))
        graphs.append(dict(nx.all_pairs_dijkstra_path_length(graph)))
    costs = []
    for i in range(len(points)):
        for j in range(i + 1, len(points)):
            length = graphs[0][f"p{i}"].get(f"p{j}")
            if length is None or length < module.LEAST_WAY_M:
                continue
            there = graphs[1].get(f"p{i}", {}).get(f"p{j}")
            costs.append(1.0 if there is None else min(1.0, abs(length - there) / length))
    return 1 - sum(costs) / len(costs) if costs else None


def street_grid(seed: int, lost: float, shift: float) -> NDArray[np.object_]:
    """Streets every 60 m or so, some of them missing, moved a little."""
    rng = np.random.default_rng(seed)
    xy = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1) * 60.0
    xy += np.random.default_rng(7).normal(0, 5, xy.shape) + rng.normal(0, shift, xy.shape)
    pairs = [((i, j), (i, j + 1)) for i in range(4) for j in range(3)]
    pairs += [((j, i), (j + 1, i)) for i in range(4) for j in range(3)]
    kept = [pair for pair in pairs if rng.random() >= lost]
    return roads(*([tuple(xy[a]), tuple(xy[b])] for a, b in kept))


@settings(max_examples=6)
@given(seed=st.integers(0, 99), lost=st.sampled_from([0.0, 0.2, 0.6]), shift=st.sampled_from([0.0, 1.0, 3.0]))
def test_apls_is_its_definition(seed: int, lost: float, shift: float) -> None:
    true, mapped = street_grid(0, 0.1, 0), street_grid(seed, lost, shift)
    found = apls(true, mapped)
    forth, back = apls_one_way(true, mapped), apls_one_way(mapped, true)
    assert found.true_to_mapped == pytest.approx(forth, abs=1e-6)
    assert found.mapped_to_true == pytest.approx(back, abs=1e-6)
    assert forth is not None
    assert back is not None
    assert found.both_ways == pytest.approx(2 * forth * back / (forth + back) if forth + back else 0, abs=1e-6)
    other_way = apls(mapped, true)
    assert other_way.both_ways == pytest.approx(found.both_ways)


@pytest.mark.parametrize("seed", range(3))
def test_a_network_is_itself_however_its_lines_are_cut_and_turned(seed: int) -> None:
    true = street_grid(seed, 0.2, 0)
    assert apls(true, true).both_ways == pytest.approx(1)
    halves = [substring(line, a, b, normalized=True) for line in true for a, b in ((0, 0.5), (0.5, 1))]
    again = np.empty(len(halves), object)
    again[:] = [shapely.reverse(line) for line in halves]
    assert apls(true, again).both_ways == pytest.approx(1)


def test_nothing_against_something_is_0_and_against_nothing_undefined() -> None:
    street = roads([(0, 0), (100, 0)])
    assert apls(street, roads()).both_ways == 0
    assert apls(roads(), street).both_ways == 0
    assert apls(roads(), roads()).both_ways is None


def test_a_gap_costs_what_is_computed_by_hand() -> None:
    # A T of three arms of 30 m, too short for points between: three ends and a junction, 6 ways.
    true = roads([(-30, 0), (0, 0)], [(0, 0), (30, 0)], [(0, 0), (0, 30)])
    # The right arm is not connected: its end and the junction are there, the 3 ways to its end are not.
    mapped = roads([(-30, 0), (0, 0)], [(10, 0), (30, 0)], [(0, 0), (0, 30)])
    found = apls(true, mapped)
    assert found.true_to_mapped == pytest.approx(3 / 6)
    # In the map the road of 60 m has a point 30 m along, at the junction: 3 ways, and 1 of 20 m; all are true.
    assert found.mapped_to_true == pytest.approx(1)
    assert found.both_ways == pytest.approx(2 / 3)


def test_a_detour_costs_its_share() -> None:
    true = roads([(0, 0), (30, 0)])
    mapped = roads([(0, 0), (0, 3), (30, 3), (30, 0)])
    # 30 m are 36 m in the map; of its own 36 m, 30 m in the reference: 6/30 and 6/36.
    found = apls(true, mapped)
    assert found.true_to_mapped == pytest.approx(1 - 6 / 30)
    assert found.mapped_to_true == pytest.approx(1 - 6 / 36)


def test_control_points_are_at_most_50_m_apart() -> None:
    ring = [(30 * math.cos(k / 20 * math.tau), 30 * math.sin(k / 20 * math.tau)) for k in range(20)]
    points = control_points(RoadGraph.of(roads([*ring, ring[0]], [(200, 0), (320, 0)], [(400, 0), (430, 0)])))
    # The ring of 188 m is cut in 4, the road of 120 m in 3, that of 30 m not at all.
    assert len(points) == 4 + 4 + 2
    assert [240, 0] in points.round(6).tolist()


def test_bridges_do_not_connect() -> None:
    graph = RoadGraph.of(roads([(-50, 0), (50, 0)], [(0, -50), (0, 50)]))
    assert len(list(nx.connected_components(as_networkx(graph)))) == 2
    crossing = RoadGraph.of(roads([(-50, 0), (0, 0), (50, 0)], [(0, -50), (0, 0), (0, 50)]))
    assert sorted(crossing.degree.tolist()) == [1, 1, 1, 1, 4]


def test_many_control_points_are_drawn_the_same_each_time() -> None:
    lines = [[(x * 40.0, y * 40.0), (x * 40.0 + 40, y * 40.0)] for x in range(24) for y in range(24)]
    lines += [[(0.0, y * 40.0), (0.0, y * 40.0 + 40)] for y in range(23)]
    true = roads(*lines)
    mapped = true[np.random.default_rng(0).random(len(true)) > 0.05]
    first = apls(true, mapped)
    assert first.points[0] > module.MOST_POINTS
    assert first.ways[0] <= module.MOST_POINTS * (module.MOST_POINTS - 1) / 2
    assert apls(true, mapped) == first
    assert first.true_to_mapped is not None
    assert 0 < first.true_to_mapped < 1


def test_buffers_by_hand() -> None:
    # 100 m of road, of which the map has the first 60 m, 2 m aside, and 40 m of another that is none.
    true = roads([(0, 0), (100, 0)])
    mapped = roads([(0, 2), (60, 2)], [(0, 50), (40, 50)])
    figures, of_true, of_mapped = buffered_figures(true, mapped, 4)
    over = math.sqrt(4**2 - 2**2)  # a round end reaches further than the line
    assert figures["completeness"] == pytest.approx((60 + over) / 100, abs=1e-3)
    assert figures["correctness"] == pytest.approx(60 / 100)
    assert figures["quality"] == pytest.approx(60 / (100 + 40 - over), abs=1e-3)
    assert of_true.far_m == pytest.approx(40 - over, abs=0.1)
    assert of_mapped.far_m == pytest.approx(40)


@settings(max_examples=10)
@given(seed=st.integers(0, 99), lost=st.floats(0, 0.9))
def test_buffers_are_those_of_the_whole_networks(seed: int, lost: float) -> None:
    true, mapped = street_grid(1, 0.1, 0), street_grid(seed, lost, 2)
    figures, of_true, of_mapped = buffered_figures(true, mapped, 4)
    for lines, others, split in ((true, mapped, of_true), (mapped, true, of_mapped)):
        around = shapely.union_all(shapely.buffer(others, 4, quad_segs=16))
        expected = sum(line.intersection(around).length for line in lines)
        assert split.near_m == pytest.approx(expected)
        assert split.near_m + split.far_m == pytest.approx(sum(line.length for line in lines))
    backwards, _, _ = buffered_figures(mapped, true, 4)
    assert backwards["completeness"] == figures["correctness"]
    assert backwards["correctness"] == figures["completeness"]


def test_buffers_of_nothing() -> None:
    street = roads([(0, 0), (100, 0)])
    assert buffered_figures(street, roads(), 4)[0] == {
        "completeness": 0,
        "correctness": None,
        "quality": 0,
        "reference_m": 100,
        "mapped_m": 0,
    }
    assert buffered_figures(street, street, 4)[0]["quality"] == pytest.approx(1)
