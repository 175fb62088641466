import json
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
import shapely.geometry
from pyproj import Transformer
from small_disk import files_of_at_most

from geoseg.errors import StoppedError
from geoseg.io.geojson import write_geojson
from geoseg.io.geopackage import write_geopackage
from geoseg.io.layers import NO_OUTCOME, Batches, Features, Source
from geoseg.labels import LabelClass, LabelSet

LABELS = LabelSet(
    (LabelClass("building", "buildings", "thing", "#ff0000"), LabelClass("road", "roads", "stuff", "#00ff00"))
)
RUN = Source("0" * 64, (("scene", "2024-05-06T05:08:09Z"), ("other", None)))
COLUMNS = ["id", "part", "class", "confidence", "area_m2", "perimeter_m", "scene", "date", "run", "outline"]
EDGE = 20037508.342789244
# A grid each: where it starts, and how long a pixel is.
PLACES = {
    "EPSG:32640": (314047.0, 2775758.0, 0.5),
    "EPSG:4326": (55.0, -0.5, 1e-4),
    "EPSG:3857": (EDGE - 20.0, 8399738.0, 10.0),
    "EPSG:32601": (166022.0, 5000.0, 10.0),
}


def features_in(crs: str, count: int = 3) -> Features:
    """Squares of four pixels with a pixel's hole, every second one a pixel apart from the last."""
    x, y, side = PLACES[crs]
    left = x + 6 * side * np.arange(count)
    outer = shapely.box(left, y, left + 4 * side, y + 4 * side)
    hole = shapely.box(left + side, y + side, left + 2 * side, y + 2 * side)
    return Features(
        id=2**40 + 3 * np.arange(count, dtype=np.int64),
        part=np.where(np.arange(count) == 1, 2**40 + 7, 0),
        class_id=(np.arange(count) % 2).astype(np.uint8),
        confidence=np.linspace(0.123456, 1, count),
        area_m2=np.linspace(15.004999, 1e7 + 0.126, count),
        perimeter_m=np.linspace(16.005001, 1e5 + 0.004, count),
        geometry=shapely.orient_polygons(shapely.difference(outer, hole)),
        scene=np.arange(count) % 2,
        outcome=np.full(count, NO_OUTCOME, np.uint8),
    )


def batches(features: Features, size: int = 2) -> Batches:
    """The features, a few at a time."""
    return lambda: (features.at(np.arange(i, min(i + size, len(features)))) for i in range(0, len(features), size))


