"""Vector files: every format says the same polygons, bit by bit; what is hostile, damaged or no area is refused."""

import json
import random
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from geoseg.errors import GeosegError
from geoseg.grid import Grid
from geoseg.io.aoi import read_aoi
from geoseg.io.polygons import read_polygons

GRID = Grid("EPSG:32640", Affine(100, 0, 200000, 0, -100, 2770000), 400, 500)
SQUARE = shapely.box(54.1, 24.7, 54.2, 24.8)


def _ring(tag: str, ring: shapely.LinearRing) -> str:
    places = " ".join(f"{x!r},{y!r},7.5" for x, y in shapely.get_coordinates(ring).tolist())
    return f"<{tag}><LinearRing><coordinates>\n {places}\t</coordinates></LinearRing></{tag}>"


def kml_of(polygon: shapely.Polygon) -> str:
    inner = "".join(_ring("innerBoundaryIs", ring) for ring in polygon.interiors)
    return f"<Polygon><tessellate>1</tessellate>{_ring('outerBoundaryIs', polygon.exterior)}{inner}</Polygon>"


def kml(*geometries: str) -> str:
    marks = "".join(f"<Folder><Placemark><name>&lt;a&gt;</name>{one}</Placemark></Folder>" for one in geometries)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!-- <!DOCTYPE of nothing> -->'
        '<kml xmlns="http://www.opengis.net/kml/2.2" xsi:schemaLocation="undeclared">'
        "<Document><Style><Polygon/></Style><ScreenOverlay><Point><coordinates>0</coordinates></Point></ScreenOverlay>"
        f"<Folder>{marks}</Folder></Document></kml>"
    )


def write_kml(path: Path, shapes: list[shapely.Geometry]) -> None:
    texts = []
    for shape in shapes:
        parts = [kml_of(part) for part in shapely.get_parts(shape)]
        nested = f"<MultiGeometry>{''.join(parts[1:])}</MultiGeometry>" if parts[1:] else ""
        texts.append(f"<MultiGeometry>{parts[0]}{nested}</MultiGeometry>")
    path.write_text(kml(*texts))


def write_gdal_kml(path: Path, shapes: list[shapely.Geometry]) -> None:
    geopandas.GeoDataFrame(geometry=shapes, crs="OGC:CRS84").to_file(path, driver="KML")


def write_kmz(path: Path, shapes: list[shapely.Geometry]) -> None:
    write_kml(path.with_suffix(".kml"), shapes)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("files/other.kml", "<kml/>")
        archive.write(path.with_suffix(".kml"), "doc.kml")
        archive.writestr("files/picture.png", b"")


def write_parquet(path: Path, shapes: list[shapely.Geometry]) -> None:
    geopandas.GeoDataFrame({"n": range(len(shapes))}, geometry=shapes, crs="EPSG:4326").to_parquet(path)


def write_sequence(path: Path, shapes: list[shapely.Geometry]) -> None:
    path.write_text("".join("\x1e" + json.dumps(shapely.geometry.mapping(shape)) + "\n" for shape in shapes))


