"""`geoseg evaluate RUN`: the section of panoptic figures, against rasters of ids, of classes, and polygons."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
import zarr
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from scipy import ndimage
from torchmetrics.functional.detection import panoptic_quality

import geoseg
from geoseg.cli import cli
from geoseg.errors import GeosegError
from geoseg.io.run_folder import RunFolder
from geoseg.work.planned import Planned
from geoseg.work.run_objects import data_blocks, objects_of

WriteRaster = Callable[..., Path]

NAMES = ("building", "road", "other")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, write_raster: WriteRaster, tiny_model: Path) -> Path:
    """A run of several blocks and windows, with objects across their sides, nodata, and small ones left out."""
    patches_chw = np.random.default_rng(3).integers(0, 256, (3, 3, 54)).repeat(20, axis=1).repeat(20, axis=2)
    rows, cols = np.mgrid[:60, :1080]
    scene = write_raster(patches_chw.astype(np.uint8), mask_hw=(rows + cols > 50) & (np.abs(cols - 700) > 8))
    folder = tmp_path_factory.mktemp("scored") / "run"
    geoseg.map_scenes(
        scene, folder, model=tiny_model, local=True, min_area=30, min_hole=0, simplify=0, block_size=512
    )
    return folder


def evaluated(run: Path, *options: object) -> Result:
    return CliRunner().invoke(cli, ["evaluate", str(run), *map(str, options)])


def panoptic(run: Path, *options: object) -> Any:  # noqa: ANN401  # JSON
    result = evaluated(run, "--json", *options)
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)["panoptic"]


def classes_of(run: Path) -> NDArray[np.uint8]:
    with rasterio.open(run / "classes.tif") as dataset:
        return np.asarray(dataset.read(1), np.uint8)


def kept_ids(run: Path) -> NDArray[np.int64]:
    """The buildings (row, column) that are in the layer, by ids that scipy finds on the whole raster."""
    labels_hw, _ = ndimage.label(classes_of(run) == 0)
    labels, first = np.unique(labels_hw, return_index=True)
    ids_hw = np.where(labels == 0, 0, 1 + first)[labels_hw]
    listed = geopandas.read_file(run / "layers/geoseg.gpkg", layer="buildings")["id"]
    return np.where(np.isin(ids_hw, listed), ids_hw, 0)


def id_raster(run: Path, ids_hw: NDArray[Any], write_raster: WriteRaster, **options: object) -> Path:
    with rasterio.open(run / "classes.tif") as dataset:
        return write_raster(ids_hw[None].astype(np.int32), transform=dataset.transform, **options)


def test_objects_have_the_ids_and_pixels_of_the_layer(finished: Path) -> None:
    folder = RunFolder(finished)
    grid = geoseg.open_run(finished).grid
    planned = Planned.of(folder)
    blocks = data_blocks(folder, grid, planned.shapes)
    found = objects_of(folder, grid, planned.labels, blocks, planned.shapes)
    # Roads are no things.
    assert found.things == {0}
    found_hw = found.read(grid.window).astype(np.int64)
    ids_hw = kept_ids(finished)
    assert len(np.unique(ids_hw)) > 10
    # One lies in two blocks and two windows at least.
    assert any(set(ids_hw[:, col - 1]) & set(ids_hw[:, col]) - {0} for col in (512, 1024))
    assert np.array_equal(np.where(np.isin(found_hw, ids_hw), found_hw, 0), ids_hw)


def test_a_run_is_perfect_against_its_own_objects(finished: Path, write_raster: WriteRaster) -> None:
    ids = id_raster(finished, kept_ids(finished), write_raster)
    by_ids = panoptic(finished, "--labels", f"building={ids}")
    figures = by_ids["classes"]["building"]
    assert list(by_ids["classes"]) == ["building"]
    assert [figures[name] for name in ("pq", "sq", "rq", "ap_50", "ap_50_95")] == pytest.approx([1] * 5)
    assert figures["true"] == len(np.unique(kept_ids(finished))) - 1
    assert [figures[name] for name in ("false", "missed", "splits", "merges")] == [0] * 4
    assert (by_ids["map"], by_ids["reference"], by_ids["warnings"]) == ("components", "ids", [])


@pytest.mark.slow
def test_against_its_own_classes_a_run_lacks_small_objects_and_against_its_layers_nothing(finished: Path) -> None:
    # What the layers left out as too small, the classes still hold.
    by_classes = panoptic(finished, "--labels", finished / "classes.tif")
    _, count = ndimage.label(classes_of(finished) == 0)
    listed = len(np.unique(kept_ids(finished))) - 1
    assert by_classes["classes"]["building"]["missed"] == count - listed > 0
    assert by_classes["classes"]["building"]["sq"] == pytest.approx(1)
    assert by_classes["stuff"]["pq"] == 1
    assert "does not tell objects apart" in by_classes["warnings"][0]
    gated = evaluated(finished, "--labels", finished / "classes.tif", "--fail-under", "pq=1")
    assert gated.exit_code == 3
    assert "failed   pq is 0." in gated.output
    assert "warning  " in gated.output
    # The outlines of pixels, drawn again.
    by_layers = panoptic(finished, "--labels", finished / "layers/geoseg.gpkg")
    assert by_layers["classes"]["building"]["pq"] == pytest.approx(1)
    assert by_layers["reference"] == "features"


def test_the_figures_are_those_of_torchmetrics_on_the_whole_raster(
    finished: Path, write_raster: WriteRaster
) -> None:
    """A reference that runs objects together, moves some, and is silent in places."""
    classes_hw, ids_hw = classes_of(finished), kept_ids(finished)
    true_hw = np.roll(np.where(ids_hw > 0, ids_hw // 80 + 1, 0), 1, axis=0)
    silent_hw = np.random.default_rng(1).random((3, 54)).repeat(20, axis=0).repeat(20, axis=1) < 0.2
    raster = id_raster(finished, np.where(silent_hw, -9, true_hw), write_raster, nodata=-9)
    found = panoptic(finished, "--labels", f"building={raster}")["classes"]["building"]
    # Pixels that are of no building are stuff to torchmetrics, which is not asked for.
    nodata_hw = classes_hw == 255

    def pairs(ids: NDArray[Any], void_hw: NDArray[np.bool_]) -> torch.Tensor:
        class_id = np.where(void_hw, 9, np.where(ids > 0, 0, 1))
        return torch.from_numpy(np.stack((class_id, np.where(void_hw, 0, ids)), axis=-1).astype(np.int64)[None])

    # What lies on nodata is void on both sides there; the map's own pixels have data.
    pq, sq, rq = panoptic_quality(
        pairs(ids_hw, nodata_hw),
        pairs(true_hw, silent_hw),
        {0},
        {1},
        allow_unknown_preds_category=True,
        return_sq_and_rq=True,
        return_per_class=True,
    ).tolist()[0]
    assert 0 < found["pq"] < 0.95
    assert [found[name] for name in ("pq", "sq", "rq")] == pytest.approx([pq, sq, rq], abs=1e-6)


def test_an_array_of_instances_is_preferred_to_components(
    finished: Path, tmp_path: Path, write_raster: WriteRaster
) -> None:
    """Instances cut each building in two along a column; only those that the layer lists count."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    ids_hw = kept_ids(finished)
    array = zarr.create_array(
        run / "mosaic.zarr",
        name="0/instances",
        shape=ids_hw.shape,
        chunks=(512, 512),
        dtype="uint64",
        zarr_format=3,
    )
    cut_hw = np.where(np.arange(ids_hw.shape[1]) % 40 < 20, ids_hw, 0)
    array[...] = cut_hw.astype(np.uint64)
    raster = id_raster(finished, cut_hw, write_raster)
    document = panoptic(run, "--labels", f"building={raster}")
    assert document["map"] == "instances"
    assert document["classes"]["building"]["pq"] == 1
    # Asked for, components are those of a run without instances.
    components = panoptic(run, "--labels", f"building={raster}", "--components")
    assert components == panoptic(finished, "--labels", f"building={raster}")
    assert panoptic(finished, "--labels", f"building={raster}")["classes"]["building"]["pq"] < 1


