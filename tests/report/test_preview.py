"""The picture: the classes' own colours, where they are."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.imagery import Imagery
from geoseg.io.layers import Batches, Features
from geoseg.io.mosaic import Mosaic
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.report.preview import write_preview


def draw(
    folder: Path,
    scene: Path,
    classes_hw: NDArray[np.uint8],
    rgb: Imagery,
    labels: LabelSet,
    drawn: Mapping[str, Batches] | None = None,
) -> NDArray[np.float64]:
    ref = describe_scene(str(scene), rgb, SceneOptions(resolution="native"))
    folder.mkdir(exist_ok=True)
    mosaic = Mosaic(folder / "mosaic.zarr")
    mosaic.create(ref.grid, labels, probability=False)
    mosaic.write(0, "classes", ref.grid.window, classes_hw)
    nothing = np.empty(0)
    empty = Features(nothing.astype(np.int64), nothing.astype(np.uint8), nothing, nothing, np.empty(0, object))
    layers: dict[str, Batches] = {layer: lambda: [empty] for _, layer in labels.layers}
    write_preview(folder / "preview.png", ref, mosaic, {**layers, **(drawn or {})}, labels)
    return np.asarray(matplotlib.image.imread(folder / "preview.png"))[..., :3]


def share(picture_hwc: NDArray[np.float64], color: tuple[float, ...]) -> float:
    return float((np.abs(picture_hwc - np.asarray(color)).max(axis=-1) < 0.02).mean())


def test_each_class_has_its_colour_and_its_area(
    tmp_path: Path, write_raster: object, rgb: Imagery, labels: LabelSet
) -> None:
    assert callable(write_raster)
    scene = write_raster(np.full((3, 200, 300), 128, np.uint8))
    classes_hw = np.full((200, 300), 2, np.uint8)
    classes_hw[:, :150] = 0
    classes_hw[:, 150:200] = 1
    classes_hw[150:, 200:] = NODATA_CLASS
    picture_hwc = draw(tmp_path, scene, classes_hw, rgb, labels)
    panels_hwc = picture_hwc[: int(picture_hwc.shape[0] * 0.85)]  # the legend has the colours too
    areas = [share(panels_hwc, tuple(value / 255 for value in label.rgb)) for label in labels.classes]
    assert areas[0] > 0.1
    assert areas[0] / areas[1] == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 900), (900, 1), (40, 2000)])
def test_any_shape_is_drawn(
    tmp_path: Path, write_raster: object, rgb: Imagery, labels: LabelSet, height: int, width: int
) -> None:
    assert callable(write_raster)
    scene = write_raster(np.full((3, height, width), 9, np.uint8))
    picture_hwc = draw(tmp_path, scene, np.zeros((height, width), np.uint8), rgb, labels)
    assert min(picture_hwc.shape[:2]) > 100
    assert max(picture_hwc.shape[:2]) < 6000


def test_degrees_get_a_scale_bar_in_metres(
    tmp_path: Path, write_raster: object, rgb: Imagery, labels: LabelSet
) -> None:
    assert callable(write_raster)
    scene = write_raster(
        np.full((3, 90, 90), 9, np.uint8), crs="EPSG:4326", transform=Affine(1e-5, 0, 8, 0, -1e-5, 47)
    )
    picture_hwc = draw(tmp_path, scene, np.zeros((90, 90), np.uint8), rgb, labels)
    assert share(picture_hwc, (0, 0, 0)) > 0.0005


def test_outlines_lie_where_the_grid_puts_them(
    tmp_path: Path, write_raster: object, rgb: Imagery, labels: LabelSet
) -> None:
    assert callable(write_raster)
    scene = write_raster(np.full((3, 100, 100), 128, np.uint8), transform=Affine(0.5, 0, 1000, 0, -0.5, 2000))
    # The right half of the grid.
    square = shapely.orient_polygons(np.array([shapely.box(1025, 1950, 1050, 2000)], object))
    one = np.ones(1)
    features = Features(one.astype(np.int64), np.zeros(1, np.uint8), one, one, square)
    layer = labels.layers[0][1]
    classes_hw = np.full((100, 100), 2, np.uint8)
    without, drawn = (
        draw(tmp_path / name, scene, classes_hw, rgb, labels, more)
        for name, more in (("without", {}), ("with", {layer: lambda: [features]}))
    )
    row, col = np.nonzero(np.abs(drawn - without).max(axis=-1) > 0.2)
    width = drawn.shape[1]
    # The third panel is about the last third of the picture.
    assert col.min() / width == pytest.approx(1 / 3 * 2.5, abs=0.02)
    assert col.max() / width > 0.97
    assert np.ptp(row) == pytest.approx(width / 3, rel=0.05)