def write_lines(path: Path, shapes: list[shapely.Geometry]) -> None:
    features = [
        {"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)} for shape in shapes
    ]
    path.write_text("\n".join(json.dumps(one) for one in [*features, features[0] | {"geometry": None}]))


def write_file(path: Path, shapes: list[shapely.Geometry]) -> None:
    geopandas.GeoDataFrame(geometry=shapes, crs="OGC:CRS84").to_file(path)


WRITERS: dict[str, Callable[[Path, list[shapely.Geometry]], None]] = {
    "b.gpkg": write_file,
    "c.fgb": write_file,
    "d.shp": write_file,
    "e.kml": write_kml,
    "f.kml": write_gdal_kml,
    "g.kmz": write_kmz,
    "h.parquet": write_parquet,
    "i.geojsons": write_sequence,
    "j.ndjson": write_lines,
}


@st.composite
def shapes(draw: st.DrawFn) -> list[shapely.Geometry]:
    """Polygons with holes and in several parts, of six digits, which every format keeps."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        circles = draw(
            st.lists(
                st.tuples(st.floats(53.9, 54.6), st.floats(24.5, 25.1), st.floats(0.01, 0.2)),
                min_size=1,
                max_size=4,
            )
        )
        blobs = [shapely.Point(x, y).buffer(r, quad_segs=3) for x, y, r in circles]
        shape = shapely.union_all(blobs[1:]).symmetric_difference(blobs[0])
        parts = shapely.get_parts(shapely.set_precision(shape, 1e-6))
        rounded = [
            shapely.transform(part, lambda places: np.round(places, 6))
            for part in parts
            if part.geom_type == "Polygon"
        ]
        if rounded:
            found.append(shapely.MultiPolygon(rounded) if len(rounded) > 1 else rounded[0])
    return found or [SQUARE]


@settings(max_examples=10, deadline=None)
@given(shapes())
def test_every_format_says_the_same_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, given_shapes: list[shapely.Geometry]
) -> None:
    folder = tmp_path_factory.mktemp("formats")
    write_lines(folder / "a.geojson", given_shapes)
    expected = read_polygons(folder / "a.geojson").geometry
    oracle = shapely.union_all(shapely.make_valid(given_shapes))
    assert expected.normalize() == oracle.normalize()
    for name, write in WRITERS.items():
        write(folder / name, given_shapes)
        assert read_polygons(folder / name).geometry.normalize() == oracle.normalize(), name
    if shapely.box(54.1, 24.7, 54.4, 24.9).intersects(oracle):
        identities = {read_aoi(str(folder / name), GRID).identity for name in ["a.geojson", *WRITERS]}
        assert len(identities) == 1


@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:3857", "ESRI:54009"])
def test_geoparquet_says_its_crs(tmp_path: Path, crs: str) -> None:
    frame = geopandas.GeoDataFrame(geometry=[SQUARE, None, shapely.force_3d(SQUARE, 3.0)], crs="EPSG:4326").to_crs(
        crs
    )
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=1)
    region = read_polygons(tmp_path / "a.parquet")
    assert CRS.from_user_input(region.crs) == CRS.from_user_input(crs)
    assert region.geometry.normalize() == frame.geometry[0].normalize()


def rewritten(path: Path, change: Callable[[dict[str, object]], object]) -> Path:
    """A GeoParquet file of a square, with another column in its metadata."""
    write_parquet(path, [SQUARE])
    table = pyarrow.parquet.read_table(path)
    metadata = json.loads(table.schema.metadata[b"geo"])
    change(metadata["columns"]["geometry"])
    pyarrow.parquet.write_table(table.replace_schema_metadata({"geo": json.dumps(metadata)}), path)
    return path


def test_geoparquet_without_a_crs_key_is_longitude_and_latitude(tmp_path: Path) -> None:
    region = read_polygons(rewritten(tmp_path / "a.parquet", lambda column: column.pop("crs")))
    assert (region.crs, region.geometry.normalize()) == ("OGC:CRS84", SQUARE.normalize())


def refused(path: Path, *words: str) -> None:
    with pytest.raises(GeosegError) as caught:
        read_polygons(path)
    assert all(word in str(caught.value) for word in (*words, str(path))), caught.value
    assert "\n" not in str(caught.value)


def test_geoparquet_that_is_no_area_is_refused_in_words(tmp_path: Path) -> None:
    def replaced(**entries: object) -> Path:
        return rewritten(tmp_path / "a.parquet", lambda column: column.update(entries))

    refused(replaced(crs=None), "no CRS")
    refused(replaced(crs={"type": "GeographicCRS"}), "PROJJSON")
    refused(replaced(crs="EPSG:4326"), "'geo' metadata differs in columns.geometry.crs")
    refused(replaced(encoding="polygon"), "WKB", "polygon")
    refused(replaced(edges="spherical"), "straight edges", "spherical")
    for encoding in ("geoarrow", "WKB"):
        frame = geopandas.GeoDataFrame(geometry=[shapely.Point(54, 24), SQUARE][encoding == "geoarrow" :], crs=4326)
        frame.to_parquet(tmp_path / "b.parquet", geometry_encoding=encoding)
        refused(
            tmp_path / "b.parquet",
            *(("WKB", "polygon") if encoding == "geoarrow" else ("expected polygons", "Point")),
        )
    pyarrow.parquet.write_table(pa.table({"x": [1.0]}), tmp_path / "c.parquet")
    refused(tmp_path / "c.parquet", "Parquet that does not say what its geometries are", "ogr2ogr")
    for text, words in (
        ("no json", "being no JSON"),
        ('{"primary_column": "g", "columns": {}}', "'g'"),
        ('{"primary_column": "x", "columns": {"x": {"encoding": "WKB"}}}', "double"),
    ):
        table = pa.table({"x": [1.0]}).replace_schema_metadata({"geo": text})
        pyarrow.parquet.write_table(table, tmp_path / "c.parquet")
        refused(tmp_path / "c.parquet", words)
    geopandas.GeoDataFrame(geometry=[None], crs=4326).to_parquet(tmp_path / "d.parquet")
    refused(tmp_path / "d.parquet", "nothing")


def wkb_file(path: Path, *geometries: bytes) -> Path:
    metadata = {
        "version": "1.1.0",
        "primary_column": "g",
        "columns": {"g": {"encoding": "WKB", "geometry_types": []}},
    }
    table = pa.table({"g": pa.array(geometries, pa.binary())}).replace_schema_metadata(
        {"geo": json.dumps(metadata)}
    )
    pyarrow.parquet.write_table(table, path)
    return path


@pytest.mark.parametrize("flavor", ["iso", "extended"])
@pytest.mark.parametrize("byte_order", [0, 1])
def test_wkb_of_every_writer_is_read(tmp_path: Path, flavor: str, byte_order: int) -> None:
    many = shapely.MultiPolygon(
        [SQUARE, shapely.box(54.3, 24.7, 54.4, 24.8).difference(shapely.box(54.32, 24.72, 54.34, 24.74))]
    )
    for shape in (SQUARE, many, shapely.force_3d(many, 5.0), shapely.MultiPolygon(), shapely.Polygon()):
        wkb = shapely.to_wkb(shape, flavor=flavor, byte_order=byte_order)
        read = read_polygons(wkb_file(tmp_path / "a.parquet", shapely.to_wkb(SQUARE), wkb))
        assert read.geometry.normalize() == shapely.union_all([SQUARE, shapely.force_2d(shape)]).normalize()


@pytest.mark.parametrize("kind", [6, 7])
def test_wkb_that_nests_without_end_does_not_kill_the_process(tmp_path: Path, kind: int) -> None:
    """GEOS 3.13 goes down until its stack ends."""
    nested = struct.pack("<BII", 1, kind, 1) * 300_000 + shapely.to_wkb(SQUARE)
    refused(wkb_file(tmp_path / "a.parquet", nested), "expected")
    inside = struct.pack("<BII", 1, 6, 2) + shapely.to_wkb(SQUARE) + nested
    refused(wkb_file(tmp_path / "a.parquet", inside), "expected")


@pytest.mark.parametrize("wkb", [b"", b"\1", shapely.to_wkb(SQUARE)[:40], b"\1\3\0\0\0\xff\xff\xff\xff"])
def test_a_damaged_geometry_is_not_left_out(tmp_path: Path, wkb: bytes) -> None:
    refused(wkb_file(tmp_path / "a.parquet", shapely.to_wkb(SQUARE), wkb), "damaged")


def test_more_geometry_than_memory_is_refused(tmp_path: Path) -> None:
    """One geometry of 64 kB, stored once, that 100,000 rows share."""
    wkb = shapely.to_wkb(shapely.Point(54, 24).buffer(0.1, quad_segs=1000))
    shared = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array([wkb], pa.binary()))
    metadata = {"primary_column": "g", "columns": {"g": {"encoding": "WKB"}}}
    table, path = pa.table({"g": shared}), tmp_path / "a.parquet"
    with pyarrow.parquet.ParquetWriter(path, table.schema, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"geo": json.dumps(metadata)})
    assert path.stat().st_size < 2**20
    refused(path, "256 MiB")


def test_kml_that_is_no_area_is_refused_in_words(tmp_path: Path) -> None:
    def given_text(text: str) -> Path:
        (tmp_path / "a.kml").write_text(text)
        return tmp_path / "a.kml"

    square = kml_of(SQUARE)
    point = "<Point><coordinates>54,24</coordinates></Point>"
    refused(given_text(kml(point)), "expected polygons", "Point")
    refused(given_text(kml(f"<MultiGeometry>{square}{point}</MultiGeometry>")), "Point, Polygon")
    refused(given_text(kml(_ring("LineString", SQUARE.exterior))), "LineString")
    refused(given_text(kml(_ring("MultiGeometry", SQUARE.exterior))), "LinearRing")
    refused(given_text(kml("<gx:Track/>", square)), "Track")
    refused(given_text(kml(square).replace("</Folder></Doc", "<NetworkLink/></Folder></Doc")), "NetworkLink")
    refused(given_text("<kml/>"), "nothing")
    refused(given_text(kml("<Polygon/>")), "line 2", "0 outer rings")
    refused(given_text(kml(square.replace("54.2,", "east,"))), "line 3", "longitude,latitude")
    refused(given_text(kml(square.replace("54.2,", "nan,"))), "not finite")
    refused(given_text(kml(square.replace(",", " "))), "longitude,latitude")
    refused(given_text(kml(square.replace(",24.8", ", 24.8"))), "longitude,latitude")
    refused(
        given_text(
            kml(
                "<Polygon><outerBoundaryIs><LinearRing><coordinates>1,1 2,2</coordinates></LinearRing>"
                "</outerBoundaryIs></Polygon>"
            )
        ),
        "three different",
    )
    refused(given_text(kml(square)[:-20]), "cannot be read as KML")
    refused(given_text(kml(square).replace("UTF-8", "x-none")), "encoding")
    refused(given_text(kml(square).replace("UTF-8", "utf-7")), "encoding")
    refused(given_text("<gml:FeatureCollection/>"), "GeoParquet", "<gml:FeatureCollection>", "ogr2ogr")


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused_before_they_grow(tmp_path: Path, encoding: str) -> None:
    text = f'<!DOCTYPE kml [<!ENTITY l0 "ha">{LAUGHS}]><kml><Placemark>&l9;</Placemark></kml>'
    path = tmp_path / "a.kml"
    path.write_text(text, encoding=encoding)
    refused(path, "DOCTYPE" if encoding == "utf-8" else "none of them")
    path.write_text('<!DOCTYPE kml SYSTEM "file:///etc/hostname"><kml/>')
    refused(path, "DOCTYPE")


def test_kmz_that_holds_no_area_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.kmz"

    def archived(
        names: list[str], data: str | bytes = kml(kml_of(SQUARE)), method: int = zipfile.ZIP_DEFLATED
    ) -> Path:
        with zipfile.ZipFile(path, "w", method) as archive:
            for name in names:
                archive.writestr(name, data)
        return path

    assert read_polygons(archived(["__MACOSX/._a.kml", "deep/A.KML"])).geometry.normalize() == SQUARE.normalize()
    refused(archived(["a.shp", "a.dbf"]), "0 files of KML", "unpack")
    refused(archived(["a.kml", "b.kml"]), "2 files of KML", "unpack")
    refused(archived(["doc.kml"], method=zipfile.ZIP_LZMA), "packed in another way")
    refused(archived(["doc.kml"], b"<kml>" + b" " * 2**28), "at most 128 MiB")
    assert path.stat().st_size < 2**20
    whole = bytearray(archived(["doc.kml"]).read_bytes())
    whole[whole.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(whole)
    refused(path, "encrypted")


@pytest.mark.parametrize(
    "name", ["e.kml", "g.kmz", "h.parquet", "c.fgb", "b.gpkg", "d.shp", "i.geojsons", "a.geojson"]
)
def test_damage_is_an_error_in_words_or_changes_nothing_more(tmp_path: Path, name: str) -> None:
    """Files cut short are refused; with bytes changed they are read or refused, and nothing else is raised."""
    path = tmp_path / name
    (WRITERS | {"a.geojson": write_lines})[name](path, [SQUARE, shapely.box(54.3, 24.7, 54.4, 24.8)])
    whole = path.read_bytes()
    draw = random.Random(name)  # noqa: S311
    if name not in {"b.gpkg", "i.geojsons", "a.geojson"}:  # pages at the end may be empty; lines are whole
        for length in [1, 5, len(whole) - 1, *(draw.randrange(len(whole)) for _ in range(30))]:
            path.write_bytes(whole[:length])
            refused(path)
    for _ in range(150):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed)
        with suppress(GeosegError):
            read_polygons(path)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e300])
def test_coordinates_without_a_place_are_refused(tmp_path: Path, number: float) -> None:
    places = shapely.get_coordinates(SQUARE)
    places[2, 0] = number
    wkb = struct.pack("<BIII", 1, 3, 1, 5) + places.astype("<f8").tobytes()
    (tmp_path / "a.json").write_text(json.dumps({"type": "Polygon", "coordinates": [places.tolist()]}))
    for path in (tmp_path / "a.json", wkb_file(tmp_path / "a.parquet", wkb)):
        with pytest.raises(GeosegError, match="finite coordinates" if number != 1e300 else "does not touch"):
            read_aoi(str(path), GRID)


@pytest.mark.parametrize("crs", ['LOCAL_CS["x",UNIT["metre",1]]', "EPSG:5773", "EPSG:4978"])
def test_polygons_in_a_crs_without_a_place_are_refused(tmp_path: Path, crs: str) -> None:
    projjson = CRS.from_user_input(crs).to_json_dict()
    path = rewritten(tmp_path / "a.parquet", lambda column: column.update(crs=projjson))
    with pytest.raises(GeosegError, match=r"no place in the scene's CRS|does not touch the scene"):
        read_aoi(str(path), GRID)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.tab", b"!table\n!version 300\n!charset WindowsLatin1\n"),
        ("a.mif", b"Version 300\nCharset"),
        ("a.dxf", b"  0\nSECTION\n  2\nHEADER\n"),
        ("a.csv", b"id,WKT\n1,POLYGON ((0 0, 1 0, 1 1, 0 0))\n"),
        ("a.wkt", b"POLYGON ((0 0, 1 0, 1 1, 0 0))"),
        ("a.gml", b'<?xml version="1.0"?><gml:FeatureCollection/>'),
        ("a.gpx", b"<gpx/>"),
        ("a.dbf", b"\3\x5f"),
        ("a.sqlite", b"SQLite format 3\0" + b"\0" * 84),
        ("a.shx", b"\0\0\x27\x0a" + b"\0" * 96),
        ("empty", b""),
    ],
)
def test_other_formats_are_named_with_the_way_out(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    refused(
        tmp_path / name, "GeoJSON, GeoPackage, FlatGeobuf, Shapefile, KML, KMZ or GeoParquet", "ogr2ogr", "QGIS"
    )


def test_a_sequence_in_several_crs_is_refused(tmp_path: Path) -> None:
    def of(crs: str | None) -> str:
        member = {} if crs is None else {"crs": {"type": "name", "properties": {"name": crs}}}
        return json.dumps(shapely.geometry.mapping(SQUARE) | member)

    (tmp_path / "a.json").write_text(of("EPSG:32640") + "\n" + of(None))
    refused(tmp_path / "a.json", "EPSG:32640, OGC:CRS84")
    (tmp_path / "a.json").write_text(of(None) + "\n" + of(None)[:-5])
    refused(tmp_path / "a.json", "GeoJSON")
    (tmp_path / "a.json").write_text('{"type":' * 100_000)
    refused(tmp_path / "a.json", "GeoJSON")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    for name, text in (("a.geojson", json.dumps(shapely.geometry.mapping(SQUARE))), ("a.kml", kml(kml_of(SQUARE)))):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert read_polygons(tmp_path / name).geometry.normalize() == SQUARE.normalize()
