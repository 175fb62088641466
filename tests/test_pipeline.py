"""A whole run in a for loop: against the whole-raster answer, twice, interrupted, and with a block that fails."""

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
import zarr
from numpy.typing import NDArray
from plans import plan_of
from pyogrio import read_dataframe
from shapely.geometry import shape

from geoseg.errors import GeosegError, RunFolderError
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions
from geoseg.outcome import Outcome
from geoseg.pipeline import map_scene, nothing_to_do
from geoseg.plan import RunPlan, check_same_run
from geoseg.predict import Numerics
from geoseg.run import open_run
from geoseg.runner import ItemT, Job, LocalRunner, Report, Unit
from geoseg.verify import verify_run
from geoseg.work.predict import PredictBlocks


def planned(
    scene: Path, model_path: Path, *, block_px: int = 512, layers: LayerOptions | None = None, threads: int = 1
) -> RunPlan:
    return plan_of(
        scene,
        model_path,
        tiles=TileOptions(block_px=(block_px, block_px)),
        probability=True,
        layers=layers or LayerOptions(0, 0),
        numerics=Numerics("cpu", "fp32", threads, 1),
    )


def mapped(plan: RunPlan, folder: Path) -> Outcome:
    return map_scene(plan, RunFolder(folder), LocalRunner(), ["geoseg", "map"])


def classes_of(folder: Path) -> NDArray[np.uint8]:
    return np.asarray(zarr.open_array(folder / "mosaic.zarr", path="0/classes", mode="r")[...])


def contents(folder: Path) -> dict[str, bytes]:
    """Everything a user keeps, by relative path; not the records with times in them."""
    kept = [folder / "classes.tif", folder / "preview.png", *(folder / "layers").iterdir()]
    kept += (folder / "stac").iterdir()
    kept += [file for file in (folder / "mosaic.zarr").rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}


class Interrupting(LocalRunner):
    """Stops as Ctrl-C does, after a number of reports."""

    def __init__(self, after: int) -> None:
        self._left = after

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        for report in super().run(job, units):
            yield report
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, patchwork_scene: Path, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("run") / "exact"
    outcome = mapped(planned(patchwork_scene, tiny_model), folder)
    assert outcome.status == "complete"
    return folder


def test_nodata_stays_nodata_everywhere(finished: Path, patchwork_scene: Path) -> None:
    with rasterio.open(patchwork_scene) as scene:
        valid_hw = scene.dataset_mask() > 0
    classes_hw = classes_of(finished)
    assert np.array_equal(classes_hw != NODATA_CLASS, valid_hw)
    for name in ("confidence", "probability"):
        stored = np.asarray(zarr.open_array(finished / "mosaic.zarr", path=f"0/{name}", mode="r")[...])
        assert (stored[..., ~valid_hw] == NODATA_CLASS).all()
        assert (stored[..., valid_hw] != NODATA_CLASS).all()
    with rasterio.open(patchwork_scene) as scene:
        footprint = shapely.union_all(
            [
                shape(s)
                for s, v in rasterio.features.shapes(valid_hw.astype(np.uint8), transform=scene.transform)
                if v
            ]
        )
    for layer in ("buildings", "roads"):
        frame = read_dataframe(finished / "layers" / "geoseg.gpkg", layer=layer)
        assert frame.geometry.within(footprint.buffer(1e-6)).all()


def test_layers_are_those_of_the_whole_raster(finished: Path, labels: LabelSet) -> None:
    classes_hw = classes_of(finished)
    with rasterio.open(finished / "classes.tif") as cog:
        assert np.array_equal(cog.read(1), classes_hw)
        transform, crs = cog.transform, cog.crs
    for class_id, layer in labels.layers:
        whole = [
            shape(geometry)
            for geometry, value in rasterio.features.shapes(classes_hw, connectivity=4, transform=transform)
            if value == class_id
        ]
        frame = read_dataframe(finished / "layers" / "geoseg.gpkg", layer=layer)
        assert frame.crs == crs
        assert len(frame) == len(whole) > 10
        assert np.allclose(sorted(frame.area), sorted(polygon.area for polygon in whole))
        assert frame.is_valid.all()
        first = np.array([np.flatnonzero(classes_hw == class_id)[0] + 1])
        assert frame["id"].min() == first[0]
        web = json.loads((finished / "layers" / f"{layer}.geojson").read_text())
        assert len(web["features"]) == len(frame)
        assert "crs" not in web


