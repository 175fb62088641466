import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import geometry_mask

from geoseg.errors import ConfigError
from geoseg.grid import Grid, Window
from geoseg.io.regions import Region, read_region, region_mask, region_on_grid

GRID = Grid("EPSG:32640", Affine(2, 0, 320000, 0, -2, 2770000), 30, 40)
SHEARED = Grid("EPSG:32640", Affine(1.03, -0.2, 320000, 0.1, -0.99, 2770000), 50, 60)


def write_geojson(
    path: Path, features: list[dict[str, Any]], crs: str | None = "urn:ogc:def:crs:EPSG::32640"
) -> Path:
    document: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs is not None:
        document["crs"] = {"type": "name", "properties": {"name": crs}}
    path.write_text(json.dumps(document))
    return path


def feature(polygon: shapely.Geometry, **properties: object) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": shapely.geometry.mapping(polygon)}


@st.composite
def polygons(draw: st.DrawFn) -> shapely.Geometry:
    """Blobs with holes around the pixels of GRID, in its CRS."""
    circles = draw(
        st.lists(st.tuples(st.floats(-10, 90), st.floats(-10, 70), st.floats(1, 30)), min_size=1, max_size=4)
    )
    blobs = [shapely.Point(320000 + x, 2770000 - y).buffer(r) for x, y, r in circles]
    return shapely.union_all(blobs[1:]).symmetric_difference(blobs[0])


def whole_mask(geometry: shapely.Geometry, grid: Grid) -> NDArray[np.bool_]:
    if geometry.is_empty:
        return np.zeros((grid.height, grid.width), np.bool_)
    return np.asarray(geometry_mask([geometry], (grid.height, grid.width), grid.transform, invert=True))


@settings(max_examples=40, deadline=None)
@given(polygons(), st.sampled_from([GRID, SHEARED]))
def test_the_mask_of_a_grid_is_that_of_rasterio(geometry: shapely.Geometry, grid: Grid) -> None:
    mask_hw = region_mask(region_on_grid(Region(grid.crs, geometry), grid), grid.window)
    expected_hw = whole_mask(geometry, grid)
    # Vertices move by rounding when they become pixel coordinates: a centre on an edge may change sides.
    assert np.count_nonzero(mask_hw != expected_hw) <= 1


@settings(max_examples=40, deadline=None)
@given(polygons(), st.integers(0, 29), st.integers(0, 39), st.integers(1, 30), st.integers(1, 40))
def test_a_window_sees_what_the_whole_grid_sees(
    geometry: shapely.Geometry, row: int, col: int, height: int, width: int
) -> None:
    window = Window(row, col, min(height, 30 - row), min(width, 40 - col))
    pixels = region_on_grid(Region(GRID.crs, geometry), GRID)
    whole_hw = region_mask(pixels, GRID.window)
    assert np.count_nonzero(region_mask(pixels, window) != whole_hw[window.slices_in(GRID.window)]) <= 1


def test_no_region_is_all_of_the_grid() -> None:
    assert region_mask(region_on_grid(None, GRID), GRID.window).all()


def test_a_region_beside_the_grid_is_empty() -> None:
    pixels = region_on_grid(Region("EPSG:32640", shapely.box(0, 0, 10, 10)), GRID)
    assert pixels.is_empty
    assert not region_mask(pixels, GRID.window).any()


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "OGC:CRS84"])
def test_a_region_in_another_crs_covers_the_same_pixels(crs: str) -> None:
    box = shapely.box(320010, 2769950, 320060, 2769990)
    transformer = Transformer.from_crs("EPSG:32640", crs, always_xy=True)
    moved = shapely.transform(box, lambda xy: np.column_stack(transformer.transform(xy[:, 0], xy[:, 1])))
    mask_hw = region_mask(region_on_grid(Region(crs, moved), GRID), GRID.window)
    assert np.array_equal(mask_hw, whole_mask(box, GRID))


def test_the_crs_member_is_honoured_and_lonlat_assumed_without_one(tmp_path: Path) -> None:
    box = shapely.box(1, 2, 3, 4)
    assert read_region(write_geojson(tmp_path / "a.geojson", [feature(box)]), {}).crs.endswith("32640")
    plain = read_region(write_geojson(tmp_path / "b.geojson", [feature(box)], crs=None), {})
    assert plain.crs == "OGC:CRS84"
    assert plain.geometry.equals(box)


def test_features_are_chosen_by_all_of_their_properties(tmp_path: Path) -> None:
    path = write_geojson(
        tmp_path / "splits.geojson",
        [
            feature(shapely.box(0, 0, 1, 1), split="train", raster="a.tif"),
            feature(shapely.box(1, 0, 2, 1), split="train", raster="b.tif"),
            feature(shapely.box(2, 0, 3, 1), split="test", raster="a.tif"),
        ],
    )
    chosen = read_region(path, {"split": "train", "raster": "a.tif"}).geometry
    assert chosen.equals(shapely.box(0, 0, 1, 1))
    assert read_region(path, {"split": "train"}).geometry.equals(shapely.box(0, 0, 2, 1))
    with pytest.raises(ConfigError, match="split = val, found none"):
        read_region(path, {"split": "val"})


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"features": 3}', '{"features": [{"properties": {}}]}', '{"features": [{"geometry": null}]}', "{"],
)
def test_a_file_that_is_no_geojson_of_polygons_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.geojson").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.geojson"):
        read_region(tmp_path / "bad.geojson", {})


def test_a_missing_file_and_lines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a readable GeoJSON file"):
        read_region(tmp_path / "missing.geojson", {})
    path = write_geojson(tmp_path / "lines.geojson", [feature(shapely.LineString([(0, 0), (1, 1)]))])
    with pytest.raises(ConfigError, match="expected polygons, got LineString"):
        read_region(path, {})
