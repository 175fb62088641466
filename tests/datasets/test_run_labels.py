import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer

import geoseg
from geoseg.commands.pseudo_labels import pseudo_labels
from geoseg.datasets.run_labels import RunLabels, confident_labels
from geoseg.errors import ConfigError, RunFolderError
from geoseg.grid import Grid, Window
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.train.pseudo import write_pseudo_labels

REST = 77


@dataclass(frozen=True)
class Finished:
    """A run, and what it says."""

    path: Path
    grid: Grid
    class_names: tuple[str, ...]
    classes_hw: NDArray[np.uint8]
    confidence_hw: NDArray[np.uint8]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, labels: LabelSet) -> Finished:
    """40 x 50 px at 1 m: all of a run that labels are read from."""
    path, rng = tmp_path_factory.mktemp("run_labels"), np.random.default_rng(5)
    grid = Grid("EPSG:32640", Affine(1, 0, 320000, 0, -1, 2770000), 40, 50)
    classes_hw = rng.integers(0, 3, (40, 50)).astype(np.uint8)
    confidence_hw = rng.integers(80, 255, (40, 50)).astype(np.uint8)
    classes_hw[:4], confidence_hw[:4] = NODATA_CLASS, NODATA_CLASS
    mosaic = RunFolder(path).mosaic
    mosaic.create(grid, labels, probability=False)
    mosaic.write(0, "classes", grid.window, classes_hw)
    mosaic.write(0, "confidence", grid.window, confidence_hw)
    content = {"classes": labels.names, "grid": grid.to_json(), "status": "complete"}
    (path / "run.json").write_text(json.dumps(content))
    return Finished(path, grid, labels.names, classes_hw, confidence_hw)


@pytest.mark.slow
def test_a_real_run_gives_its_labels(tmp_path: Path, write_raster: Callable[..., Path], tiny_model: Path) -> None:
    scene = write_raster(np.random.default_rng(5).integers(0, 256, (3, 40, 50)).astype(np.uint8))
    run = geoseg.map_scenes(scene, tmp_path / "run", model=tiny_model, local=True)
    labels = RunLabels(run.path, None, None, {"*": 0.0})
    assert labels.names == run.class_names
    assert labels.grid == run.grid
    assert np.array_equal(labels.read(Window(0, 0, 40, 50)), np.asarray(run.array("classes")[...]))


def sure(run: Finished, least: float) -> NDArray[np.uint8]:
    """From the definition, pixel by pixel."""
    return np.array(
        [
            [NODATA_CLASS if p == NODATA_CLASS or p < round(least * 254) else k for k, p in zip(*row, strict=True)]
            for row in zip(run.classes_hw, run.confidence_hw, strict=True)
        ],
        np.uint8,
    )


def middle(run: Finished) -> float:
    """A confidence that about half of the pixels have."""
    return float(np.median(run.confidence_hw[4:])) / 254


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_a_class_is_believed_from_its_threshold_on(seed: int, least: list[float]) -> None:
    rng = np.random.default_rng(seed)
    classes_hw = rng.integers(0, len(least), (6, 7)).astype(np.uint8)
    confidence_hw = rng.integers(0, 255, (6, 7)).astype(np.uint8)
    missing_hw = rng.random((6, 7)) < 0.2
    classes_hw[missing_hw], confidence_hw[missing_hw] = NODATA_CLASS, NODATA_CLASS
    labels_hw = confident_labels(classes_hw, confidence_hw, np.array(least))
    for label, k, p in zip(labels_hw.flat, classes_hw.flat, confidence_hw.flat, strict=True):
        believed = k != NODATA_CLASS and p >= round(least[k] * 254)
        assert label == (k if believed else NODATA_CLASS)


def test_a_window_is_a_part_of_the_whole(run: Finished) -> None:
    least = middle(run)
    labels = RunLabels(run.path, None, None, {"*": least})
    expected_hw = sure(run, least)
    assert 0 < np.count_nonzero(expected_hw == NODATA_CLASS) < expected_hw.size
    assert np.array_equal(labels.read(Window(0, 0, 40, 50)), expected_hw)
    assert np.array_equal(labels.read(Window(7, 30, 9, 12)), expected_hw[7:16, 30:42])
    beyond_hw = labels.read(Window(-3, 45, 10, 10))
    assert np.array_equal(beyond_hw[3:, :5], expected_hw[:7, 45:])
    assert (beyond_hw[:3] == NODATA_CLASS).all()
    assert (beyond_hw[:, 5:] == NODATA_CLASS).all()


