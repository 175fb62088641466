"""`geoseg export`: what a finished run left, as other files, without its model and without Ray."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from click.testing import CliRunner, Result
from scipy import ndimage

import geoseg
from geoseg.cli import cli
from geoseg.datasets.panoptic_set import read_coco_panoptic
from geoseg.errors import GeosegError
from geoseg.io.run_folder import RunFolder

FORMATS = ("geojson", "geojsonseq", "gpkg", "fgb", "parquet", "pmtiles")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path) -> Path:
    """A run in every format, whose model is gone."""
    folder = tmp_path_factory.mktemp("exported")
    model = Path(shutil.copytree(tiny_model, folder / "model"))
    geoseg.map_scenes(
        patchwork_scene,
        folder / "run",
        model=model,
        block_size=512,
        local=True,
        formats=FORMATS,
        min_area=0,
        min_hole=0,
    )
    shutil.rmtree(model)
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture(scope="module")
def incomplete(
    tmp_path_factory: pytest.TempPathFactory, write_raster: Callable[..., Path], tiny_model: Path
) -> Path:
    image_chw = np.random.default_rng(1).integers(0, 256, (3, 1100, 300)).astype(np.uint8)
    scene = write_raster(image_chw, tiled=True, interleave="pixel", blockxsize=256, blockysize=256)
    os.truncate(scene, 300_000)
    folder = tmp_path_factory.mktemp("incomplete") / "run"
    run = geoseg.map_scenes(scene, folder, model=tiny_model, block_size=512, local=True, simplify=0)
    assert run.status == "incomplete"
    return folder


def exported(run: Path, kind: str, output: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["export", str(run), "--format", kind, "-o", str(output), *options])


def refused(result: Result) -> str:
    assert isinstance(result.exception, GeosegError)
    assert result.exception.exit_code == 2
    return str(result.exception)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_gets_the_files_of_the_run(finished: Path, tmp_path: Path, kind: str) -> None:
    result = exported(finished, kind, tmp_path)
    assert result.exit_code == 0, result.output
    files = content(tmp_path)
    assert files
    assert files.items() <= content(finished / "layers").items()
    names = {"gpkg": ["geoseg.gpkg"], "pmtiles": ["geoseg.pmtiles"]}
    assert {Path(name).stem for name in files} == {
        Path(name).stem for name in names.get(kind, ["buildings", "roads", "road_lines", "road_nodes"])
    }
    for name in files:
        assert f"wrote    {tmp_path / name}" in result.output


def test_a_file_gets_the_layer_that_is_asked_for(finished: Path, tmp_path: Path) -> None:
    result = exported(finished, "fgb", tmp_path / "streets.fgb", "--layer", "roads")
    assert result.exit_code == 0, result.output
    ours, theirs = (geopandas.read_file(path) for path in (tmp_path / "streets.fgb", finished / "layers/roads.fgb"))
    assert ours.equals(theirs)
    assert {file.name for file in tmp_path.iterdir()} == {"streets.fgb", "streets.qml"}
    assert f"{len(ours)} features" in result.output


def test_one_file_may_hold_some_of_the_layers(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "some.gpkg"
    assert exported(finished, "gpkg", path, "--layer", "roads", "--layer", "roads").exit_code == 0
    assert geopandas.list_layers(path)["name"].tolist() == ["roads", "layer_styles"]


def test_the_class_raster_is_copied(finished: Path, tmp_path: Path) -> None:
    assert exported(finished, "cog", tmp_path / "map.tif").exit_code == 0
    assert exported(finished, "cog", tmp_path).exit_code == 0
    pixels = (finished / "classes.tif").read_bytes()
    assert content(tmp_path) == {"map.tif": pixels, "classes.tif": pixels}


def test_objects_are_numbered_in_a_raster(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "objects.tif"
    assert exported(finished, "instances", path).exit_code == 0
    assert exported(finished, "instances", tmp_path).exit_code == 0
    assert path.read_bytes() == (tmp_path / "instances.tif").read_bytes()
    with rasterio.open(path) as dataset, rasterio.open(finished / "classes.tif") as classes:
        number_hw = dataset.read(1)
        assert (dataset.transform, dataset.crs, dataset.nodata) == (classes.transform, classes.crs, 0)
    ids = geopandas.read_file(finished / "layers" / "buildings.geojson")["id"].to_numpy()
    assert len(ids)
    # A feature's id tells its first pixel, where its number stands: the greater the one, the greater the other.
    numbers = number_hw.reshape(-1)[np.sort(ids) - 1].astype(np.int64)
    assert (np.diff(numbers, prepend=0) > 0).all()
    assert "objects.tif is there already" in refused(exported(finished, "instances", path))


def test_an_export_changes_nothing_in_the_run(run: Path, tmp_path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*")}
    (tmp_path / "out").mkdir()
    for kind in (*FORMATS, "cog", "instances"):
        assert exported(run, kind, tmp_path / "out").exit_code == 0
    assert exported(run, "coco-panoptic", tmp_path / "pictures").exit_code == 0
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*")} == before


def test_neither_ray_nor_the_model_is_loaded(finished: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from geoseg.cli import cli\n"
        "cli(sys.argv[1:], standalone_mode=False)\n"
        "print([name for name in sys.modules if name == 'ray' or name.startswith('geoseg.models.package')])\n"
    )
    command = [sys.executable, "-c", code, "export", str(finished), "--format", "gpkg"]
    command += ["-o", str(tmp_path / "a.gpkg")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert "ray" not in done.stdout
    assert (tmp_path / "a.gpkg").is_file()


def test_a_file_that_is_there_is_replaced_by_force_alone(finished: Path, tmp_path: Path) -> None:
    path = tmp_path / "roads.geojson"
    path.write_text("mine")
    assert "roads.geojson is there already" in refused(exported(finished, "geojson", path, "--layer", "roads"))
    assert path.read_text() == "mine"
    assert exported(finished, "geojson", path, "--layer", "roads", "--force").exit_code == 0
    assert json.loads(path.read_text())["features"]
    path.unlink()
    # The style is the same, so another format may share it; a user's own is not replaced.
    assert exported(finished, "fgb", path.with_suffix(".fgb"), "--layer", "roads").exit_code == 0
    path.with_suffix(".qml").write_text("mine")
    assert "roads.qml is there already" in refused(exported(finished, "geojson", path, "--layer", "roads"))
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "output", "options", "words"),
    [
        (
            "fgb",
            "a.fgb",
            (),
            "a fgb file holds one layer, the run has buildings, roads, road_lines, road_nodes: choose one with",
        ),
        ("fgb", "a.gpkg", ("--layer", "roads"), "expected for --format fgb a file that ends in .fgb"),
        ("cog", "a.png", (), "expected for --format cog a file that ends in .tif or .tiff"),
        (
            "gpkg",
            "a.gpkg",
            ("--layer", "rivers"),
            "expected layers of buildings, roads, road_lines, road_nodes, got rivers",
        ),
        ("cog", "a.tif", ("--layer", "roads"), "a raster has no layers"),
        ("instances", "a.png", (), "expected for --format instances a file that ends in .tif or .tiff"),
        ("cog", "a.tif", ("--tile-size", "512"), "--tile-size is of coco-panoptic: expected none for cog"),
        ("coco-panoptic", "a", ("--layer", "roads"), "panoptic pictures have no layers"),
        ("coco-panoptic", "no/a", (), "expected -o in a folder that exists"),
        ("coco-panoptic", "run/a", (), "lies in the RUN folder"),
        ("coco-panoptic", "run/plan.json", (), "lies in the RUN folder"),
        ("gpkg", "no/a.gpkg", (), "expected -o in a folder that exists"),
        ("gpkg", "run/a.gpkg", (), "lies in the RUN folder"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(
    run: Path, tmp_path: Path, kind: str, output: str, options: tuple[str, ...], words: str
) -> None:
    assert words in refused(exported(run, kind, tmp_path / output, *options))
    assert {file.name for file in tmp_path.iterdir()} == {"run"}


def test_an_incomplete_run_is_exported_with_a_mark_or_refused(incomplete: Path, tmp_path: Path) -> None:
    path = tmp_path / "roads.geojson"
    assert "failed and are nodata" in refused(exported(incomplete, "geojson", path, "--layer", "roads", "--strict"))
    assert not path.exists()
    result = exported(incomplete, "geojson", path, "--layer", "roads")
    assert result.exit_code == 0
    assert "INCOMPLETE: " in result.output
    assert json.loads(path.read_text())["geoseg"]["status"] == "incomplete"
    assert path.read_bytes() == (incomplete / "layers" / "roads.geojson").read_bytes()
    result = exported(incomplete, "coco-panoptic", tmp_path / "pictures")
    assert "INCOMPLETE: " in result.output
    document = json.loads((tmp_path / "pictures" / "panoptic.json").read_text())
    assert document["info"]["geoseg"]["status"] == "incomplete"
    assert "failed and are nodata" in refused(exported(incomplete, "coco-panoptic", tmp_path / "x", "--strict"))
    with pytest.warns(UserWarning, match="INCOMPLETE"):
        assert geoseg.export_run(incomplete, tmp_path / "a.gpkg", "gpkg") == (tmp_path / "a.gpkg",)


@pytest.mark.parametrize("status", ["running", "stopped"])
def test_a_run_that_is_not_finished_is_refused(run: Path, tmp_path: Path, status: str) -> None:
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"status": status}))
    assert f"is {status}: repeat its geoseg map command" in refused(exported(run, "gpkg", tmp_path / "a.gpkg"))


def test_a_run_that_is_worked_on_is_refused(run: Path, tmp_path: Path) -> None:
    with RunFolder(run).owned():
        assert "a process is working on" in refused(exported(run, "gpkg", tmp_path / "a.gpkg"))


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "expected a RUN folder with run.json" in refused(exported(tmp_path, "gpkg", tmp_path / "a.gpkg"))


def lose_features(run: Path) -> None:
    next(run.glob("ledger/features/*/*.npz")).unlink()


def damage_features(run: Path) -> None:
    file = next(run.glob("ledger/features/*/*.npz"))
    file.write_bytes(file.read_bytes()[:-1])


def lose_markers(run: Path) -> None:
    for file in run.glob("ledger/features/*.json"):
        file.unlink()


def lose_all(run: Path) -> None:
    shutil.rmtree(run / "ledger" / "features")


@pytest.mark.parametrize("damage", [lose_features, damage_features, lose_markers, lose_all])
def test_features_that_are_not_whole_are_told(run: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(run)
    words = refused(exported(run, "gpkg", tmp_path / "a.gpkg"))
    assert "missing or damaged: geoseg verify" in words
    assert "--mend" in words
    assert not (tmp_path / "a.gpkg").exists()


def everything(folder: Path) -> dict[str, bytes]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_segments_are_pictures_of_the_whole_run(finished: Path, tmp_path: Path) -> None:
    result = exported(finished, "coco-panoptic", tmp_path / "out", "--tile-size", "400")
    assert result.exit_code == 0, result.output
    run = geoseg.open_run(finished)
    classes_hw = np.asarray(run.array("classes")[:])
    found_hw, objects_hw = np.full(classes_hw.shape, 255), np.zeros(classes_hw.shape, np.uint64)
    for picture in read_coco_panoptic(tmp_path / "out"):
        numbers_hw = picture.read()
        assert picture.window is not None
        at = picture.window.slices_in(run.grid.window)
        for number, segment in picture.segments.items():
            found_hw[at][numbers_hw == number] = run.class_names.index(segment.category)
        objects_hw[at] = picture.object_ids()
    np.testing.assert_array_equal(found_hw, classes_hw)
    # A semantic model's objects are its components; without simplifying, the layer has them all, by the same ids.
    components_hw, count = ndimage.label(classes_hw == 0)
    pairs = np.unique(np.stack((components_hw.reshape(-1), objects_hw.reshape(-1).astype(np.int64))), axis=1)
    assert pairs.shape[1] == count + 1
    buildings = geopandas.read_file(finished / "layers" / "buildings.fgb")
    assert set(buildings["id"]) <= set(pairs[1].tolist())
    assert f"wrote    {tmp_path / 'out' / 'panoptic.json'}  {count} features" in result.output
    assert "r000400_c000400.png" in result.output
    assert {file.name for file in tmp_path.iterdir()} == {"out"}


def test_a_folder_of_segments_is_replaced_by_force_and_only_where_nothing_else_is_lost(
    finished: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    assert exported(finished, "coco-panoptic", folder).exit_code == 0
    before = everything(folder)
    assert set(before) == {"panoptic.json", "panoptic/r000000_c000000.png"}
    assert "holds something already" in refused(exported(finished, "coco-panoptic", folder))
    (folder / "panoptic" / "old.png").touch()
    assert exported(finished, "coco-panoptic", folder, "--force").exit_code == 0
    assert everything(folder) == before
    (folder / "notes.txt").write_text("mine")
    words = refused(exported(finished, "coco-panoptic", folder, "--force"))
    assert "holds notes.txt, which no earlier export wrote" in words
    assert everything(folder) == before | {"notes.txt": b"mine"}
    assert {file.name for file in tmp_path.iterdir()} == {"out"}
    assert geoseg.export_run(finished, tmp_path / "api", "coco-panoptic", tile_size=1000) == (
        tmp_path / "api" / "panoptic.json",
        tmp_path / "api" / "panoptic" / "r000000_c000000.png",
    )


def lose_objects(run: Path) -> None:
    next(run.glob("ledger/objects/*.npz")).unlink()


def lose_marker_of_objects(run: Path) -> None:
    next(run.glob("ledger/objects/*.json")).unlink()


def damage_seams(run: Path) -> None:
    file = next(run.glob("ledger/seams/*.npz"))
    file.write_bytes(file.read_bytes()[:-1])


def lose_seams(run: Path) -> None:
    next(run.glob("ledger/seams/*.json")).unlink()


def lose_a_chunk(run: Path) -> None:
    next(path for path in run.glob("mosaic.zarr/0/classes/c/*/*") if path.is_file()).unlink()


@pytest.mark.parametrize("damage", [lose_objects, lose_marker_of_objects, damage_seams, lose_seams, lose_a_chunk])
def test_segments_of_a_run_that_is_not_whole_are_refused(
    run: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    damage(run)
    words = refused(exported(run, "coco-panoptic", tmp_path / "out"))
    assert re.search("missing( or damaged)?: geoseg verify .* --mend, then repeat", words)
    assert {file.name for file in tmp_path.iterdir()} == {"run"}


def test_a_damaged_raster_is_told(run: Path, tmp_path: Path) -> None:
    (run / "classes.tif").write_bytes(b"no raster")
    assert "classes.tif is missing or damaged" in refused(exported(run, "cog", tmp_path / "a.tif"))
    assert not (tmp_path / "a.tif").exists()


def test_a_plan_that_says_too_little_is_told(run: Path, tmp_path: Path) -> None:
    plan = json.loads((run / "plan.json").read_text())
    (run / "plan.json").write_text(json.dumps({key: value for key, value in plan.items() if key != "labels"}))
    assert "does not say what an export must know" in refused(exported(run, "gpkg", tmp_path / "a.gpkg"))


def test_an_unknown_format_is_refused(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(GeosegError, match=r"expected a format of geojson, .*, instances, coco-panoptic, got shp"):
        geoseg.export_run(finished, tmp_path / "a.shp", "shp")
    assert exported(finished, "shp", tmp_path / "a.shp").exit_code == 2
