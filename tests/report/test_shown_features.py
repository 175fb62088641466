"""The features on a page: the largest, shared fairly, and the same geometry after they were unpacked."""

import json
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geoseg.io.layers import NO_OUTCOME, Features, Lines
from geoseg.report.shown_features import choose, choose_lines, packed_features, packed_lines


def squares(areas_m2: list[float], crs_x: float = 300_000.0) -> Features:
    """Squares of these areas, in a row."""
    n = len(areas_m2)
    ids = np.arange(1, n + 1)
    sides = np.sqrt(np.array(areas_m2, float))
    left = crs_x + 1000.0 * np.arange(n)
    boxes = shapely.box(left, 2_700_000, left + sides, 2_700_000 + sides)
    ones = np.ones(n)
    polygons = np.array(boxes, object).reshape(n)
    none = np.full(n, NO_OUTCOME, np.uint8)
    return Features(ids, 0 * ids, np.zeros(n, np.uint8), ones / 3, sides**2, 4 * sides, polygons, 0 * ids, none)


AREAS = st.lists(st.integers(1, 50).map(float), max_size=12)


@settings(max_examples=25)
@given(st.lists(AREAS, min_size=1, max_size=3), st.integers(0, 20), st.integers(1, 5))
def test_the_largest_of_each_layer_are_kept_however_they_come(
    areas: list[list[float]], most: int, at_once: int
) -> None:
    whole = {str(number): squares(one) for number, one in enumerate(areas)}
    parts = {
        name: [layer.at(np.arange(a, min(a + at_once, len(layer)))) for a in range(0, len(layer), at_once)]
        for name, layer in whole.items()
    }
    chosen = choose({name: partial(parts.__getitem__, name) for name in whole}, most_features=most)
    shown = [len(layer.kept) for layer in chosen.values()]
    assert sum(shown) == min(most, sum(map(len, areas)))
    for one, layer in zip(areas, chosen.values(), strict=True):
        assert layer.count == len(one)
        assert layer.area_m2 == pytest.approx(sum(one))
        assert layer.kept.area_m2.tolist() == pytest.approx(sorted(one, reverse=True)[: len(layer.kept)])
    # No layer is short while another has more than it.
    for short, wanted in zip(shown, map(len, areas), strict=True):
        if short < wanted:
            assert short >= max(shown) - 1


def test_a_huge_outline_does_not_crowd_out_all_others() -> None:
    ring = shapely.Point(300_000, 2_700_000).buffer(400, quad_segs=20_000)
    features = squares([500_000.0, *([10.0] * 50)])
    features.geometry[0] = ring
    chosen = choose({"roads": lambda: [features], "water": lambda: [squares([5.0])]}, most_bytes=60_000)
    assert chosen["roads"].count == 51
    assert chosen["roads"].kept.area_m2.tolist() == pytest.approx([10.0] * 50)
    assert len(chosen["water"].kept) == 1


def unpacked(packed: dict[str, Any], digits: int) -> shapely.Geometry:
    """What the page's script makes of it."""

    def line(steps: list[int]) -> list[tuple[float, float]]:
        return [
            (x / 10**digits, y / 10**digits)
            for x, y in zip(accumulate(steps[::2]), accumulate(steps[1::2]), strict=True)
        ]

    if "r" in packed:
        first, *holes = [line(ring) for ring in packed["r"]]
        return shapely.Polygon(first, holes)
    return shapely.Point(line(packed["d"])[0]) if "d" in packed else shapely.LineString(line(packed["l"]))