def test_a_finer_grid_and_another_crs_get_the_pixel_that_holds_their_centres(run: Finished) -> None:
    expected_hw = sure(run, 0.0)
    finer = Grid(run.grid.crs, run.grid.transform @ Affine.scale(1 / 3), 120, 150)
    assert np.array_equal(
        RunLabels(run.path, finer, None, {"*": 0}).read(Window(0, 0, 120, 150)),
        expected_hw.repeat(3, 0).repeat(3, 1),
    )
    to_lonlat = Transformer.from_crs(run.grid.crs, "EPSG:4326", always_xy=True)
    west, north = to_lonlat.transform(*(run.grid.transform @ (5, 5)))
    degrees = Grid("EPSG:4326", Affine(1e-5, 0, west, 0, -1e-5, north), 20, 20)
    found_hw = RunLabels(run.path, degrees, None, {"*": 0}).read(Window(0, 0, 20, 20))
    back = Transformer.from_crs("EPSG:4326", run.grid.crs, always_xy=True)
    agreed = 0
    for row in range(20):
        for col in range(20):
            x, y = back.transform(*(degrees.transform @ (col + 0.5, row + 0.5)))
            at_col, at_row = ~run.grid.transform @ (x, y)
            agreed += found_hw[row, col] == expected_hw[int(at_row), int(at_col)]
    assert agreed >= 399  # places are 0.001 px off at most


def test_classes_are_known_by_name_and_what_is_no_class_is_the_rest(run: Finished) -> None:
    first, second, *_ = run.class_names
    labels = RunLabels(run.path, None, {second: 4, "elsewhere": 5}, {"*": 0.0, first: 1.0}, REST)
    assert labels.labelled == {4}
    valid_hw = run.classes_hw != NODATA_CLASS
    sure_hw = valid_hw & ((run.classes_hw != 0) | (run.confidence_hw == 254))
    expected_hw = np.where(sure_hw, np.where(run.classes_hw == 1, 4, REST), NODATA_CLASS)
    assert np.array_equal(labels.read(Window(0, 0, 40, 50)), expected_hw)


def test_the_raster_says_what_the_run_is_sure_of(run: Finished, tmp_path: Path) -> None:
    least, output = middle(run), tmp_path / "labels.tif"
    labels = write_pseudo_labels(run.path, output, {"*": least})
    expected_hw = sure(run, least)
    with rasterio.open(output) as dataset:
        assert np.array_equal(dataset.read(1), expected_hw)
        assert dataset.nodata == NODATA_CLASS
        assert dataset.transform == run.grid.transform
        assert dataset.crs.to_string() == run.grid.crs
    assert labels.pixels == tuple(np.count_nonzero(expected_hw == k) for k in range(len(run.class_names)))
    assert labels.unlabelled == np.count_nonzero(expected_hw == NODATA_CLASS)
    assert labels.values == dict(enumerate(run.class_names))
    with pytest.raises(ConfigError, match="is there already"):
        write_pseudo_labels(run.path, output, {"*": least})


def test_what_cannot_be_is_refused(run: Finished, tmp_path: Path) -> None:
    output = tmp_path / "labels.tif"
    with pytest.raises(ConfigError, match="lower --min-confidence"):
        write_pseudo_labels(run.path, output, {})
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match=r"expected one of .* got 'rood'"):
        write_pseudo_labels(run.path, output, {"rood": 0.5})
    with pytest.raises(ConfigError, match=r"from 0 to 1 for \*, got 90"):
        write_pseudo_labels(run.path, output, {"*": 90})
    with pytest.raises(RunFolderError, match="RUN folder"):
        write_pseudo_labels(tmp_path, output, {"*": 0.5})
    with pytest.raises(ConfigError, match="one of the classes field"):
        RunLabels(run.path, None, {"field": 0}, {"*": 0.5})


def test_the_command_prints_the_entry_to_train_on(run: Finished, tmp_path: Path) -> None:
    output = tmp_path / "labels.tif"
    asked = [str(run.path), "-o", str(output), "--min-confidence", str(middle(run))]
    done = CliRunner().invoke(pseudo_labels, asked, catch_exceptions=False)
    assert done.exit_code == 0
    assert f"labels: {output}, split: train, values: {{" in done.output
    assert output.exists()
