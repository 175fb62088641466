"""What a run publishes, before the validators of others, and our own checks for what they miss."""

import json
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import geojson_validator
import geopandas
import numpy as np
import pytest
import shapely
import shapely.geometry
from affine import Affine

import geoseg

COLUMNS = ["id", "part", "class", "confidence", "area_m2", "perimeter_m", "scene", "date", "run", "outline"]
NETWORK = {
    "road_lines": ("LINESTRING", ["id", "class", "start", "end", "length_m", "width_m", "run"]),
    "road_nodes": ("POINT", ["id", "degree", "run"]),
}
# Where the scenes lie: on UTM, across the antimeridian in degrees and in metres, and nowhere with any data.
PLACES = {
    "utm": {"crs": "EPSG:32640", "transform": Affine(1, 0, 320000, 0, -1, 2770000)},
    "degrees": {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 179.9988, 0, -1e-5, 60.0)},
    "metres": {"crs": "EPSG:32601", "transform": Affine(1, 0, 166000, 0, -1, 8000)},
    "no data": {"crs": "EPSG:32640", "transform": Affine(1, 0, 320000, 0, -1, 2770000)},
}


@pytest.fixture(scope="module", params=PLACES)
def run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    write_raster: Callable[..., Path],
    tiny_model: Path,
) -> geoseg.Run:
    """A finished run of patches with holes."""
    rng = np.random.default_rng(5)
    image_chw = rng.integers(0, 256, (3, 25, 30)).repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8)
    if request.param == "no data":
        image_chw[:] = 0
    scene = write_raster(image_chw, nodata=0, **PLACES[request.param])
    folder = tmp_path_factory.mktemp("validated") / "run"
    return geoseg.map_scenes(
        scene, folder, model=tiny_model, local=True, min_area=0, simplify=0, resolution="native"
    )


def documents(run: geoseg.Run) -> Iterator[dict[str, Any]]:
    for path in run.layers.values():
        yield json.loads(path.read_text())


@pytest.fixture
def database(run: geoseg.Run) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(f"file:{run.geopackage}?mode=ro", uri=True)) as connection:
        yield connection


def test_geojson_passes_the_validator(run: geoseg.Run) -> None:
    for document in documents(run):
        assert geojson_validator.validate_structure(document, check_crs=True) == {}
        found = geojson_validator.validate_geometries(document)
        assert found["invalid"] == {}
        # What else it holds to be doubtful is as it should be: holes, seven decimals, cuts at the antimeridian
        # (RFC 7946, 3.1.9); in a MultiPolygon it takes each ring's closing point for a duplicate.
        doubtful = {"inner_and_exterior_ring_intersect", "self_intersection", "3d_coordinates"}
        assert not {*doubtful, "outside_lat_lon_boundaries"} & set(found["problematic"])


def test_the_validator_would_see_a_ring_that_runs_the_wrong_way(run: geoseg.Run) -> None:
    for document in documents(run):
        for feature in document["features"]:
            if feature["geometry"]["type"] == "Polygon":
                feature["geometry"]["coordinates"][0].reverse()
                assert geojson_validator.validate_geometries(feature)["invalid"] != {}
                break


def test_geojson_keeps_what_the_validator_does_not_ask_for(run: geoseg.Run) -> None:
    for path, document in zip(run.layers.values(), documents(run), strict=True):
        assert "crs" not in document
        features = document["features"]
        assert len({feature["id"] for feature in features}) == len(features)
        assert all(feature["id"] == feature["properties"]["id"] for feature in features)
        geometries = np.array([shapely.geometry.shape(feature["geometry"]) for feature in features], object)
        assert shapely.is_valid(geometries).all()
        bounds = shapely.bounds(geometries).reshape(-1, 4)
        assert (np.abs(bounds[:, [0, 2]]) <= 180).all()
        assert (np.abs(bounds[:, [1, 3]]) <= 90).all()
        for polygon in shapely.get_parts(geometries):
            if polygon.geom_type != "Polygon":
                continue
            assert shapely.is_ccw(shapely.get_exterior_ring(polygon))
            assert not any(shapely.is_ccw(ring) for ring in polygon.interiors)
            # Where it cuts, GDAL sets points closer together than seven decimals can tell.
            cut = max(np.abs(polygon.bounds)) == 180
            for ring in () if cut else (polygon.exterior, *polygon.interiors):
                assert len(set(ring.coords)) == len(ring.coords) - 1
        decimals = re.findall(r"-?\d+\.(\d+)", path.read_text().partition('"features"')[2])
        assert all(len(digits) <= 7 for digits in decimals)
        assert all(isinstance(feature["id"], int) for feature in features)
        boxed = [(document, geometries)] if features else []
        for holder, inside in (*boxed, *zip(features, geometries, strict=True)):
            west, south, east, north = holder["bbox"]
            lon, lat = shapely.get_coordinates(inside).T
            # RFC 7946, 5.2: a box across the antimeridian has its west side east of its east side.
            eastern = lon >= west if west > east else np.ones(len(lon), np.bool_)
            assert (lon[eastern].min(), lon[eastern if west <= east else ~eastern].max()) == (west, east)
            assert (lat.min(), lat.max()) == (south, north)