def test_only_objects_mostly_inside_the_area_of_interest_count(
    finished: Path, tmp_path: Path, write_raster: WriteRaster
) -> None:
    ids_hw = kept_ids(finished)
    raster = id_raster(finished, np.zeros_like(ids_hw), write_raster)
    with rasterio.open(finished / "classes.tif") as dataset:
        x, top = dataset.transform @ (0, 0)
        middle, bottom = dataset.transform @ (525, ids_hw.shape[0])
    geopandas.GeoDataFrame(geometry=[shapely.box(x, bottom, middle, top)], crs="EPSG:32640").to_file(
        tmp_path / "aoi.gpkg"
    )
    options = ("--labels", f"building={raster}", "--aoi", tmp_path / "aoi.gpkg")
    figures = panoptic(finished, *options)["classes"]["building"]
    sizes, inside = (
        dict(zip(*np.unique(some, return_counts=True), strict=True)) for some in (ids_hw, ids_hw[:, :525])
    )
    assert figures["false"] == sum(2 * inside.get(one, 0) >= size for one, size in sizes.items() if one)
    assert 0 < figures["false"] < len(sizes) - 1


def test_polygons_that_overlap_are_told_and_touching_ones_stay_apart(finished: Path, tmp_path: Path) -> None:
    with rasterio.open(finished / "classes.tif") as dataset:
        corners = [dataset.transform @ corner for corner in ((300, 30), (310, 40), (304, 30), (318, 40))]
    boxes = [shapely.box(*corners[0], *corners[1]), shapely.box(*corners[2], *corners[3])]
    frame = geopandas.GeoDataFrame({"class": ["building"] * 2}, geometry=boxes, crs="EPSG:32640")
    frame.to_file(tmp_path / "houses.gpkg")
    document = panoptic(finished, "--labels", tmp_path / "houses.gpkg")
    assert document["contested_px"] == 6 * 10
    assert document["warnings"] == ["60 px lie in several objects of the labels: each counts for the last of them"]
    figures = document["classes"]["building"]
    assert figures["true"] + figures["missed"] == 2


