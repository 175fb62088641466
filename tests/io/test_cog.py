from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from geoseg.grid import Grid, Window
from geoseg.io.cog import write_class_cog
from geoseg.io.halving import majority_of_four
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS, LabelSet

TRANSFORM = Affine(0.5, 0, 320000.25, 0, -0.5, 2770000.75)


def clear_majorities(height: int, width: int) -> NDArray[np.uint8]:
    """Random classes in which every 2 x 2 pixels have one winner: three of a class, or one class and nodata."""
    generator = np.random.default_rng(0)
    shape = height // 2, width // 2
    winner_hw, other_hw = generator.integers(0, 3, (2, *shape), dtype=np.uint8)
    nodata_hw = generator.random(shape) < 0.3
    odd_one = generator.integers(0, 4, shape)
    four = np.broadcast_to(winner_hw, (4, *shape)).copy()
    for position in range(4):
        here_hw = odd_one == position
        four[position][here_hw] = other_hw[here_hw]
        four[position][nodata_hw & ~here_hw] = NODATA_CLASS
    four[:, : shape[0] // 4] = NODATA_CLASS
    return four.reshape(2, 2, *shape).transpose(2, 0, 3, 1).reshape(height, width)


def write(folder: Path, classes_hw: NDArray[np.uint8], labels: LabelSet) -> tuple[Path, Grid]:
    grid = Grid("EPSG:32640", TRANSFORM, *classes_hw.shape)
    mosaic = Mosaic(folder / "mosaic.zarr")
    mosaic.create(grid, labels, probability=False)
    mosaic.write(0, "classes", grid.window, classes_hw)
    path = folder / "classes.tif"
    write_class_cog(path, mosaic, grid, labels, "abc123", grid.window, [grid.window])
    return path, grid


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, labels: LabelSet) -> tuple[Path, Grid, NDArray[np.uint8]]:
    # More rows than a strip of the writer, and the last strip no whole one.
    classes_hw = clear_majorities(2100, 700)
    return *write(tmp_path_factory.mktemp("run"), classes_hw, labels), classes_hw


def test_it_is_a_valid_cog(written: tuple[Path, Grid, NDArray[np.uint8]]) -> None:
    valid, errors, warnings = cog_validate(written[0], strict=True)
    assert (valid, errors, warnings) == (True, [], [])


def test_it_holds_the_classes_of_the_mosaic_at_their_place(written: tuple[Path, Grid, NDArray[np.uint8]]) -> None:
    path, grid, classes_hw = written
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), classes_hw)
        np.testing.assert_array_equal(dataset.read_masks(1) == 0, classes_hw == NODATA_CLASS)
        assert dataset.nodata == NODATA_CLASS
        assert dataset.transform == grid.transform
        assert dataset.crs == rasterio.crs.CRS.from_epsg(32640)
        assert (dataset.count, dataset.dtypes) == (1, ("uint8",))


def test_it_carries_colours_names_and_the_run(
    written: tuple[Path, Grid, NDArray[np.uint8]], labels: LabelSet
) -> None:
    with rasterio.open(written[0]) as dataset:
        assert dataset.colorinterp == (ColorInterp.palette,)
        colors = dataset.colormap(1)
        assert [colors[i] for i in range(3)] == [(*label.rgb, 255) for label in labels.classes]
        assert dataset.descriptions == ("class",)
        assert dataset.tags()["GEOSEG_RUN"] == "abc123"
        assert [dataset.tags(1)[f"CLASS_{i}"] for i in range(3)] == list(labels.names)


def test_overviews_are_majorities(written: tuple[Path, Grid, NDArray[np.uint8]]) -> None:
    path, _, classes_hw = written
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4, 8]
    with rasterio.open(path, overview_level=0) as overview:
        np.testing.assert_array_equal(overview.read(1), majority_of_four(classes_hw))


@pytest.mark.parametrize("shape", [(1, 1), (1, 600), (600, 1), (512, 512)])
def test_small_and_narrow_ones_are_valid_too(tmp_path: Path, labels: LabelSet, shape: tuple[int, int]) -> None:
    classes_hw = np.random.default_rng(0).integers(0, 3, shape, dtype=np.uint8)
    path, _ = write(tmp_path, classes_hw, labels)
    valid, errors, warnings = cog_validate(path)
    assert (valid, errors) == (True, [])
    assert not warnings or shape == (600, 1), "only a long column goes without the overviews that are recommended"
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), classes_hw)


def test_a_window_has_its_own_place_and_only_what_is_covered_is_read(tmp_path: Path, labels: LabelSet) -> None:
    classes_hw = np.random.default_rng(0).choice(np.array([0, 1, NODATA_CLASS], np.uint8), (4700, 5300))
    _, grid = write(tmp_path, classes_hw, labels)
    window = Window(512, 1024, 4188, 3072)
    # Parts of 2048 px from the window's corner: one above to the left, one below to the right.
    covered = [Window(512, 1536, 100, 20), Window(4608, 3584, 92, 512), Window(0, 0, 512, 5300)]
    path = tmp_path / "part.tif"
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    valid_px = write_class_cog(path, mosaic, grid, labels, "abc123", window, covered)
    expected_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
    for at in (np.s_[:2048, :2048], np.s_[4096:, 2048:]):
        expected_hw[at] = classes_hw[window.slices_in(grid.window)][at]
    with rasterio.open(path) as dataset:
        np.testing.assert_array_equal(dataset.read(1), expected_hw)
        assert dataset.transform == TRANSFORM @ Affine.translation(1024, 512)
    assert valid_px == (expected_hw != NODATA_CLASS).sum()
    assert cog_validate(path, strict=True)[0]


def test_nothing_but_the_file_is_left_and_writing_again_gives_the_same(tmp_path: Path, labels: LabelSet) -> None:
    classes_hw = np.random.default_rng(0).integers(0, 3, (700, 600), dtype=np.uint8)
    path, grid = write(tmp_path, classes_hw, labels)
    first = path.read_bytes()
    mosaic = Mosaic(tmp_path / "mosaic.zarr")
    write_class_cog(path, mosaic, grid, labels, "abc123", grid.window, [grid.window])
    assert path.read_bytes() == first
    assert sorted(file.name for file in tmp_path.iterdir()) == ["classes.tif", "mosaic.zarr"]