def test_confidence_is_the_mean_over_the_feature(finished: Path) -> None:
    confidence_hw = np.asarray(zarr.open_array(finished / "mosaic.zarr", path="0/confidence", mode="r")[...])
    frame = read_dataframe(finished / "layers" / "geoseg.gpkg", layer="buildings")
    with rasterio.open(finished / "classes.tif") as cog:
        for row in frame.sort_values("area_m2").tail(5).itertuples():
            inside_hw = rasterio.features.geometry_mask([row.geometry], cog.shape, cog.transform, invert=True)
            assert row.confidence == pytest.approx(confidence_hw[inside_hw].mean() / 254, abs=1e-4)


def test_block_size_changes_no_byte_of_the_layers(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    other = tmp_path / "run"
    mapped(planned(patchwork_scene, tiny_model, block_px=1024), other)
    assert np.array_equal(classes_of(other), classes_of(finished))
    for layer in (finished / "layers").iterdir():
        assert (other / "layers" / layer.name).read_bytes() == layer.read_bytes(), layer.name


SLOWLY = pytest.mark.slow


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=SLOWLY), 3, *(pytest.param(n, marks=SLOWLY) for n in (5, 7))]
)
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path, after: int
) -> None:
    plan, run = planned(patchwork_scene, tiny_model), RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        map_scene(plan, run, Interrupting(after), [])
    record = run.record()
    assert record is not None
    assert record["status"] == "stopped"
    before = {
        key: (run.ledger("mosaic").folder / f"{key}.json").stat().st_mtime_ns for key in run.ledger("mosaic").done()
    }
    assert len(before) == min(after, len(plan.blocks))
    mapped(plan, run.path)
    for key, written in before.items():
        assert (run.ledger("mosaic").folder / f"{key}.json").stat().st_mtime_ns == written, (
            "a finished block was redone"
        )
    assert contents(run.path) == contents(finished)


def test_the_same_plan_again_has_nothing_to_do(finished: Path, patchwork_scene: Path, tiny_model: Path) -> None:
    plan, run = planned(patchwork_scene, tiny_model), RunFolder(finished)
    assert nothing_to_do(plan, run)
    assert not nothing_to_do(planned(patchwork_scene, tiny_model, layers=LayerOptions(50, 0)), run)