def test_the_table_and_the_gates_know_panoptic_figures(finished: Path, write_raster: WriteRaster) -> None:
    labels = ("--labels", f"building={id_raster(finished, kept_ids(finished), write_raster)}")
    gates = ("pq=1", "ap50=0.99", "building.panoptic.rq=1")
    passed = evaluated(finished, *labels, *(word for gate in gates for word in ("--fail-under", gate)))
    assert passed.exit_code == 0, passed.output
    lines = passed.output.splitlines()
    assert any(line.split()[:4] == ["panoptic", "PQ", "SQ", "RQ"] for line in lines)
    assert any(line.split()[:4] == ["things", "1.000", "1.000", "1.000"] for line in lines)
    assert "objects are connected components in the map, ids of a raster in the labels" in lines
    for unknown in ("pqs=1", "building.panoptic.quality_x=1"):
        assert isinstance(evaluated(finished, *labels, "--fail-under", unknown).exception, GeosegError)


def test_objects_that_are_damaged_are_refused(finished: Path, tmp_path: Path, write_raster: WriteRaster) -> None:
    ids_hw = kept_ids(finished)
    good = id_raster(finished, ids_hw, write_raster)
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    next((run / "ledger/seams").glob("*.npz")).write_bytes(b"")
    with pytest.raises(GeosegError, match="are missing or damaged"):
        raise evaluated(run, "--labels", f"building={good}").exception or AssertionError
