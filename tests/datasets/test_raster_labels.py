"""Label rasters on and off their scene's pixels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer

from geoseg.datasets.raster_labels import RasterLabels, ValueTable, open_raster_labels
from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.class_reader import ClassReader
from geoseg.io.scene import describe_scene
from geoseg.io.scene_ref import SceneRef
from geoseg.labels import NODATA_CLASS

WriteRaster = Callable[..., Path]
WEST, NORTH = 320000.0, 2770000.0


@pytest.fixture
def scene(write_raster: WriteRaster, rgb: Imagery) -> SceneRef:
    """90 x 120 px at 1 m."""
    return describe_scene(str(write_raster(np.zeros((3, 90, 120), np.uint8))), rgb)


@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:3857", "EPSG:4326"])
def test_labels_on_another_grid_are_those_at_the_pixels_centres(
    write_raster: WriteRaster, scene: SceneRef, crs: str
) -> None:
    move = Transformer.from_crs("EPSG:32640", crs, always_xy=True)
    left, bottom, right, top = move.transform_bounds(WEST + 20, NORTH - 80, WEST + 150, NORTH + 10)
    values_hw = np.random.default_rng(0).integers(0, 200, (37, 51)).astype(np.uint8)
    transform = Affine((right - left) / 51, 0, left, 0, (bottom - top) / 37, top)
    path = write_raster(values_hw[None], "labels.tif", crs=crs, transform=transform)
    reader = open_raster_labels(str(path), scene)
    x, y = np.meshgrid(WEST + np.arange(120) + 0.5, NORTH - np.arange(90) - 0.5)
    cols, rows = ~transform @ move.transform(x, y)
    inside = (rows >= 0) & (rows < 37) & (cols >= 0) & (cols < 51)
    expected_hw = np.where(
        inside, values_hw[np.clip(rows, 0, 36).astype(int), np.clip(cols, 0, 50).astype(int)].astype(int), -1
    )
    # Centres that lie within the interpolation's error of a border may fall on either side.
    near = np.minimum(np.abs(rows - np.round(rows)), np.abs(cols - np.round(cols))) < 0.002
    whole_hw = reader.read(scene.grid.window)
    assert np.array_equal(whole_hw[~near], expected_hw[~near])
    assert np.count_nonzero(near) < 0.02 * near.size
    part = Window(13, 40, 50, 33)
    assert np.array_equal(reader.read(part), whole_hw[part.slices_in(scene.grid.window)])


def test_labels_on_the_scenes_pixels_are_read_as_they_are(write_raster: WriteRaster, scene: SceneRef) -> None:
    values_hw = np.random.default_rng(1).integers(0, 3, (90, 120)).astype(np.uint8)
    path = str(write_raster(values_hw[None], "labels.tif", nodata=0))
    assert isinstance(open_raster_labels(path, scene), ClassReader)
    coded_hw = RasterLabels(path, scene, ValueTable({1: 5, 2: NODATA_CLASS}), rest=6).read(scene.grid.window)
    assert np.array_equal(coded_hw, np.array([6, 5, NODATA_CLASS])[values_hw])


def test_labels_elsewhere_and_labels_without_a_place_on_other_pixels_are_refused(
    write_raster: WriteRaster, scene: SceneRef
) -> None:
    same = np.ones((1, 90, 120), np.uint8)
    elsewhere = write_raster(same, "labels.tif", crs="EPSG:32641")
    with pytest.raises(SceneError, match=r"labels\.tif lies elsewhere than .*check the CRS of both"):
        open_raster_labels(str(elsewhere), scene)
    unplaced = write_raster(np.ones((1, 50, 50), np.uint8), "labels.tif", crs=None, transform=None)
    with pytest.raises(SceneError, match="labels must lie on the pixels of their scene"):
        open_raster_labels(str(unplaced), scene)
    pixels = write_raster(np.ones((3, 50, 50), np.uint8), "labels.tif")
    with pytest.raises(SceneError, match=r"one band of whole numbers: .* has 3 band\(s\) of uint8"):
        open_raster_labels(str(pixels), scene)
