import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2, pixel_ground
from geoseg.vectorize.features import geodesic_measures

PLACES = {
    "utm": ("EPSG:32640", Affine(0.5, 0, 314047, 0, -0.5, 2775758)),
    "web mercator at 60 degrees": ("EPSG:3857", Affine(100, 0, 6000000, 0, -100, 8399738)),
    "degrees": ("EPSG:4326", Affine(0.01, 0, 55, 0, -0.01, 50)),
    "degrees, coarse": ("EPSG:4326", Affine(0.5, 0, -20, 0, -0.5, 70)),
    "grads from Paris": ("EPSG:27572", Affine(10, 0, 600000, 0, -10, 2200000)),
    "feet": ("EPSG:2263", Affine(10, 0, 984250, 0, -10, 200000)),
    "rotated": ("EPSG:32640", Affine(0.4, 0.25, 314047, 0.25, -0.4, 2775758)),
    "across the antimeridian": ("EPSG:3857", Affine(10, 0, 20037508 - 300, 0, -10, 8399738)),
    "a polar map beside the pole": ("EPSG:3031", Affine(100, 0, 4000, 0, -100, 5000)),
}


def ground_m2(grid: Grid, window: Window) -> NDArray[np.float64]:
    return pixel_ground(grid, window) / GROUND_UNIT * nominal_pixel_m2(grid)


def pixel_box(grid: Grid, row: int, col: int) -> shapely.Polygon:
    corners = [(col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1)]
    return shapely.Polygon([grid.transform @ corner for corner in corners])


@pytest.mark.parametrize(("crs", "transform"), PLACES.values(), ids=PLACES)
def test_pixels_have_their_geodesic_area(crs: str, transform: Affine) -> None:
    grid = Grid(crs, transform, 60, 70)
    found_hw = ground_m2(grid, grid.window)
    row, col = np.array([0, 20, 40, 59]), np.array([0, 30, 33, 69])
    boxes = np.array([pixel_box(grid, int(i), int(j)) for i, j in zip(row, col, strict=True)], object)
    # A cell's mean stands for its pixels: half a degree apart they differ by a few hundredths.
    assert found_hw[row, col] == pytest.approx(geodesic_measures(boxes, crs)[0], rel=0.05)
    corners = [(0, 0), (70, 0), (70, 60), (0, 60)]
    whole = shapely.segmentize(shapely.Polygon([transform @ corner for corner in corners]), abs(transform.a))
    # The boundary's edges are geodesics between pixel corners there, straight lines of the CRS here.
    assert found_hw.sum() == pytest.approx(geodesic_measures(np.array([whole], object), crs)[0][0], rel=5e-4)


def test_a_pixel_counts_the_same_in_every_block() -> None:
    crs, transform = PLACES["degrees, coarse"]
    grid = Grid(crs, transform, 70, 90)
    whole_hw = pixel_ground(grid, grid.window)
    for window in (Window(0, 0, 64, 64), Window(0, 64, 64, 26), Window(64, 0, 6, 64), Window(64, 64, 6, 26)):
        assert np.array_equal(pixel_ground(grid, window), whole_hw[window.slices_in(grid.window)])


def test_what_the_crs_cannot_place_counts_as_the_nominal_pixel() -> None:
    grid = Grid("EPSG:4326", Affine(1, 0, 0, 0, -1, 95), 100, 32)
    assert (pixel_ground(grid, grid.window) >= 1).all()
    beyond = Grid("ESRI:54009", Affine(1e6, 0, -20e6, 0, -1e6, 10e6), 20, 40)
    units_hw = pixel_ground(beyond, beyond.window)
    assert units_hw[0, 0] == GROUND_UNIT


def test_a_window_that_starts_within_a_cell_is_refused() -> None:
    crs, transform = PLACES["utm"]
    with pytest.raises(ValueError, match="multiples of 4"):
        pixel_ground(Grid(crs, transform, 60, 70), Window(0, 2, 8, 8))