GEOMETRIES = {
    "a polygon with a hole": shapely.box(0, 0, 90, 70).difference(shapely.box(10, 10, 20, 30)),
    "a line": shapely.LineString([(0, 0), (30, 4), (31, 90)]),
    "a point": shapely.Point(3, 4),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize(("crs", "x", "middle"), [("EPSG:32640", 3e5, 55.0), ("EPSG:32701", 99_000, -180.5)])
def test_unpacked_it_is_the_geometry_in_longitude_and_latitude(
    name: str, crs: str, x: float, middle: float
) -> None:
    features = squares([1.0])
    features.geometry[0] = shapely.transform(GEOMETRIES[name], lambda xy: xy + np.array([x, 2_700_000]))
    (packed,) = packed_features(features, crs, middle, 7, [("a", None)])
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    expected = shapely.transform(features.geometry[0], to_lonlat.transform, interleaved=False)
    found = unpacked(json.loads(json.dumps(packed)), 7)
    assert found.geom_type == expected.geom_type
    lon = shapely.get_coordinates(found)[:, 0]
    assert (np.abs(lon - middle) < 180).all()
    around = np.array([360 * round((expected.centroid.x - lon[0]) / 360), 0])
    turned = shapely.transform(found, lambda xy: xy + around)
    assert shapely.equals_exact(turned, expected, 0.75e-7)


def test_ids_are_text_and_what_is_not_known_is_not_said() -> None:
    features = squares([4.0, 9.0])
    features.id[1] = 2**53 + 1
    features.part[1] = 7
    one, many = (
        [row["p"] for row in packed_features(features, "EPSG:32640", 55, 6, scenes)]
        for scenes in ([("a", None)], [("a", "2020-01-01"), ("b", None)])
    )
    assert one[0] == {"id": "1", "confidence": 0.333, "area_m2": 4.0, "perimeter_m": 8.0}
    assert one[1]["id"] == "9007199254740993"
    assert one[1]["part"] == "7"
    assert (many[0]["scene"], many[0]["date"]) == ("a", "2020-01-01")


def test_a_layer_without_features_has_none() -> None:
    chosen = choose({"roads": lambda: [squares([])], "water": list})
    for layer in chosen.values():
        assert (layer.count, layer.area_m2, len(layer.kept)) == (0, 0, 0)
        assert packed_features(layer.kept, "EPSG:32640", 55, 6, [("a", None)]) == []


def streets(lengths_m: list[float]) -> Lines:
    """Lines of these lengths, one above the other."""
    n = len(lengths_m)
    ids, length_m = np.arange(1, n + 1), np.array(lengths_m, float)
    geometry = np.empty(n, object)
    for i, one in enumerate(lengths_m):
        geometry[i] = shapely.LineString([(300_000, 2_700_000 + i), (300_000 + one, 2_700_000 + i)])
    return Lines(ids, np.ones(n, np.uint8), ids, ids, length_m, np.full(n, 6.25), geometry)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 50).map(float), min_size=1, max_size=12), st.integers(0, 14), st.integers(1, 5))
def test_the_longest_lines_are_kept_however_they_come(lengths_m: list[float], most: int, at_once: int) -> None:
    whole = streets(lengths_m)
    parts = [whole.at(np.arange(i, min(i + at_once, len(whole)))) for i in range(0, len(whole), at_once)]
    chosen = choose_lines(parts, most_lines=most)
    assert (chosen.count, chosen.length_m) == (len(whole), sum(lengths_m))
    order = sorted(range(len(whole)), key=lambda i: (-lengths_m[i], i))[:most]
    assert chosen.kept.id.tolist() == [i + 1 for i in order]


def test_lines_say_how_long_and_wide_they_are() -> None:
    (packed,) = packed_lines(streets([12.34]), "EPSG:32640", 55, 7)
    assert packed["p"] == {"id": "1", "length_m": 12.3, "width_m": 6.2}
    to_lonlat = Transformer.from_crs("EPSG:32640", "EPSG:4326", always_xy=True)
    expected = shapely.transform(streets([12.34]).geometry[0], to_lonlat.transform, interleaved=False)
    assert shapely.equals_exact(unpacked(packed, 7), expected, 0.75e-7)
    assert packed_lines(choose_lines([]).kept, "EPSG:32640", 55, 7) == []
