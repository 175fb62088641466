"""Polygons across the 180th meridian: valid parts that are together what was there."""

import json
from pathlib import Path

import numpy as np
import pytest
import shapely
import shapely.geometry
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from geoseg.grid import Window
from geoseg.io.antimeridian import crosses, cut
from geoseg.io.geojson import write_geojson
from geoseg.io.layers import NO_OUTCOME, Features, Source
from geoseg.labels import LabelClass, LabelSet
from geoseg.vectorize.features import geodesic_measures
from geoseg.vectorize.polygons import trace

LABELS = LabelSet((LabelClass("land", "land", "stuff", "#ff0000"), LabelClass("sea", None, "stuff", "#00ff00")))
# Where the meridian crosses x on the equator, nearly: a projected CRS on each side of it, and one across.
PLACES = {"EPSG:32601": (166021.4, 3000.0), "EPSG:32701": (166021.4, 9990000.0), "EPSG:3832": (3339584.7, -5e5)}


def blobs(crs: str, seed: int, pixel_m: float = 0.5) -> Features:
    """Traced objects of random pixels around the meridian, with holes and diagonal touches."""
    rng = np.random.default_rng(seed)
    classes_hw = (rng.random((24, 40)) < 0.45).astype(np.uint8)
    window = Window(0, 0, 24, 40)
    x, y = PLACES[crs]
    rings, place = trace(np.where(classes_hw == 0, classes_hw, np.uint8(255)), window)
    label, polygons = place + 1, rings.polygons()
    moved = shapely.transform(polygons, lambda xy: xy * [pixel_m, -pixel_m] + [x - 20 * pixel_m, y + 12 * pixel_m])
    count = len(polygons)
    area_m2, perimeter_m = geodesic_measures(moved, crs)
    return Features(
        id=label,
        part=np.zeros(count, np.int64),
        class_id=np.zeros(count, np.uint8),
        confidence=np.ones(count),
        area_m2=area_m2,
        perimeter_m=perimeter_m,
        geometry=shapely.orient_polygons(moved),
        scene=np.zeros(count, np.int64),
        outcome=np.full(count, NO_OUTCOME, np.uint8),
    )


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from(sorted(PLACES)), st.sampled_from([0.3, 1.0, 30.0]))
def test_the_parts_are_valid_and_together_the_whole(seed: int, crs: str, pixel_m: float) -> None:
    features = blobs(crs, seed, pixel_m)
    assert crosses(shapely.total_bounds(features.geometry), crs)
    lonlat = cut(features.geometry, crs)
    assert shapely.is_valid(lonlat).all()
    assert (np.abs(shapely.bounds(lonlat)[:, [0, 2]]) <= 180).all()
    assert "MultiPolygon" in {polygon.geom_type for polygon in lonlat}
    geod = Geod(ellps="WGS84")
    for polygon, area_m2 in zip(lonlat, features.area_m2, strict=True):
        cut_m2 = abs(geod.geometry_area_perimeter(polygon)[0])
        # Seven decimals are a centimetre along each edge; one beside the meridian moves there, by 11 cm at most.
        assert cut_m2 == pytest.approx(
            area_m2, abs=0.06 * shapely.length(shapely.get_parts(polygon)).sum() * 111e3 + 1e-3
        )


@pytest.mark.parametrize("crs", PLACES)
def test_the_layer_is_valid_as_it_is_written(tmp_path: Path, crs: str) -> None:
    features = blobs(crs, 3)
    write_geojson(tmp_path / "land.geojson", lambda: [features], LABELS, crs, Source("0" * 64, (("scene", None),)))
    written = json.loads((tmp_path / "land.geojson").read_text())["features"]
    geometries = np.array([shapely.geometry.shape(feature["geometry"]) for feature in written], object)
    assert [feature["id"] for feature in written] == features.id.tolist()
    assert shapely.is_valid(geometries).all()
    assert {geometry.geom_type for geometry in geometries} == {"Polygon", "MultiPolygon"}
    assert (np.abs(shapely.bounds(geometries)[:, [0, 2]]) <= 180).all()


def test_what_lies_elsewhere_is_not_cut() -> None:
    box = np.array([shapely.box(5e5, 1e5, 5e5 + 100, 1e5 + 100)])
    assert not crosses(shapely.total_bounds(box), "EPSG:32601")
    assert not crosses(np.full(4, np.nan), "EPSG:32601")


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(sorted(PLACES)), st.sampled_from([1.0, 30.0]))
def test_lines_keep_their_length_and_none_is_empty(seed: int, crs: str, step_m: float) -> None:
    rng, (x, y) = np.random.default_rng(seed), PLACES[crs]
    walks = np.cumsum(rng.uniform(-1, 1.5, (6, 8, 2)), axis=1) * step_m + [x, y]
    lines = shapely.linestrings(walks)
    lonlat = cut(lines, crs)
    assert not any(shapely.is_empty(shapely.get_parts(lonlat)))
    assert (np.abs(shapely.bounds(lonlat)[:, [0, 2]]) <= 180).all()
    geod, to_lonlat = Geod(ellps="WGS84"), Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    expected = [geod.line_length(*to_lonlat.transform(*walk.T)) for walk in walks]
    # A vertex that is all but on the meridian moves onto it, by up to 1e-6 degrees, 0.11 m.
    assert [geod.geometry_length(line) for line in lonlat] == pytest.approx(expected, abs=8 * 0.12)
