"""Scenes placed by ground control points: against GDAL's own polynomials and its warper."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.warp
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.transform import GCPTransformer

from geoseg.imagery import Imagery
from geoseg.io.gcps import GcpGrid, gcp_grid
from geoseg.io.raster import SceneReader
from geoseg.io.scene import SceneOptions, describe_scene

WriteRaster = Callable[..., Path]

HEIGHT, WIDTH = 200, 260


def points(count: int, bend: float, seed: int = 0) -> list[GroundControlPoint]:
    """Points of a turned and bent image, some of them a little off."""
    rng = np.random.default_rng(seed)
    corners = [(0.0, 0.0), (0.0, WIDTH), (HEIGHT, 0.0), (HEIGHT, WIDTH)]
    places = [*corners, *(rng.random((max(count - 4, 0), 2)) * (HEIGHT, WIDTH)).tolist()][:count]
    found = []
    for row, col in places:
        u, v = col / WIDTH - 0.5, row / HEIGHT - 0.5
        x = 320000 + 0.95 * col + 0.2 * row + bend * (u * u - u * v)
        y = 2770000 + 0.18 * col - 0.97 * row + bend * v * v + (rng.normal(0, 0.1) if count > 6 else 0)
        found.append(GroundControlPoint(row, col, x, y))
    return found


@given(st.integers(3, 30), st.floats(0, 30), st.integers(0, 99))
def test_the_polynomials_are_gdals(count: int, bend: float, seed: int) -> None:
    given_points = points(count, bend, seed)
    grid = gcp_grid("a.tif", [(p.row, p.col, p.x, p.y) for p in given_points], "EPSG:32640", HEIGHT, WIDTH)
    rng = np.random.default_rng(seed)
    rows, cols = rng.random(50) * HEIGHT, rng.random(50) * WIDTH
    x, y = grid.to_ground(cols, rows)
    with GCPTransformer(given_points) as gdal:
        # It takes places in pixels at their corners where it is told of no offset.
        expected_x, expected_y = gdal.xy(rows, cols, offset="ul")
        expected_rows, expected_cols = gdal.rowcol(x, y, op=lambda value: value)
    assert np.allclose(x, expected_x, atol=1e-2)
    assert np.allclose(y, expected_y, atol=1e-2)
    back_cols, back_rows = grid.to_pixel(x, y)
    assert np.allclose(back_rows, expected_rows, atol=1e-2)
    assert np.allclose(back_cols, expected_cols, atol=1e-2)
    assert grid.error_px < 30
    if count == 4 and bend == 0:
        assert grid.error_px < 1e-6


@pytest.mark.parametrize("count", [4, 12])
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_scene_lies_where_gdal_warps_it(write_raster: WriteRaster, rgb: Imagery, count: int) -> None:
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    image_chw = np.stack([rows, cols // 2, rows + cols // 4]).astype(np.uint8) + 1
    given_points = points(count, 6.0 if count > 6 else 0.0)
    path = write_raster(image_chw, transform=None, gcps=given_points)
    ref = describe_scene(str(path), rgb, SceneOptions(resolution="native"))
    assert any("ground control points" in note for note in ref.notes)
    reader = SceneReader(ref)
    read_chw, valid_hw = reader.read(ref.grid.window)
    reader.close()
    warped_chw, inside_hw = np.zeros(read_chw.shape, np.float32), np.zeros(valid_hw.shape, np.uint8)
    placing = {
        "gcps": given_points,
        "src_crs": "EPSG:32640",
        "dst_crs": "EPSG:32640",
        "dst_transform": ref.grid.transform,
    }
    linear = rasterio.warp.Resampling.bilinear
    rasterio.warp.reproject(image_chw.astype(np.float32), warped_chw, resampling=linear, **placing)
    rasterio.warp.reproject(np.ones(image_chw.shape[1:], np.uint8), inside_hw, **placing)
    assert valid_hw.mean() > 0.6
    assert ((inside_hw > 0) != valid_hw).mean() < 0.01
    inner_hw = valid_hw & (inside_hw > 0)
    inner_hw[1:-1, 1:-1] &= inner_hw[:-2, 1:-1] & inner_hw[2:, 1:-1] & inner_hw[1:-1, :-2] & inner_hw[1:-1, 2:]
    # Values rise by at most one a pixel: so far apart are the places at most.
    assert np.abs(read_chw - warped_chw)[:2, inner_hw].max() < 0.2


def test_the_affine_is_the_nearest() -> None:
    grid = gcp_grid("a.tif", [(p.row, p.col, p.x, p.y) for p in points(4, 0)], "EPSG:32640", HEIGHT, WIDTH)
    assert isinstance(grid, GcpGrid)
    assert tuple(grid.transform)[:6] == pytest.approx((0.95, 0.2, 320000, 0.18, -0.97, 2770000))
