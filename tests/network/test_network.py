"""Networks: the same for any blocks, sound as graphs, and those that masks were drawn from."""

from collections import Counter

import networkx as nx
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import XY, circle, drawn, grid_of, in_pixels, network
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.io.layers import Lines, Nodes
from geoseg.network.rules import Rules

SMALL = Rules(half_width_px=3, hole_px=4, spur_px=2.0, gap_px=4)
SIDE_PX = 420
RULES = Rules.of(grid_of(SIDE_PX, SIDE_PX))


def tangle(seed: int, height: int = 120, width: int = 110) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """A mask of winding lines or of blobs, and where there is data."""
    rng = np.random.default_rng(seed)
    field_hw = ndimage.gaussian_filter(rng.normal(size=(height, width)), rng.uniform(1, 4))
    is_blob = rng.random() < 0.3
    mask_hw = field_hw > 0 if is_blob else np.abs(field_hw) < field_hw.std() * rng.uniform(0.1, 0.6)
    is_data_hw = ndimage.gaussian_filter(rng.normal(size=mask_hw.shape), 15) > -0.02
    return mask_hw & is_data_hw, is_data_hw


def same(one: tuple[Lines, Nodes], other: tuple[Lines, Nodes]) -> bool:
    """Whether two networks are bit for bit the same."""
    (lines, nodes), (other_lines, other_nodes) = one, other
    pairs = (lines, other_lines), (nodes, other_nodes)
    return all(
        shapely.to_wkb(a.geometry).tolist() == shapely.to_wkb(b.geometry).tolist()
        and all(getattr(a, name).tolist() == getattr(b, name).tolist() for name in a.columns if name != "geometry")
        for a, b in pairs
    )


def check_graph(lines: Lines, nodes: Nodes) -> None:
    """Every line ends at its nodes, every degree counts lines, and ids tell all apart."""
    assert len(set(lines.id.tolist())) == len(lines)
    assert len(set(nodes.id.tolist())) == len(nodes)
    ends = Counter([*lines.start.tolist(), *lines.end.tolist()])
    assert dict(zip(nodes.id.tolist(), nodes.degree.tolist(), strict=True)) == dict(ends)
    place = dict(zip(nodes.id.tolist(), nodes.geometry, strict=True))
    for node, at in ((lines.start, 0), (lines.end, -1)):
        points = shapely.get_point(lines.geometry, at)
        expected = np.array([place[number] for number in node.tolist()], object)
        assert shapely.equals(points, expected).all()
    assert (lines.length_m > 0).all()
    assert (lines.width_m > 0).all()


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 10**6), block_px=st.tuples(st.integers(33, 90), st.integers(33, 90)))
def test_blocks_change_nothing(seed: int, block_px: tuple[int, int]) -> None:
    mask_hw, is_data_hw = tangle(seed)
    whole = network(mask_hw, SMALL, None, is_data_hw)
    check_graph(*whole)
    assert same(whole, network(mask_hw, SMALL, block_px, is_data_hw, seed))


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), block_px=st.tuples(st.integers(40, 200), st.integers(40, 200)))
def test_blocks_change_nothing_at_length(seed: int, block_px: tuple[int, int]) -> None:
    mask_hw, is_data_hw = tangle(seed, 290, 280)
    whole = network(mask_hw, SMALL, None, is_data_hw)
    check_graph(*whole)
    assert same(whole, network(mask_hw, SMALL, block_px, is_data_hw, seed))


def cross(angle: float, length: float = 150) -> list[XY]:
    middle, turn = SIDE_PX / 2 + 0.3, np.radians(angle)
    dx, dy = length * np.cos(turn), length * np.sin(turn)
    return [
        [(middle - length, middle), (middle + length, middle)],
        [(middle - dx, middle - dy), (middle + dx, middle + dy)],
    ]


def fork(angle: float) -> list[XY]:
    through, (middle, end) = cross(angle)[0], (cross(angle)[1][0], cross(angle)[1][1])
    return [through, [((middle[0] + end[0]) / 2, (middle[1] + end[1]) / 2), end]]


def wave(turned: bool) -> XY:
    along = np.linspace(40, 380, 200)
    across = 205 + 35 * np.sin(along / 70 + 1) if turned else 210 + 60 * np.sin(along / 45)
    points = np.column_stack((across, along) if turned else (along, across))
    return [(float(x), float(y)) for x, y in points]


