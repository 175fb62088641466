"""The area of interest: against rasterio and pyproj pixel by pixel, in every format and CRS; what is refused."""

import json
import pickle
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import geometry_mask

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window
from geoseg.io.aoi import Aoi, read_aoi

GRID = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 1300, 1100)
LEFT, TOP = 320000, 2770000


def written(path: Path, polygons: list[shapely.Geometry], crs: str | None = "EPSG:32640") -> str:
    frame = geopandas.GeoDataFrame(geometry=polygons, crs="EPSG:32640")
    if crs is None:
        frame = geopandas.GeoDataFrame(geometry=polygons)
    elif crs != "EPSG:32640":
        # Straight edges stay what they are on the ground.
        frame = frame.set_geometry(frame.geometry.segmentize(5)).to_crs(crs)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    return str(path)


def oracle(polygon: shapely.Geometry) -> NDArray[np.bool_]:
    return np.asarray(geometry_mask([polygon], (GRID.height, GRID.width), GRID.transform, invert=True))


BLOB = shapely.union_all(
    [shapely.Point(LEFT + 500, TOP - 600).buffer(400), shapely.box(LEFT - 50, TOP - 90, LEFT + 700, TOP + 50)]
).difference(shapely.Point(LEFT + 520, TOP - 620).buffer(80))
FAR = shapely.box(LEFT + 1000, TOP - 1250, LEFT + 1050, TOP - 1200)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-100, 1200), st.floats(-100, 1400), st.floats(0.1, 500)), min_size=1, max_size=4),
    st.tuples(st.integers(0, 1299), st.integers(0, 1099), st.integers(1, 1300), st.integers(1, 1100)),
)
def test_masks_are_rasterios_and_every_window_sees_the_same(
    circles: list[tuple[float, float, float]], window: tuple[int, int, int, int]
) -> None:
    pixels = shapely.union_all([shapely.Point(x, y).buffer(r) for x, y, r in circles])
    pixels = shapely.intersection(pixels, shapely.box(0, 0, GRID.width, GRID.height))
    aoi = Aoi("aoi", pixels, GRID.height, GRID.width)
    whole_hw = aoi.mask(GRID.window)
    if not pixels.is_empty:
        expected_hw = geometry_mask([pixels], (GRID.height, GRID.width), Affine.identity(), invert=True)
        # Outlines cut at cells are rounded otherwise: a centre on an edge may change sides.
        assert np.count_nonzero(whole_hw != expected_hw) <= 4
    row, col, height, width = window
    part = Window(row, col, min(height, GRID.height - row), min(width, GRID.width - col))
    assert np.array_equal(aoi.mask(part), whole_hw[part.slices_in(GRID.window)])
    assert whole_hw[part.slices_in(GRID.window)].any() <= aoi.touched([part])[0]


@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:4326", "EPSG:3857", "EPSG:32639"])
@pytest.mark.parametrize("name", ["aoi.geojson", "aoi.gpkg", "aoi.fgb", "aoi.shp", "aoi.parquet"])
def test_every_format_and_crs_says_the_same(tmp_path: Path, name: str, crs: str) -> None:
    aoi = read_aoi(written(tmp_path / name, [BLOB, FAR], crs), GRID)
    expected_hw = oracle(shapely.union_all([BLOB, FAR]))
    # GeoJSON keeps 7 digits of a degree, a centimetre; edges are 5 km long in all.
    assert np.count_nonzero(aoi.mask(GRID.window) != expected_hw) <= 60
    assert aoi.share == pytest.approx(expected_hw.mean(), rel=1e-3)
    assert aoi.name == name
    assert read_aoi(str(tmp_path / name), GRID).identity == aoi.identity
    assert pickle.loads(pickle.dumps(aoi)).identity == aoi.identity  # noqa: S301  # our own