def read_json(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.mark.parametrize("crs", PLACES)
def test_geojson_keeps_rfc_7946(tmp_path: Path, crs: str) -> None:
    path = tmp_path / "buildings.geojson"
    features = features_in(crs)
    write_geojson(path, batches(features), LABELS, crs, RUN)

    document = read_json(path)
    assert document["type"] == "FeatureCollection"
    assert "crs" not in document
    assert len(document["bbox"]) == 4
    assert [feature["id"] for feature in document["features"]] == features.id.tolist()
    for feature in document["features"]:
        geometry = shapely.geometry.shape(feature["geometry"])
        assert shapely.is_valid(geometry)
        lon, lat = shapely.get_coordinates(geometry).T
        assert (np.abs(lon) <= 180).all()
        assert (np.abs(lat) <= 90).all()
        assert np.array_equal(np.round(lon, 7), lon)
        for polygon in shapely.get_parts(geometry):
            assert shapely.is_ccw(polygon.exterior)
            assert not any(shapely.is_ccw(ring) for ring in polygon.interiors)


def test_geojson_has_the_properties_of_each_feature(tmp_path: Path) -> None:
    features = features_in("EPSG:32640")
    write_geojson(tmp_path / "a.geojson", batches(features), LABELS, "EPSG:32640", RUN)
    properties = [feature["properties"] for feature in read_json(tmp_path / "a.geojson")["features"]]
    first, last = ("scene", "2024-05-06T05:08:09Z", RUN.run, None), ("other", None, RUN.run, None)
    assert properties == [
        dict(zip(COLUMNS, row, strict=True))
        for row in (
            (2**40, None, "building", 0.1235, 15.0, 16.01, *first),
            (2**40 + 3, 2**40 + 7, "road", 0.5617, 5000007.57, 50008.0, *last),
            (2**40 + 6, None, "building", 1.0, 10000000.13, 100000.0, *first),
        )
    ]


@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:4326"])
def test_geojson_lies_where_pyproj_puts_it(tmp_path: Path, crs: str) -> None:
    features = features_in(crs)
    write_geojson(tmp_path / "a.geojson", batches(features), LABELS, crs, RUN)
    table = geopandas.read_file(tmp_path / "a.geojson")
    assert table.crs.to_epsg() == 4326
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    expected = shapely.transform(features.geometry, lambda xy: np.column_stack(to_lonlat.transform(*xy.T)))
    assert shapely.hausdorff_distance(table.geometry.to_numpy(), expected).max() < 1.1e-7


@pytest.mark.parametrize(
    ("crs", "meridian_x", "ground_m2"), [("EPSG:3857", EDGE, 400), ("EPSG:32601", 166021.44, 1600)]
)
def test_geojson_is_cut_at_the_antimeridian(tmp_path: Path, crs: str, meridian_x: float, ground_m2: float) -> None:
    _, y, _ = PLACES[crs]
    geometry = shapely.box(meridian_x + np.array([-20, 100]), y, meridian_x + np.array([20, 140]), y + 40)
    features = replace(features_in(crs, 2), geometry=geometry)
    write_geojson(tmp_path / "a.geojson", batches(features), LABELS, crs, RUN)
    table = geopandas.read_file(tmp_path / "a.geojson")
    assert table.geom_type.tolist() == ["MultiPolygon", "Polygon"]
    west, east = sorted(shapely.bounds(table.geometry[0].geoms).tolist())
    assert west[0] == -180
    assert east[2] == 180
    assert west[2] - west[0] < 0.001
    assert east[2] - east[0] < 0.001
    assert table.to_crs("EPSG:32601").area.tolist() == pytest.approx([ground_m2] * 2, rel=0.02)


@pytest.mark.parametrize("crs", PLACES)
def test_geopackage_comes_back_as_it_went(tmp_path: Path, crs: str) -> None:
    features = features_in(crs)
    layers = {name: features.at(features.class_id == i) for i, name in LABELS.layers}
    write_geopackage(tmp_path / "a.gpkg", {name: batches(of) for name, of in layers.items()}, LABELS, crs, RUN)
    assert pyogrio.list_layers(tmp_path / "a.gpkg")[:, 0].tolist() == ["buildings", "roads", "layer_styles"]
    for i, (name, expected) in enumerate(layers.items()):
        table = geopandas.read_file(tmp_path / "a.gpkg", layer=name)
        assert table.crs == crs
        assert table["id"].tolist() == expected.id.tolist()
        assert (table["class"] == LABELS.names[i]).all()
        assert table["confidence"].tolist() == np.round(expected.confidence, 4).tolist()
        assert table["area_m2"].tolist() == np.round(expected.area_m2, 2).tolist()
        assert table["perimeter_m"].tolist() == np.round(expected.perimeter_m, 2).tolist()
        assert table["part"].fillna(0).tolist() == expected.part.tolist()
        assert shapely.equals_exact(table.geometry.to_numpy(), expected.geometry).all()


def test_geopackage_is_version_1_3_with_a_spatial_index_each(tmp_path: Path) -> None:
    features = features_in("EPSG:32640")
    write_geopackage(
        tmp_path / "a.gpkg",
        {"roads": batches(features), "water": batches(features_in("EPSG:32640", 0))},
        LABELS,
        "EPSG:32640",
        RUN,
    )
    with sqlite3.connect(tmp_path / "a.gpkg") as database:
        assert database.execute("PRAGMA application_id").fetchone() == (int.from_bytes(b"GPKG"),)
        assert database.execute("PRAGMA user_version").fetchone() == (10300,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM rtree_roads_geom").fetchone() == (3,)
        assert database.execute("SELECT count(*) FROM rtree_water_geom").fetchone() == (0,)
        assert database.execute(
            "SELECT DISTINCT srs_id FROM gpkg_contents WHERE data_type = 'features'"
        ).fetchall() == [(32640,)]
    database.close()


def test_the_same_features_give_the_same_bytes_at_another_time(tmp_path: Path) -> None:
    features = features_in("EPSG:32640", 50)
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        write_geojson(folder / "a.geojson", batches(features), LABELS, "EPSG:32640", RUN)
        write_geopackage(folder / "a.gpkg", {"roads": batches(features)}, LABELS, "EPSG:32640", RUN)
        time.sleep(1.1)
    for name in ("a.geojson", "a.gpkg"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_gdal_has_its_own_clock_again_afterwards(tmp_path: Path) -> None:
    for before in ("1999-01-01T00:00:00.000Z", None):
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})
        write_geopackage(
            tmp_path / "a.gpkg", {"roads": batches(features_in("EPSG:4326"))}, LABELS, "EPSG:4326", RUN
        )
        assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == before


def test_an_empty_layer_is_an_empty_collection(tmp_path: Path) -> None:
    nothing = features_in("EPSG:32640", 0)
    write_geojson(tmp_path / "roads.geojson", batches(nothing), LABELS, "EPSG:32640", RUN)
    write_geopackage(tmp_path / "a.gpkg", {"roads": batches(nothing)}, LABELS, "EPSG:32640", RUN)
    document = read_json(tmp_path / "roads.geojson")
    assert (document["type"], document["name"], document["features"]) == ("FeatureCollection", "roads", [])
    table = geopandas.read_file(tmp_path / "a.gpkg")
    assert (len(table), table.crs.to_epsg()) == (0, 32640)
    assert [*table.columns] == [*COLUMNS, "geometry"]


def test_a_file_that_is_there_is_replaced_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    for name in ("a.geojson", "a.gpkg"):
        (tmp_path / name).write_text("something else")
    write_geojson(tmp_path / "a.geojson", batches(features_in("EPSG:4326")), LABELS, "EPSG:4326", RUN)
    write_geopackage(tmp_path / "a.gpkg", {"roads": batches(features_in("EPSG:4326"))}, LABELS, "EPSG:4326", RUN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.geojson", "a.gpkg"]
    assert len(geopandas.read_file(tmp_path / "a.geojson")) == 3
    assert len(geopandas.read_file(tmp_path / "a.gpkg")) == 3


@pytest.mark.parametrize("missing", [1, 300, 5000, None])
def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path, missing: int | None) -> None:
    # GDAL itself says nothing when the last bytes do not fit.
    features = features_in("EPSG:32640", 50)
    path = tmp_path / "a.geojson"
    write_geojson(path, batches(features), LABELS, "EPSG:32640", RUN)
    before = path.read_bytes()
    left = 0 if missing is None else len(before) - missing
    with files_of_at_most(left), pytest.raises(StoppedError, match="make room"):
        write_geojson(path, batches(features), LABELS, "EPSG:32640", RUN)
    assert path.read_bytes() == before
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("missing", [4096, 100_000, 500_000])
def test_a_full_disk_is_told_for_geopackages(tmp_path: Path, missing: int) -> None:
    layers = {name: features_in("EPSG:32640", 1000) for name in ("buildings", "roads")}
    path = tmp_path / "a.gpkg"
    write_geopackage(path, {name: batches(of) for name, of in layers.items()}, LABELS, "EPSG:32640", RUN)
    before = path.read_bytes()
    with files_of_at_most(len(before) - missing), pytest.raises(StoppedError, match="make room"):
        write_geopackage(path, {name: batches(of) for name, of in layers.items()}, LABELS, "EPSG:32640", RUN)
    assert path.read_bytes() == before


def test_a_missing_folder_and_missing_layers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_geojson(tmp_path / "no" / "a.geojson", batches(features_in("EPSG:4326")), LABELS, "EPSG:4326", RUN)
    with pytest.raises(ValueError, match="at least one layer"):
        write_geopackage(tmp_path / "a.gpkg", {}, LABELS, "EPSG:4326", RUN)


@pytest.mark.parametrize("missing", [0, 3])
def test_layers_say_which_run_they_are_of_and_whether_it_is_whole(tmp_path: Path, missing: int) -> None:
    source = Source("ab" * 32, RUN.scenes, missing)
    write_geojson(tmp_path / "roads.geojson", batches(features_in("EPSG:4326")), LABELS, "EPSG:4326", source)
    write_geopackage(tmp_path / "a.gpkg", {"roads": batches(features_in("EPSG:4326"))}, LABELS, "EPSG:4326", source)
    status = "incomplete" if missing else "complete"
    said = {"run": "ab" * 32, "status": status, "missing_blocks": missing}
    assert read_json(tmp_path / "roads.geojson")["geoseg"] == said
    metadata = pyogrio.read_info(tmp_path / "a.gpkg", layer="roads")["layer_metadata"]
    assert {key: metadata[f"geoseg_{key}"] for key in said} == {key: str(value) for key, value in said.items()}
    assert ("INCOMPLETE: 3 block(s)" in metadata["DESCRIPTION"]) == bool(missing)


@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:3857"])
def test_a_layer_does_not_depend_on_its_batches(tmp_path: Path, crs: str) -> None:
    features = features_in(crs, 9001)
    for name, size in (("one", 9001), ("some", 4096), ("odd", 1234)):
        folder = tmp_path / name
        folder.mkdir()
        assert write_geojson(folder / "roads.geojson", batches(features, size), LABELS, crs, RUN) == 9001
        layers = {"roads": batches(features, size)}
        assert write_geopackage(folder / "a.gpkg", layers, LABELS, crs, RUN) == {"roads": 9001}
    for name in ("roads.geojson", "a.gpkg"):
        assert len({(tmp_path / folder / name).read_bytes() for folder in ("one", "some", "odd")}) == 1


def test_what_goes_wrong_with_a_batch_is_said_as_it_was(tmp_path: Path) -> None:
    def broken() -> Iterator[Features]:
        yield features_in("EPSG:4326")
        raise StoppedError("the next batch cannot be read")

    for write in (
        lambda: write_geojson(tmp_path / "a.geojson", broken, LABELS, "EPSG:4326", RUN),
        lambda: write_geopackage(tmp_path / "a.gpkg", {"roads": broken}, LABELS, "EPSG:4326", RUN),
    ):
        with pytest.raises(StoppedError, match="the next batch cannot be read"):
            write()
    assert [*tmp_path.iterdir()] == []