def test_there_is_something_to_validate(run: geoseg.Run, database: sqlite3.Connection) -> None:
    count = sum(len(document["features"]) for document in documents(run))
    stored = sum(database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in run.layers)  # noqa: S608  # our own names
    assert stored == count
    nodata = bool(np.all(np.asarray(run.array("classes")[...]) == 255))
    assert (count == 0) == nodata


def test_the_runs_hold_what_is_asked_of_them(run: geoseg.Run, request: pytest.FixtureRequest) -> None:
    place = request.node.callspec.params["run"]
    polygons = [
        part
        for document in documents(run)
        for feature in document["features"]
        for part in shapely.get_parts(shapely.geometry.shape(feature["geometry"]))
        if part.geom_type == "Polygon"
    ]
    assert bool(polygons) == (place != "no data")
    assert any(len(polygon.interiors) > 0 for polygon in polygons) == (place != "no data")
    sides = {side for polygon in polygons for side in (polygon.bounds[0], polygon.bounds[2]) if abs(side) == 180}
    assert sides == ({-180, 180} if place in {"degrees", "metres"} else set())


def test_the_same_run_at_another_time_gives_the_same_bytes(
    run: geoseg.Run, tiny_model: Path, tmp_path: Path
) -> None:
    time.sleep(1.1)
    scene = run.record.inputs[0].path
    again = geoseg.map_scenes(
        scene, tmp_path / "run", model=tiny_model, local=True, min_area=0, simplify=0, resolution="native"
    )
    for name, path in {**run.layers, "all": run.geopackage}.items():
        twin = {**again.layers, "all": again.geopackage}[name]
        assert twin.read_bytes() == path.read_bytes(), name


def test_the_geopackage_is_whole(database: sqlite3.Connection) -> None:
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute("PRAGMA foreign_key_check").fetchall() == []


def test_the_geopackage_is_one_of_version_1_3(run: geoseg.Run, database: sqlite3.Connection) -> None:
    # OGC 12-128r17, requirement 2.
    assert database.execute("PRAGMA application_id").fetchone()[0] == int.from_bytes(b"GPKG")
    assert database.execute("PRAGMA user_version").fetchone()[0] == 10300
    tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"gpkg_spatial_ref_sys", "gpkg_contents", "gpkg_geometry_columns", "gpkg_extensions"} <= tables
    # Requirements 11, 18, 22 and 75: the CRSs that must be there, and what is said of each layer.
    ids = {row[0] for row in database.execute("SELECT srs_id FROM gpkg_spatial_ref_sys")}
    assert {-1, 0, 4326} <= ids
    rows = database.execute("SELECT table_name, data_type, srs_id FROM gpkg_contents").fetchall()
    assert {name: kind for name, kind, _ in rows} == dict.fromkeys(run.layers, "features") | {
        "layer_styles": "attributes"
    }
    assert all(srs_id in ids for *_, srs_id in rows)
    columns = "table_name, column_name, geometry_type_name, srs_id, z, m"
    for name, column, kind, srs_id, z, m in database.execute(f"SELECT {columns} FROM gpkg_geometry_columns"):  # noqa: S608  # our own words
        assert (column, kind, z, m) == ("geom", NETWORK.get(name, ("POLYGON",))[0], 0, 0)
        assert srs_id == {row[0]: row[2] for row in rows}[name]


def test_the_spatial_index_agrees_with_the_geometries(run: geoseg.Run, database: sqlite3.Connection) -> None:
    for name in run.layers:
        found = database.execute(f'SELECT id, minx, miny, maxx, maxy FROM "rtree_{name}_geom"')  # noqa: S608  # our own names
        # rtree columns pair up: least x, least y, greatest x, greatest y.
        index = {row[0]: np.array(row[1:]) for row in found}
        frame = geopandas.read_file(run.geopackage, layer=name, fid_as_index=True)
        assert set(index) == set(frame.index)
        for fid, bounds in zip(frame.index, frame.bounds.to_numpy(), strict=True):
            # The index holds 32-bit numbers, rounded outwards.
            outwards = (index[fid] - bounds) * [-1, -1, 1, 1]
            assert (outwards >= 0).all()
            assert (outwards <= np.abs(bounds).max() * 2**-22).all()


def test_geopandas_sees_crs_and_schema(run: geoseg.Run) -> None:
    for name in run.layers:
        frame = geopandas.read_file(run.geopackage, layer=name)
        assert frame.crs == run.grid.crs
        kind, columns = NETWORK.get(name, ("POLYGON", COLUMNS))
        assert list(frame.columns) == [*columns, "geometry"]
        assert {one.upper() for one in frame.geom_type} <= {kind}
        assert frame.geometry.is_valid.all()
        assert frame["id"].is_monotonic_increasing
        assert set(frame["run"]) <= {run.record.plan_hash}
        if name not in NETWORK:
            kinds = [frame[column].dtype.kind for column in ("id", "confidence", "area_m2", "perimeter_m")]
            assert kinds == ["i", "f", "f", "f"]
            assert set(frame["class"]) <= {name.removesuffix("s")}
