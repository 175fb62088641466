"""A picture for a web map lies where its grid lies: pyproj's own Web Mercator is the oracle."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from geoseg.grid import Grid
from geoseg.report.map_frame import MapFrame, from_mercator, to_mercator, unwrapped

GRIDS = {
    "UTM": Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 300, 500),
    "100 km of UTM": Grid("EPSG:32633", Affine(50, 0, 300000, 0, -50, 6_900_000), 2000, 2000),
    "degrees": Grid("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 50), 700, 90),
    "across the antimeridian": Grid("EPSG:32701", Affine(10, 0, 120_000, 0, -10, 8_000_000), 900, 9000),
    "degrees beyond 180": Grid("EPSG:4326", Affine(0.01, 0, 178, 0, -0.01, -10), 300, 500),
    "a sliver": Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 1, 900),
    "around the pole": Grid("EPSG:3031", Affine(40_000, 0, -2e6, 0, -40_000, 2e6), 100, 100),
}


@pytest.mark.parametrize("name", GRIDS)
def test_each_pixel_is_placed_where_the_projection_puts_it(name: str) -> None:
    grid = GRIDS[name]
    frame = MapFrame.around(grid, 200)
    assert max(frame.height, frame.width) <= 201
    places = np.concatenate([at for _, at in frame.strips(grid)], axis=1)
    assert places.shape == (2, frame.height, frame.width)
    rows, cols = np.mgrid[: frame.height, : frame.width] + 0.5
    lon, lat = Transformer.from_crs("EPSG:3857", "EPSG:4326", always_xy=True).transform(
        frame.left_m + cols * frame.px_m, frame.top_m - rows * frame.px_m
    )
    if "degrees" in name:  # their numbers go on beyond 180
        lon = unwrapped(lon, frame.middle_lon)
    x, y = Transformer.from_crs("EPSG:4326", grid.crs, always_xy=True).transform(lon, lat)
    expected_col, expected_row = ~grid.transform @ (x, y)
    inside = (expected_row > 0) & (expected_row < grid.height) & (expected_col > 0) & (expected_col < grid.width)
    assert inside.any()
    apart = np.hypot(places[0] - expected_row, places[1] - expected_col)[inside]
    # In pixels of the picture; around a pole, longitudes turn faster than anything linear.
    grid_px = frame.px_m * np.cos(np.radians(lat[inside])) / max(grid.ground_resolution_m())
    if name != "around the pole":
        assert (apart / np.maximum(grid_px, 1)).max() < 0.1


@pytest.mark.parametrize("name", GRIDS)
def test_the_corners_hold_the_whole_grid(name: str) -> None:
    grid = GRIDS[name]
    frame = MapFrame.around(grid)
    (west, north), _, (east, south), _ = frame.corners_lonlat
    assert west < east <= west + 361
    assert south < north
    col, row = np.meshgrid(np.linspace(0, grid.width, 9), np.linspace(0, grid.height, 9))
    t = grid.transform
    x, y = t.a * col + t.c, t.e * row + t.f
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    lon = unwrapped(lon, frame.middle_lon)
    slack = 2 * 360 * frame.px_m / 40_075_017
    assert (lon >= west - slack).all()
    assert (lon <= east + slack).all()
    seen = np.abs(lat) < 85
    assert (lat[seen] >= south - slack).all()
    assert (lat[seen] <= north + slack).all()


@settings(max_examples=30)
@given(st.floats(-180, 180), st.floats(-85, 85))
def test_mercator_is_that_of_proj_and_turns_around(lon: float, lat: float) -> None:
    x_m, y_m = to_mercator(np.array([lon]), np.array([lat]))
    x, y = Transformer.from_crs("EPSG:4326", "EPSG:3857", always_xy=True).transform(lon, lat)
    assert (x_m[0], y_m[0]) == (pytest.approx(x, abs=1e-5), pytest.approx(y, abs=1e-5))
    back = [axis[0] for axis in from_mercator(x_m, y_m)]
    assert back == [pytest.approx(lon, abs=1e-9), pytest.approx(lat, abs=1e-9)]