def test_edges_bend_with_their_crs(tmp_path: Path) -> None:
    """Two degrees of a parallel: in UTM it is far from the straight line between its ends."""
    grid = Grid("EPSG:32640", Affine(250, 0, 300000, 0, -250, 5600000), 500, 500)
    (tmp_path / "aoi.geojson").write_text(json.dumps(shapely.geometry.mapping(shapely.box(54.5, 49.6, 56.0, 50.3))))
    rows_hw, cols_hw = np.mgrid[0.5:500, 0.5:500]
    x_hw, y_hw = grid.transform @ (cols_hw, rows_hw)
    lon_hw, lat_hw = Transformer.from_crs(grid.crs, "OGC:CRS84", always_xy=True).transform(x_hw, y_hw)
    expected_hw = (lon_hw > 54.5) & (lon_hw < 56) & (lat_hw > 49.6) & (lat_hw < 50.3)
    assert 0.2 < expected_hw.mean() < 0.8
    mask_hw = read_aoi(str(tmp_path / "aoi.geojson"), grid).mask(grid.window)
    assert np.count_nonzero(mask_hw != expected_hw) <= 5


@pytest.mark.parametrize("extent", [(-180, -90, 180, 90), (-180, 0, 180, 90), (0, -89, 179, 89)])
def test_the_world_holds_every_grid_within(tmp_path: Path, extent: tuple[float, float, float, float]) -> None:
    feature = {
        "type": "Feature",
        "properties": None,
        "geometry": shapely.geometry.mapping(shapely.box(*extent)),
    }
    (tmp_path / "world.json").write_text(json.dumps(feature))
    assert read_aoi(str(tmp_path / "world.json"), GRID).mask(GRID.window).all()


@pytest.mark.filterwarnings("ignore:'crs' was not provided")
def test_what_is_no_area_is_refused_in_words(tmp_path: Path) -> None:
    def refused(path: str, *words: str) -> None:
        with pytest.raises(GeosegError) as caught:
            read_aoi(path, GRID)
        assert all(word in str(caught.value) for word in (*words, path)), caught.value

    refused(str(tmp_path / "none.shp"), "there is nothing")
    refused(str(tmp_path), "a folder")
    (tmp_path / "a.txt").write_text("54.5 24.9")
    refused(str(tmp_path / "a.txt"), "GeoJSON, GeoPackage, FlatGeobuf, Shapefile, KML, KMZ or GeoParquet")
    (tmp_path / "a.vrt").write_text('<OGRVRTDataSource><OGRVRTLayer name="x"/></OGRVRTDataSource>')
    refused(str(tmp_path / "a.vrt"), "<OGRVRTDataSource>")
    (tmp_path / "a.geojson").write_text("{not json")
    refused(str(tmp_path / "a.geojson"), "GeoJSON of polygons")
    refused(written(tmp_path / "points.gpkg", [shapely.Point(LEFT, TOP)]), "expected polygons", "Point")
    refused(written(tmp_path / "lines.geojson", [shapely.LineString([(0, 0), (9, 9)])]), "LineString")
    refused(written(tmp_path / "place.shp", [BLOB], None), "no CRS", ".prj")
    refused(written(tmp_path / "beside.gpkg", [shapely.box(0, 0, 9, 9)]), "does not touch the scene")
    refused(written(tmp_path / "meets.gpkg", [shapely.box(LEFT - 9, TOP, LEFT, TOP + 9)]), "does not touch")
    two = written(tmp_path / "two.gpkg", [BLOB])
    geopandas.GeoDataFrame(geometry=[FAR], crs="EPSG:32640").to_file(two, layer="second")
    refused(two, "one layer", "second")
    whole = Path(written(tmp_path / "cut.fgb", [BLOB])).read_bytes()
    (tmp_path / "cut.fgb").write_bytes(whole[: len(whole) // 2])
    refused(str(tmp_path / "cut.fgb"), "--aoi")
    cut = Path(written(tmp_path / "cut.gpkg", [BLOB])).read_bytes()
    (tmp_path / "cut.gpkg").write_bytes(cut[:5000])
    refused(str(tmp_path / "cut.gpkg"), "--aoi")