def test_other_layer_options_keep_the_mosaic(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    chunk = next(file for file in (run / "mosaic.zarr" / "0" / "classes" / "c").rglob("*") if file.is_file())
    written = chunk.stat().st_mtime_ns
    mapped(planned(patchwork_scene, tiny_model, layers=LayerOptions(min_area_m2=30.5, simplify_m=0)), run)
    assert chunk.stat().st_mtime_ns == written
    for layer in ("buildings", "roads"):
        exact = read_dataframe(finished / "layers" / "geoseg.gpkg", layer=layer)
        large = read_dataframe(run / "layers" / "geoseg.gpkg", layer=layer)
        assert set(large["id"]) == set(exact["id"][exact["area_m2"] >= 30.5])


def test_a_block_that_cannot_be_read_is_named_and_the_rest_finished(
    tmp_path: Path, write_raster: object, tiny_model: Path
) -> None:
    assert callable(write_raster)
    image_chw = np.random.default_rng(1).integers(0, 256, (3, 75, 5)).repeat(20, axis=1).repeat(20, axis=2)
    scene = write_raster(image_chw.astype(np.uint8))
    whole = scene.read_bytes()
    # The pixels at the end of the file are missing.
    scene.write_bytes(whole[: len(whole) * 2 // 3])
    plan, run = planned(scene, tiny_model), RunFolder(tmp_path / "run")
    outcome = mapped(plan, run.path)
    assert outcome.status == "incomplete"
    assert set(outcome.quarantined) == {"00001-00000", "00002-00000"}
    assert "cut short" in outcome.quarantined["00002-00000"]
    record = run.record()
    assert record is not None
    assert record["status"] == "incomplete"
    assert {entry["block"] for entry in record["blocks"]["quarantined"]} == set(outcome.quarantined)
    assert (classes_of(run.path)[:512] != NODATA_CLASS).all()
    assert (classes_of(run.path)[512:] == NODATA_CLASS).all()


class Refusing(LocalRunner):
    """Reports some blocks of the mosaic as failed, as a cluster does whose storage does not answer for a while."""

    def __init__(self, *keys: str) -> None:
        self._keys = keys

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        real: object = job
        refused = [unit for unit in units if isinstance(real, PredictBlocks) and unit.key in self._keys]
        yield from (Report(unit.key, "OSError: no answer", {}, 3) for unit in refused)
        yield from super().run(job, [unit for unit in units if unit not in refused])


def test_a_later_run_does_just_the_blocks_that_failed(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    plan, run = planned(patchwork_scene, tiny_model), RunFolder(tmp_path / "run")
    outcome = map_scene(plan, run, Refusing("00000-00001"), [])
    assert outcome.quarantined == {"00000-00001": "OSError: no answer"}
    assert (classes_of(run.path)[:512, 512:] == NODATA_CLASS).all()
    markers = {file: file.stat().st_mtime_ns for file in run.ledger("mosaic").folder.glob("*.json")}
    assert mapped(plan, run.path).status == "complete"
    assert all(file.stat().st_mtime_ns == written for file, written in markers.items())
    assert contents(run.path) == contents(finished)


def test_another_run_in_the_folder_is_refused_by_what_differs(
    finished: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    existing = RunFolder(finished).existing_plan()
    assert existing is not None
    check_same_run(existing, planned(patchwork_scene, tiny_model), finished)
    with pytest.raises(RunFolderError, match=r"block_px was \[512, 512\], is \[1024, 1024\]"):
        check_same_run(existing, planned(patchwork_scene, tiny_model, block_px=1024), finished)


def test_other_numerics_do_not_continue_a_run(tmp_path: Path, patchwork_scene: Path, tiny_model: Path) -> None:
    run = RunFolder(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        map_scene(planned(patchwork_scene, tiny_model), run, Interrupting(2), [])
    other = planned(patchwork_scene, tiny_model, threads=2)
    with pytest.raises(RunFolderError, match="threads was 1, is 2"):
        mapped(other, run.path)
    map_scene(other, run, LocalRunner(), [], mixed_numerics=True)
    record = run.record()
    assert record is not None
    assert [(kind["threads"], kind["blocks"]) for kind in record["machine"]["numerics"]] == [(1, 2), (2, 1)]
    # What is finished on several kinds needs no more leave.
    mapped(planned(patchwork_scene, tiny_model, threads=3), run.path)


@pytest.mark.slow
def test_each_stage_is_redone_for_what_it_depends_on_alone(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    run = RunFolder(shutil.copytree(finished, tmp_path / "run"))

    def written() -> dict[str, int]:
        files = [run.path / "classes.tif", *(run.path / "layers").iterdir()]
        files += (run.path / "mosaic.zarr").rglob("c/*/*")
        return {file.relative_to(run.path).as_posix(): file.stat().st_mtime_ns for file in files}

    def redone(layers: LayerOptions) -> tuple[set[str], set[str], set[str]]:
        before = written()
        outcome = mapped(planned(patchwork_scene, tiny_model, layers=layers), run.path)
        after = written()
        assert {output["path"] for output in outcome.outputs} >= set(after) - {
            name for name in after if name.startswith("mosaic.zarr/")
        }
        changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
        return changed, after.keys() - before.keys(), before.keys() - after.keys()

    buildings, roads, lines, nodes = (
        {f"layers/{name}.geojson", f"layers/{name}.qml"}
        for name in ("buildings", "roads", "road_lines", "road_nodes")
    )
    network = lines | nodes
    assert redone(LayerOptions(0, 0)) == (set(), set(), set())
    assert redone(LayerOptions(0, 0, formats=("gpkg",))) == (set(), set(), set())
    assert redone(LayerOptions(0, 0, classes=("road",))) == (
        {*roads, *network, "layers/geoseg.gpkg"},
        set(),
        buildings,
    )
    without = LayerOptions(0, 0, classes=("road",), network=False)
    assert redone(without) == ({*roads, "layers/geoseg.gpkg"}, set(), network)
    assert read_dataframe(run.layers / "geoseg.gpkg", layer="roads").shape[0]
    assert nothing_to_do(planned(patchwork_scene, tiny_model, layers=without), run)
    assert verify_run(run.path).differences == ()
    assert redone(LayerOptions(0, 0, classes=("road",))) == ({*roads, "layers/geoseg.gpkg"}, network, set())
    assert not nothing_to_do(planned(patchwork_scene, tiny_model, layers=without), run)
    assert verify_run(run.path).differences == ()
    assert redone(LayerOptions(5, 0, formats=("gpkg",))) == (
        {"layers/geoseg.gpkg"},
        set(),
        roads | network,
    )
    assert redone(LayerOptions(0, 0)) == ({"layers/geoseg.gpkg"}, buildings | roads | network, set())
    assert contents(run.path) == contents(finished)


def test_another_threshold_keeps_the_mosaic_and_gives_what_a_fresh_run_gives(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    run = RunFolder(shutil.copytree(finished, tmp_path / "run"))
    confidence_hw = run.mosaic.read(0, "confidence", open_run(run.path).grid.window)
    sure = float(np.median(confidence_hw[confidence_hw < NODATA_CLASS]) / 254)
    layers = LayerOptions(0, 0, thresholds=(("road", sure), ("building", 0.0)))
    before = {file: file.stat().st_mtime_ns for file in (run.path / "mosaic.zarr").rglob("*")}
    mapped(planned(patchwork_scene, tiny_model, layers=layers), run.path)
    assert {file: file.stat().st_mtime_ns for file in (run.path / "mosaic.zarr").rglob("*")} == before
    mapped(planned(patchwork_scene, tiny_model, layers=layers), tmp_path / "fresh")
    assert contents(run.path) == contents(tmp_path / "fresh")
    assert contents(run.path) != contents(finished)
    assert open_run(run.path).record.layers.thresholds == {"road": sure}


def test_a_class_that_has_no_layer_is_refused_by_name(patchwork_scene: Path, tiny_model: Path) -> None:
    plan = planned(patchwork_scene, tiny_model, layers=LayerOptions(0, 0, classes=("road", "other")))
    with pytest.raises(GeosegError, match="--classes expects some of building, road, got other"):
        plan.layers_content  # noqa: B018  # asking is what refuses


def test_what_killed_processes_left_is_swept(
    finished: Path, tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    run = RunFolder(shutil.copytree(finished, tmp_path / "run"))
    (run.path / "run.json").unlink()
    leftovers = [
        run.path / ".run.json.77.partial",
        run.path / "mosaic.zarr" / "0" / "classes" / "c" / "0" / "1.abc.partial",
        run.path / "layers" / ".geoseg.gpkg.xyz.partial" / "geoseg.gpkg",
    ]
    for leftover in leftovers:
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_bytes(b"half")
    mapped(planned(patchwork_scene, tiny_model), run.path)
    assert not list(run.path.rglob("*.partial"))
    assert contents(run.path) == contents(finished)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (40, 30), (513, 70)])
def test_small_and_narrow_scenes_are_mapped(
    tmp_path: Path, write_raster: object, tiny_model: Path, height: int, width: int
) -> None:
    assert callable(write_raster)
    image_chw = np.random.default_rng(0).integers(0, 256, (3, height, width)).astype(np.uint8)
    outcome = mapped(planned(write_raster(image_chw), tiny_model), tmp_path / "run")
    assert outcome.status == "complete"
    assert (classes_of(tmp_path / "run") != NODATA_CLASS).all()


def test_a_scene_without_data_gives_empty_layers(tmp_path: Path, write_raster: object, tiny_model: Path) -> None:
    assert callable(write_raster)
    scene = write_raster(np.zeros((3, 90, 90), np.uint8), nodata=0)
    outcome = mapped(planned(scene, tiny_model), tmp_path / "run")
    assert outcome.status == "complete"
    assert (classes_of(tmp_path / "run") == NODATA_CLASS).all()
    assert json.loads((tmp_path / "run" / "layers" / "buildings.geojson").read_text())["features"] == []
