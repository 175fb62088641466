"""The index of rasters: where each lies, and the same bytes every time."""

import time
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

from geoseg.grid import Grid, Window
from geoseg.io.raster_index import IndexedRaster, write_index

UTM = Grid("EPSG:32640", Affine(0.5, 0, 320000.25, 0, -0.5, 2770000.75), 960_000, 960_000)
RASTERS = [
    IndexedRaster("0.tif", Window(512, 1024, 600, 700), 9),
    IndexedRaster("1.tif", Window(900_000, 0, 512, 512), 2**40),
]


def test_each_raster_is_a_polygon_at_its_place(tmp_path: Path) -> None:
    path = tmp_path / "index.gpkg"
    write_index(path, RASTERS, UTM, "abc")
    assert pyogrio.list_layers(path).tolist() == [["index", "Polygon"]]
    frame = pyogrio.read_dataframe(path)
    assert frame.crs == "EPSG:32640"
    assert frame.location.tolist() == ["0.tif", "1.tif"]
    assert frame.valid_px.tolist() == [9, 2**40]
    for raster, polygon in zip(RASTERS, frame.geometry, strict=True):
        place = UTM.part(raster.window)
        bounds = rasterio.transform.array_bounds(place.height, place.width, place.transform)
        assert polygon.bounds == pytest.approx(bounds, abs=1e-6)
        assert polygon.exterior.is_ccw
    found = frame[["row", "col", "height", "width"]].to_numpy().tolist()
    assert found == [[512, 1024, 600, 700], [900_000, 0, 512, 512]]
    assert [file.name for file in tmp_path.iterdir()] == ["index.gpkg"]


def test_polygons_follow_a_turned_grid(tmp_path: Path) -> None:
    turned = Grid("EPSG:32640", UTM.transform @ Affine.rotation(30), 1000, 1000)
    path = tmp_path / "index.gpkg"
    write_index(path, RASTERS[:1], turned, "abc")
    [polygon] = pyogrio.read_dataframe(path).geometry
    window = RASTERS[0].window
    corners = [turned.transform @ (col, row) for row in (512, 1112) for col in (1024, 1724)]
    assert polygon.area == pytest.approx(window.height * window.width * 0.25)
    assert shapely.hausdorff_distance(polygon.convex_hull, shapely.MultiPoint(corners).convex_hull) < 1e-6


def test_the_same_rasters_give_the_same_bytes_whenever(tmp_path: Path) -> None:
    path = tmp_path / "index.gpkg"
    write_index(path, RASTERS, UTM, "abc")
    before = path.read_bytes()
    time.sleep(1.1)  # GeoPackages tell the second
    write_index(path, RASTERS, UTM, "abc")
    assert path.read_bytes() == before


def test_nothing_can_be_indexed_too(tmp_path: Path) -> None:
    path = tmp_path / "index.gpkg"
    write_index(path, [], UTM, "abc")
    assert len(pyogrio.read_dataframe(path)) == 0
    assert np.array_equal(pyogrio.list_layers(path), [["index", "Polygon"]])
