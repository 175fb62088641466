"""Where data lies, on the globe: around every pixel that holds some, and close to them, against pyproj."""

from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from pyproj.enums import TransformDirection

from geoseg.grid import Grid
from geoseg.io.halving import majority_of_four
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.stac.footprint import Footprint, footprint

# Grids whose lines are bent, cut or turned in longitude and latitude.
PLACES = {
    "a small one": ("EPSG:32640", Affine(0.5, 0, 320000, 0, -0.5, 2770000)),
    "100 m pixels far north": ("EPSG:32633", Affine(100, 0, 300000, 0, -100, 8900000)),
    "turned": ("EPSG:32633", Affine(30, 12, 500000, 12, -30, 5500000)),
    "south": ("EPSG:32733", Affine(250, 0, 200000, 0, -250, 6500000)),
    "equal area": ("EPSG:3035", Affine(1000, 0, 2500000, 0, -1000, 5000000)),
    "degrees": ("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 50)),
    "antimeridian in degrees": ("EPSG:4326", Affine(0.01, 0, 178, 0, -0.01, 10)),
    "degrees to 360": ("EPSG:4326", Affine(0.5, 0, 200, 0, -0.1, 50)),
    "antimeridian in metres": ("EPSG:32601", Affine(30, 0, 160000, 0, -30, 8000)),
    "antimeridian far north": ("EPSG:32660", Affine(100, 0, 600000, 0, -100, 8000000)),
    "web mercator": ("EPSG:3857", Affine(500, 0, -200000, 0, -500, 8000000)),
}


def mosaic_of(folder: Path, grid: Grid, valid_hw: NDArray[np.bool_], labels: LabelSet) -> Mosaic:
    mosaic = Mosaic(folder / "mosaic.zarr")
    mosaic.create(grid, labels, probability=False)
    classes_hw = np.where(valid_hw, 0, NODATA_CLASS).astype(np.uint8)
    for level, (height, width) in enumerate(mosaic.level_shapes()):
        mosaic.write(level, "classes", Grid(grid.crs, grid.transform, height, width).window, classes_hw)
        classes_hw = majority_of_four(classes_hw)
    return mosaic


def found_of(folder: Path, grid: Grid, valid_hw: NDArray[np.bool_], labels: LabelSet) -> Footprint:
    found = footprint(mosaic_of(folder, grid, valid_hw, labels), grid)
    assert found is not None
    return found


def on_globe(lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes (n,) from -180 to 180."""
    return (lon + 180) % 360 - 180


def centres(grid: Grid, valid_hw: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Longitude and latitude (n, 2) of the centre of each pixel that holds data."""
    rows, cols = np.nonzero(valid_hw)
    x, y = grid.transform @ (cols + 0.5, rows + 0.5)  # type: ignore[operator]  # arrays too
    lon, lat = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True).transform(x, y)
    return np.column_stack((on_globe(lon), lat))


def on_grid(grid: Grid, lonlat: NDArray[np.float64]) -> NDArray[np.float64]:
    """x = column, y = row (n, 2) of places on the globe, those of degrees on the grid's own turn of it."""
    project = Transformer.from_crs(grid.crs, "EPSG:4326", always_xy=True)
    lon, lat = lonlat.T
    x, y = project.transform(lon, lat, direction=TransformDirection.INVERSE)
    if grid.crs == "EPSG:4326":
        x = np.where(x < grid.transform.c - 1e-6, x + 360, x)
    return np.column_stack(~grid.transform @ (x, y))


def true_outline(valid_hw: NDArray[np.bool_]) -> shapely.Geometry:
    """The area of the pixels that hold data, x = column, y = row."""
    shapes = rasterio.features.shapes(valid_hw.astype(np.uint8), mask=valid_hw)
    return shapely.union_all([shapely.geometry.shape(geometry) for geometry, _ in shapes])


def blob(height: int, width: int) -> NDArray[np.bool_]:
    """A turned rectangle, as scenes are, with a hole."""
    rows, cols = np.mgrid[:height, :width]
    inside = (rows + cols > 0.4 * height) & (rows + cols < 0.5 * height + width) & (cols - rows < 0.8 * width)
    return inside & (np.hypot(rows - height / 2, cols - width / 2) > height / 10)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("full", [True, False])
def test_it_is_around_all_data_and_at_its_edge(tmp_path: Path, labels: LabelSet, place: str, full: bool) -> None:
    crs, transform = PLACES[place]
    grid = Grid(crs, transform, 230, 310)
    valid_hw = np.ones((230, 310), np.bool_) if full else blob(230, 310)
    found = found_of(tmp_path, grid, valid_hw, labels)
    area = shapely.geometry.shape(found.geometry)
    assert area.is_valid
    lonlat = centres(grid, valid_hw)
    assert shapely.contains_xy(area, *lonlat.T).all()
    assert not shapely.contains_xy(area, *centres(grid, ~valid_hw).T).any()
    # Corners and the middles of all sides lie on the edge of the pixels that hold data, but where it was cut.
    points = shapely.get_coordinates(shapely.segmentize(area, shapely.length(area) / 2000))
    points = points[np.abs(points[:, 0]) < 180 - 1e-5]
    pixel_deg = np.hypot(*np.diff(lonlat[:2], axis=0)[0])
    away = shapely.distance(true_outline(valid_hw).boundary, shapely.points(on_grid(grid, points)))
    assert away.max() < 0.27 + 2e-7 / pixel_deg

    west, south, east, north = found.bbox
    crosses = "antimeridian" in place
    assert (west > east) == crosses
    turned = np.where(lonlat[:, 0] < west - 1e-9, lonlat[:, 0] + 360, lonlat[:, 0])
    assert turned.max() <= east + 360 * crosses
    assert lonlat[:, 1].min() >= south
    assert lonlat[:, 1].max() <= north
    assert [-180 <= value <= 180 for value in (west, east)] == [True, True]
    # The box is that of the geometry, not more.
    assert {*found.bbox} <= {*shapely.get_coordinates(area).ravel().tolist()}


@pytest.mark.parametrize("sign", [1, -1])
def test_around_a_pole_it_is_a_cap(tmp_path: Path, labels: LabelSet, sign: int) -> None:
    grid = Grid("EPSG:3413" if sign > 0 else "EPSG:3031", Affine(1e4, 0, -1e6, 0, -1e4, 1.2e6), 200, 200)
    valid_hw = np.ones((200, 200), np.bool_)
    found = found_of(tmp_path, grid, valid_hw, labels)
    area = shapely.geometry.shape(found.geometry)
    assert shapely.covers(area, shapely.points(centres(grid, valid_hw))).all()
    west, south, east, north = found.bbox
    assert (west, east) == (-180, 180)
    edge, pole = (south, north) if sign > 0 else (north, south)
    assert pole == 90 * sign
    assert 75 < edge * sign < 80


@given(seed=st.integers(0, 2**31), share=st.floats(0.0005, 0.7), place=st.sampled_from(sorted(PLACES)))
@settings(max_examples=8)
def test_of_any_mask_it_is_valid_and_holds_all_data(
    tmp_path_factory: pytest.TempPathFactory, labels: LabelSet, seed: int, share: float, place: str
) -> None:
    crs, transform = PLACES[place]
    grid = Grid(crs, transform, 61, 83)
    valid_hw = np.random.default_rng(seed).random((61, 83)) < share
    valid_hw[seed % 61, seed % 83] = True
    found = found_of(tmp_path_factory.mktemp("mosaic"), grid, valid_hw, labels)
    area = shapely.geometry.shape(found.geometry)
    assert area.is_valid
    assert shapely.contains_xy(area, *centres(grid, valid_hw).T).all()
    assert shapely.get_num_coordinates(area) < 20_000
    for part in shapely.get_parts(area):
        assert part.exterior.is_ccw
    # Many corners make it coarser, but never reach out of the cells of 2, 4, 8... px that hold data.
    every = np.ones((61, 83), np.bool_)
    held_hw = shapely.contains_xy(area, *centres(grid, every).T).reshape(every.shape)
    sides = [side for side in (1, 2, 4, 8, 16, 32) if np.array_equal(held_hw, in_cells(valid_hw, side))]
    assert sides
    assert sides[0] == 1 or shapely.get_num_coordinates(true_outline(valid_hw)) > 500


def in_cells(valid_hw: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """Pixels (row, column) in cells of so many pixels that hold data."""
    height, width = valid_hw.shape
    padded = np.pad(valid_hw, ((0, -height % side), (0, -width % side)))
    cells = padded.reshape(padded.shape[0] // side, side, -1, side).any(axis=(1, 3))
    return cells.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]


def test_overviews_are_outlined_by_their_pixels(tmp_path: Path, labels: LabelSet) -> None:
    """Of a large raster a coarse level is looked at, whose pixels reach beyond the data a little."""
    grid = Grid("EPSG:32640", Affine(0.5, 0, 320000, 0, -0.5, 2770000), 2100, 2900)
    valid_hw = blob(2100, 2900)
    found = found_of(tmp_path, grid, valid_hw, labels)
    area = shapely.geometry.shape(found.geometry)
    assert shapely.contains_xy(area, *centres(grid, valid_hw).T).all()
    points = on_grid(grid, shapely.get_coordinates(area))
    assert shapely.distance(true_outline(valid_hw), shapely.points(points)).max() <= 16
    assert points.min() > -0.1
    assert (points.max(axis=0) < [2900.1, 2100.1]).all()


def test_a_few_crops_far_apart_are_outlined_each(tmp_path: Path, labels: LabelSet) -> None:
    """Not by the coarsest overview's pixels, which are much larger than they are."""
    grid = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 5000, 6000)
    valid_hw = np.zeros((5000, 6000), np.bool_)
    valid_hw[40:75, 100:170] = True
    valid_hw[4990:, 5901:] = True
    found = found_of(tmp_path, grid, valid_hw, labels)
    area = shapely.geometry.shape(found.geometry)
    assert area.geom_type == "MultiPolygon"
    back = [shapely.Polygon(on_grid(grid, shapely.get_coordinates(part))) for part in shapely.get_parts(area)]
    boxes = sorted(tuple(np.round(polygon.bounds).astype(int).tolist()) for polygon in back)
    assert boxes == [(100, 40, 170, 75), (5901, 4990, 6000, 5000)]


def test_without_data_there_is_none(tmp_path: Path, labels: LabelSet) -> None:
    grid = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 50, 60)
    assert footprint(mosaic_of(tmp_path, grid, np.zeros((50, 60), np.bool_), labels), grid) is None
