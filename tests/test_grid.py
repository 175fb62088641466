import math

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Geod, Transformer

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window, parse_crs

windows = st.builds(Window, st.integers(-8, 8), st.integers(-8, 8), st.integers(1, 9), st.integers(1, 9))


def pixels(window: Window) -> set[tuple[int, int]]:
    return {
        (row, col)
        for row in range(window.row, window.row + window.height)
        for col in range(window.col, window.col + window.width)
    }


@given(windows, windows)
def test_an_intersection_holds_the_pixels_in_both(first: Window, second: Window) -> None:
    common = first.intersection(second)
    assert (pixels(common) if common else set()) == pixels(first) & pixels(second)


@given(windows, st.data())
def test_slices_find_a_window_in_an_array_of_another(outer: Window, data: st.DataObject) -> None:
    row, col = data.draw(st.integers(0, outer.height - 1)), data.draw(st.integers(0, outer.width - 1))
    height, width = data.draw(st.integers(1, outer.height - row)), data.draw(st.integers(1, outer.width - col))
    inner = Window(outer.row + row, outer.col + col, height, width)
    row_hw, col_hw = np.mgrid[outer.row : outer.row_stop, outer.col : outer.col_stop]
    found = zip(row_hw[inner.slices_in(outer)].flat, col_hw[inner.slices_in(outer)].flat, strict=True)
    assert set(found) == pixels(inner)


@pytest.mark.parametrize("shape", [(0, 1), (1, 0), (-1, 1)])
def test_nothing_is_without_pixels(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Window(0, 0, *shape)
    with pytest.raises(ValueError, match="at least one pixel"):
        Grid("EPSG:32640", Affine.identity(), *shape)


def test_the_ground_resolution_of_degrees_is_an_arc_of_the_ellipsoid() -> None:
    # At latitude 60 on WGS84 the radii of curvature follow from a and f (Snyder 1987, 4-18 and 4-20).
    a, f, latitude, step = 6378137.0, 1 / 298.257223563, math.radians(60), 1e-5
    e2 = f * (2 - f)
    w2 = 1 - e2 * math.sin(latitude) ** 2
    meridian, normal = a * (1 - e2) / w2**1.5, a / math.sqrt(w2)
    grid = Grid("EPSG:4326", Affine(step, 0, 25 - 50 * step, 0, -step, 60 + 50 * step), 100, 100)
    height_m, width_m = grid.ground_resolution_m()
    assert height_m == pytest.approx(meridian * math.radians(step), rel=1e-6)
    assert width_m == pytest.approx(normal * math.cos(latitude) * math.radians(step), rel=1e-6)


@given(st.floats(-75, 75), st.floats(-179, 179), st.floats(0.1, 50))
def test_web_mercator_is_shrunk_to_the_ground(latitude: float, longitude: float, pixel: float) -> None:
    x, y = Transformer.from_crs(4326, 3857, always_xy=True).transform(longitude, latitude)
    grid = Grid("EPSG:3857", Affine(pixel, 0, x - 5 * pixel, 0, -pixel, y + 5 * pixel), 10, 10)
    to_lonlat = Transformer.from_crs(3857, 4326, always_xy=True)
    geod = Geod(ellps="WGS84")
    north, south = to_lonlat.transform(x, y + pixel / 2), to_lonlat.transform(x, y - pixel / 2)
    west, east = to_lonlat.transform(x - pixel / 2, y), to_lonlat.transform(x + pixel / 2, y)
    measured = geod.inv(*north, *south)[2], geod.inv(*west, *east)[2]
    assert grid.ground_resolution_m() == pytest.approx(measured, rel=1e-3)
    assert measured[1] == pytest.approx(pixel * math.cos(math.radians(latitude)), rel=0.01)


def test_feet_are_measured_in_metres() -> None:
    # New York Long Island, US survey feet; its scale factor differs from 1 by less than 1e-4 in the city.
    grid = Grid("EPSG:2263", Affine(1, 0, 985000, 0, -1, 215000), 400, 600)
    assert grid.ground_resolution_m() == pytest.approx((1200 / 3937, 1200 / 3937), rel=2e-4)


@given(st.floats(0, 2 * math.pi))
def test_turning_a_grid_keeps_its_ground_resolution(angle: float) -> None:
    upright = Grid("EPSG:32640", Affine(0.5, 0, 320000, 0, -0.5, 2770000), 40, 40)
    centre = upright.transform @ (20, 20)
    turned = Grid(
        upright.crs,
        Affine.rotation(math.degrees(angle), centre) @ upright.transform,
        40,
        40,
    )
    assert turned.ground_resolution_m() == pytest.approx(upright.ground_resolution_m(), rel=1e-4)


@pytest.mark.parametrize(
    "crs",
    [
        "EPSG:4326",  # metres taken for degrees
        'LOCAL_CS["site plan",UNIT["metre",1]]',
        'ENGCRS["site",EDATUM["site"],CS[Cartesian,2],AXIS["x",east],AXIS["y",north],LENGTHUNIT["metre",1]]',
        "EPSG:5773",  # heights
    ],
)
def test_a_place_that_is_not_on_earth_is_refused(crs: str) -> None:
    grid = Grid(crs, Affine(1, 0, 320000, 0, -1, 2770000), 10, 10)
    with pytest.raises(SceneError, match="no place on earth"):
        grid.ground_resolution_m()


def test_an_unknown_crs_is_refused() -> None:
    with pytest.raises(SceneError, match="expected a CRS such as EPSG:32640, got 'EPSG:0'"):
        parse_crs("EPSG:0")
