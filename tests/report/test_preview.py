"""The picture: the classes' own colours, where they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.groups import Group
from geoseg.imagery import Imagery
from geoseg.io.layers import NO_OUTCOME, Batches, Features
from geoseg.io.mosaic import Mosaic
from geoseg.io.region import Region
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.report.picture import RegionPicture
from geoseg.report.preview import Shown, most_covered, write_preview


def features_of(squares: NDArray[np.object_], ids: Sequence[int] | None = None) -> Features:
    """Features of class 0, by default each an object of its own."""
    one, none = np.ones(len(squares)), np.zeros(len(squares), np.uint8)
    of_each = np.arange(len(squares)) if ids is None else np.array(ids)
    zero = np.zeros(len(squares), np.int64)
    return Features(of_each, zero, none, one, one, one, squares, zero, none + np.uint8(NO_OUTCOME))


def draw(
    folder: Path,
    scene: Path,
    classes_hw: NDArray[np.uint8],
    rgb: Imagery,
    labels: LabelSet,
    drawn: Mapping[str, Batches] | None = None,
    rows: Sequence[Shown] = (),
) -> NDArray[np.float64]:
    ref = describe_scene(str(scene), rgb, SceneOptions(resolution="native"))
    folder.mkdir(exist_ok=True)
    mosaic = Mosaic(folder / "mosaic.zarr")
    mosaic.create(ref.grid, labels, probability=False)
    mosaic.write(0, "classes", ref.grid.window, classes_hw)
    empty = features_of(np.empty(0, object))
    layers: dict[str, Batches] = {layer: lambda: [empty] for _, layer in labels.layers}
    every = {**layers, **(drawn or {})}
    write_preview(
        folder / "preview.png", RegionPicture(Region.of(ref, "scene")), ref.grid, rows, mosaic, every, labels
    )
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
    features = features_of(square)
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


def test_things_have_a_colour_each_and_stuff_has_none(
    tmp_path: Path, write_raster: object, rgb: Imagery, labels: LabelSet
) -> None:
    """Of four squares in a row the last two touch, and the first and the third are one object; a hole is left."""
    assert callable(write_raster)
    scene = write_raster(np.full((3, 100, 100), 128, np.uint8), transform=Affine(1, 0, 1000, 0, -1, 2000))
    squares = [shapely.box(1000 + left, 1940, 1020 + left, 1960) for left in (0, 25, 50, 70)]
    squares[1] -= shapely.box(1032, 1946, 1038, 1954)
    features = features_of(shapely.orient_polygons(np.array(squares, object)), [7, 8, 7, 9])
    classes_hw = np.full((100, 100), 2, np.uint8)
    buildings, roads = (layer for _, layer in labels.layers)
    plain_hwc = draw(tmp_path / "plain", scene, classes_hw, rgb, labels)
    of_things_hwc, of_stuff_hwc = (
        draw(tmp_path / layer, scene, classes_hw, rgb, labels, {layer: lambda: [features]})
        for layer in (buildings, roads)
    )
    # The third panel, found by the outlines; a square's middle is its colour.
    row, col = np.nonzero(np.abs(of_stuff_hwc - plain_hwc).max(axis=-1) > 0.2)
    scale = (col.max() - col.min()) / 90

    def at(picture_hwc: NDArray[np.float64], x: float) -> NDArray[np.float64]:
        return picture_hwc[(row.min() + row.max()) // 2, round(col.min() + x * scale)]

    grey = at(plain_hwc, 35)
    first, second, third, fourth = (at(of_things_hwc, x) for x in (10, 28, 60, 80))
    assert np.array_equal(first, third)
    for one, other in ((first, second), (third, fourth), (first, grey), (second, grey), (fourth, grey)):
        assert np.abs(one - other).max() > 0.2
    assert np.array_equal(at(of_things_hwc, 35), grey)
    for x in (10, 28, 60, 80):
        assert np.array_equal(at(of_stuff_hwc, x), grey)


def test_parts_of_the_grid_have_a_row_each(
    tmp_path: Path, write_raster: object, rgb: Imagery, labels: LabelSet
) -> None:
    """Of two clusters far apart each is seen from near, with its own outlines alone."""
    assert callable(write_raster)
    transform = Affine(0.5, 0, 1000, 0, -0.5, 2000)
    scene = write_raster(np.full((3, 1200, 6000), 128, np.uint8), transform=transform)
    classes_hw = np.full((1200, 6000), NODATA_CLASS, np.uint8)
    near, far = Window(0, 0, 512, 512), Window(512, 5120, 512, 512)
    classes_hw[near.slices_in(Window(0, 0, 1200, 6000))] = 0
    classes_hw[far.slices_in(Window(0, 0, 1200, 6000))] = 1
    rows = [Shown(near, "classes/0.tif"), Shown(far, "classes/1.tif")]
    picture_hwc = draw(tmp_path / "both", scene, classes_hw, rgb, labels, rows=rows)
    one_hwc = draw(tmp_path / "one", scene, classes_hw, rgb, labels, rows=rows[:1])
    assert picture_hwc.shape[0] > 1.4 * one_hwc.shape[0]
    half = picture_hwc.shape[0] // 2
    colors = [tuple(value / 255 for value in label.rgb) for label in labels.classes]
    assert share(picture_hwc[:half], colors[0]) > 0.2
    # The edges of letters have all greys.
    assert share(picture_hwc[:half], colors[1]) < 0.001
    assert share(picture_hwc[half:], colors[1]) > 0.2
    # The near cluster's colour is in the legend too.
    assert share(picture_hwc[half:], colors[0]) < 0.01
    # An outline in the far cluster's right half.
    square = shapely.orient_polygons(np.array([shapely.box(3688, 1490, 3816, 1744)], object))
    features = features_of(square)
    layers = {labels.layers[0][1]: lambda: [features]}
    outlined_hwc = draw(tmp_path / "lines", scene, classes_hw, rgb, labels, layers, rows)
    row, col = np.nonzero(np.abs(outlined_hwc - picture_hwc).max(axis=-1) > 0.2)
    assert row.min() > half
    assert col.min() / outlined_hwc.shape[1] == pytest.approx(1 / 3 * 2.5, abs=0.02)


def test_what_is_shown_are_the_groups_that_cover_most() -> None:
    sizes = [3, 9, 1, 9, 2, 7]
    groups = [Group(Window(0, 100 * n, 10, 10), (Window(0, 100 * n, 1, size),)) for n, size in enumerate(sizes)]
    shown = most_covered(groups, [str(number) for number in range(6)])
    assert [row.name for row in shown] == ["0", "1", "3", "5"]
    assert [row.window for row in shown] == [groups[number].box for number in (0, 1, 3, 5)]


def test_a_part_of_a_scene_is_its_own_pixels(write_raster: object, rgb: Imagery) -> None:
    assert callable(write_raster)
    image_chw = np.random.default_rng(0).integers(0, 256, (3, 3100, 3300)).astype(np.uint8)
    ref = describe_scene(str(write_raster(image_chw)), rgb, SceneOptions(resolution="native"))
    window = Window(5, 7, 2090, 2200)
    whole_chw = image_chw[:, *window.slices_in(ref.grid.window)]
    for longest_px in (100, 900, 5000):
        shown_chw, valid_hw = RegionPicture(Region.of(ref, "scene"))(window, longest_px)
        assert max(shown_chw.shape) == min(longest_px, 2200)
        assert valid_hw.all()
        step = window.width / valid_hw.shape[1]
        cols = ((np.arange(valid_hw.shape[1]) + 0.5) * step).astype(int)
        rows = ((np.arange(valid_hw.shape[0]) + 0.5) * (window.height / valid_hw.shape[0])).astype(int)
        assert np.array_equal(shown_chw, whole_chw[:, *np.ix_(rows, cols)])