MIDDLE = SIDE_PX / 2 + 0.3
ROUNDABOUT: list[XY] = [
    circle(200, 200, 22),
    [(200, 178), (203, 40)],
    [(200, 222), (190, 380)],
    [(178, 200), (40, 214)],
    [(222, 200), (380, 170)],
]
PARALLEL: list[XY] = [[(30, 180), (390, 190)], [(30, 198), (390, 208)], [(210, 40), (214, 380)]]
# Paths, and where their junctions are with how many roads meet there.
KNOWN: dict[str, tuple[list[XY], list[tuple[float, float, int]]]] = {
    **{f"cross at {angle}": (cross(angle), [(MIDDLE, MIDDLE, 4)]) for angle in (30, 45, 90)},
    **{f"fork at {angle}": (fork(angle), [(MIDDLE, MIDDLE, 3)]) for angle in (30, 45, 90)},
    "curves": ([wave(False), wave(True)], [(float("nan"), float("nan"), 4)]),
    "roundabout": (ROUNDABOUT, [(200, 178, 3), (200, 222, 3), (178, 200, 3), (222, 200, 3)]),
    "parallel": (PARALLEL, [(211.7, 185, 4), (211.9, 203, 4)]),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("width_px", [5, 9])
def test_the_network_that_a_mask_was_drawn_from_is_found(name: str, width_px: int) -> None:
    paths, junctions = KNOWN[name]
    lines, nodes = network(drawn(paths, width_px, SIDE_PX), RULES)
    check_graph(lines, nodes)
    grid = grid_of(SIDE_PX, SIDE_PX)
    pixel_m = grid.ground_resolution_m()[0]
    expected_m = shapely.union_all([shapely.LineString(path) for path in paths]).length * pixel_m
    assert lines.length_m.sum() == pytest.approx(expected_m, rel=0.03)
    assert np.average(lines.width_m, weights=lines.length_m) == pytest.approx(width_px * pixel_m, abs=pixel_m)
    found = nodes.at(nodes.degree > 2)
    if np.isnan(junctions[0][0]):
        crossing = shapely.intersection(*map(shapely.LineString, paths))
        junctions = [(point.x, point.y, 4) for point in shapely.get_parts(crossing)]
    points = in_pixels(found.geometry, grid)
    assert len(found) == len(junctions)
    for x, y, degree in junctions:
        nearest = int(shapely.distance(points, shapely.Point(x, y)).argmin())
        assert shapely.distance(points[nearest], shapely.Point(x, y)) <= width_px
        assert found.degree[nearest] == degree


def test_a_graph_has_as_many_rings_and_parts_as_its_mask() -> None:
    rng = np.random.default_rng(3)
    places = rng.uniform(40, 380, (14, 2)).tolist()
    paths = [[tuple(a), tuple(b)] for a, b in zip(places[::2], places[1::2], strict=True)]
    mask_hw = drawn([*paths, circle(120, 120, 60), circle(300, 310, 40)], 6, SIDE_PX)
    lines, nodes = network(mask_hw, RULES)
    graph = nx.MultiGraph()
    graph.add_nodes_from(nodes.id.tolist())
    graph.add_edges_from(zip(lines.start.tolist(), lines.end.tolist(), strict=True))
    parts, holes = ndimage.label(mask_hw, np.ones((3, 3)))[1], ndimage.label(~mask_hw)
    filled = np.bincount(holes[0].reshape(-1))[1:] <= RULES.hole_px
    assert nx.number_connected_components(graph) == parts
    rings = graph.number_of_edges() - graph.number_of_nodes() + parts
    assert rings == holes[1] - filled.sum() - 1


def test_a_ring_alone_has_one_node() -> None:
    mask_hw = drawn([circle(200.4, 200, 80)], 7, SIDE_PX)
    for block_px in (None, (130, 97)):
        lines, nodes = network(mask_hw, RULES, block_px)
        check_graph(lines, nodes)
        assert nodes.degree.tolist() == [2]
        assert lines.length_m.sum() == pytest.approx(2 * np.pi * 80, rel=0.03)


def test_teeth_of_a_mask_are_no_roads_and_side_roads_are() -> None:
    paths: list[XY] = [[(30, 200.5), (390, 200.5)], [(120.5, 200.5), (120.5, 192)], [(260.5, 200.5), (260.5, 150)]]
    lines, nodes = network(drawn(paths, 8, SIDE_PX), RULES)
    assert sorted(nodes.degree.tolist()) == [1, 1, 1, 3]
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("gap", "turned", "joined"), [(9, 0, True), (13, 14, True), (14, 60, False), (60, 0, False)]
)
def test_ends_that_face_each_other_over_a_gap_are_joined(gap: float, turned: float, joined: bool) -> None:
    turn = np.radians(turned)
    other = [(200 + gap, 200.5), (200 + gap + 150 * np.cos(turn), 200.5 + 150 * np.sin(turn))]
    mask_hw = drawn([[(60, 200.5), (200, 200.5)], other], 6, SIDE_PX, "flat")
    lines, nodes = network(mask_hw, RULES)
    assert sorted(nodes.degree.tolist()) == ([1, 1] if joined else [1, 1, 1, 1])
    is_data_hw = np.ones_like(mask_hw)
    is_data_hw[:, int(200 + gap / 2)] = False
    assert len(network(mask_hw, RULES, None, is_data_hw)[0]) == 2
    assert len(lines) == (1 if joined else 2)


@pytest.mark.parametrize("tilt", [0.0, 25.0])
def test_a_road_that_leaves_the_grid_reaches_its_edge(tilt: float) -> None:
    lines, nodes = network(drawn([[(-30, 150), (450, 150 + tilt)]], 11, SIDE_PX), RULES)
    columns = shapely.get_x(in_pixels(nodes.geometry, grid_of(SIDE_PX, SIDE_PX)))
    assert sorted(columns.tolist()) == [0.5, SIDE_PX - 0.5]
    assert len(lines) == 1


def test_lines_go_around_what_is_too_wide_for_a_road() -> None:
    mask_hw = drawn([[(20, 210.5), (400, 210.5)]], 7, SIDE_PX)
    mask_hw[130:290, 130:290] = True
    lines, nodes = network(mask_hw, RULES)
    assert sorted(nodes.degree.tolist()) == [1, 1, 3, 3]
    middle = shapely.box(150, 150, 270, 270)
    assert not shapely.intersects(in_pixels(lines.geometry, grid_of(SIDE_PX, SIDE_PX)), middle).any()
