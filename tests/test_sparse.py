"""A huge grid with little in it: every stage after the prediction follows what is covered, not the extent."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.transform
import rasterio.warp
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from rio_cogeo.cogeo import cog_validate

import geoseg
from geoseg.errors import GeosegError, RunFolderError
from geoseg.export import export
from geoseg.grid import Grid, Window
from geoseg.groups import Group, groups_apart
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.raster_index import write_index
from geoseg.io.region import Region
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions, lay_blocks
from geoseg.models.package import load_package
from geoseg.objects.thresholds import Thresholds
from geoseg.outcome import MosaicState
from geoseg.pipeline import map_scene, nothing_to_do
from geoseg.plan import RunPlan
from geoseg.predict import Numerics
from geoseg.report.preview import most_covered, write_preview
from geoseg.runner import ItemT, Job, LocalRunner, Unit
from geoseg.tiling import Block, BlockPlan, Lattice
from geoseg.vectorize.cleaning import Cleaning
from geoseg.verify import verify_run
from geoseg.work.class_rasters import (
    RASTER_INDEX,
    WriteGroups,
    group_outputs,
    group_raster,
    indexed_groups,
    keep_rasters,
)
from geoseg.work.features import features_of
from geoseg.work.objects import LabelBlocks, join_seams
from geoseg.work.overviews import ReduceBlocks, level_key, level_windows
from geoseg.work.shaping import shaping
from geoseg.work.whole import Gathering

SIDE_PX = 960_000
GRID = Grid("EPSG:32640", Affine(0.5, 0, 200_000, 0, -0.5, 2_900_000), SIDE_PX, SIDE_PX)
LATTICE = Lattice(512, 128)
DEPENDS = "0" * 64

# Row and column of the first block of a cluster, and which blocks it has from there.
CLUSTERS = {
    (0, 0): [(0, 0), (0, 1), (1, 0)],
    (3, 1700): [(i, j) for i in range(3) for j in range(3)],
    (800, 900): [(i, j) for i in range(4) for j in range(4) if (i, j) != (1, 1)],
    (801, 20): [(0, 0), (1, 1), (2, 2)],
    (1500, 1500): [(0, j) for j in range(7)],
    (1872, 1872): [(0, 0), (1, 2), (2, 2), (0, 1), (1, 1)],
}


def do(job: Job[ItemT], units: list[Unit[ItemT]]) -> None:
    assert [report.error for report in LocalRunner().run(job, units) if report.error] == []


def classes_of(block: Block, seed: int) -> NDArray[np.uint8]:
    """Large patches, of which many reach the block's borders, and a quarter without data."""
    patches_hw = np.random.default_rng(seed).choice(np.array([0, 1, 2, NODATA_CLASS], np.uint8), (8, 8))
    return patches_hw.repeat(64, axis=0).repeat(64, axis=1)[: block.window.height, : block.window.width]


def fill(run: RunFolder[Path], blocks: list[Block]) -> None:
    for seed, block in enumerate(blocks):
        classes_hw = classes_of(block, seed)
        run.mosaic.write(0, "classes", block.window, classes_hw)
        confidence_hw = np.where(classes_hw == NODATA_CLASS, NODATA_CLASS, 127).astype(np.uint8)
        run.mosaic.write(0, "confidence", block.window, confidence_hw)


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    plan = BlockPlan(SIDE_PX, SIDE_PX, LATTICE, CHUNK_PX, (CHUNK_PX, CHUNK_PX))
    return sorted(plan.block(i + di, j + dj) for (i, j), cluster in CLUSTERS.items() for di, dj in cluster)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, blocks: list[Block], labels: LabelSet) -> RunFolder[Path]:
    """All stages from the mosaic on, of blocks that were written straight into it."""
    run = RunFolder(tmp_path_factory.mktemp("sparse") / "run")
    run.path.mkdir()
    run.mosaic.create(GRID, labels, probability=False)
    fill(run, blocks)
    covered = [block.window for block in blocks]
    for level, (height, width) in enumerate(run.mosaic.level_shapes()[1:], 1):
        windows = level_windows(level, height, width, covered)
        do(ReduceBlocks(run, level, DEPENDS), [Unit(level_key(level, window), window) for window in windows])
    groups = groups_apart(covered, SIDE_PX, SIDE_PX)
    assert groups is not None
    numbered = [Unit(str(number), (number, group)) for number, group in enumerate(groups)]
    do(WriteGroups(run, GRID, labels, "abc", DEPENDS), numbered)
    write_index(run.path / RASTER_INDEX, indexed_groups(run, len(groups)), GRID, "abc")
    units = [Unit(block.key, block) for block in blocks]
    do(LabelBlocks(run, GRID, (0, 1), Thresholds(), DEPENDS), units)
    join_seams(run, blocks)
    plan = BlockPlan(SIDE_PX, SIDE_PX, LATTICE, CHUNK_PX, (CHUNK_PX, CHUNK_PX))
    exact = Cleaning((0,) * len(labels), (0,) * len(labels), 0)
    gathering = Gathering(run, GRID, plan.block_px, (0, 1), Thresholds(), exact, DEPENDS)
    for _, job, left in shaping(gathering, plan, blocks):
        do(job, left)
    return run


def groups_of(blocks: list[Block]) -> tuple[Group, ...]:
    groups = groups_apart([block.window for block in blocks], SIDE_PX, SIDE_PX)
    assert groups is not None
    return groups


def test_a_cluster_is_a_group(blocks: list[Block]) -> None:
    groups = groups_of(blocks)
    assert len(groups) == len(CLUSTERS)
    assert [(group.box.row // CHUNK_PX, group.box.col // CHUNK_PX) for group in groups] == list(CLUSTERS)
    assert [len(group.windows) for group in groups] == [len(cluster) for cluster in CLUSTERS.values()]


def test_chunks_are_stored_where_there_is_data_alone(run: RunFolder[Path], blocks: list[Block]) -> None:
    stored = list(run.mosaic.chunk_files())
    levels = len(run.mosaic.level_shapes())
    for name in ("classes", "confidence"):
        for level in range(levels):
            chunks = {
                (i, j)
                for block in blocks
                for i in range(block.window.row >> level, ((block.window.row_stop - 1) >> level) + 1, CHUNK_PX)
                for j in range(block.window.col >> level, ((block.window.col_stop - 1) >> level) + 1, CHUNK_PX)
            }
            expected = {f"{level}/{name}/c/{i // CHUNK_PX}/{j // CHUNK_PX}" for i, j in chunks}
            found = {file for file in stored if file.startswith(f"{level}/{name}/")}
            assert found <= expected
            assert found or not expected
    assert len(stored) <= 2 * levels * len(blocks)
    # Every pixel of the last level that is not nodata stands for one of the blocks.
    top_hw = run.mosaic.read(levels - 1, "classes")
    assert 0 < (top_hw != NODATA_CLASS).sum() <= 4 * len(blocks)


def test_each_group_has_a_cog_of_the_mosaics_pixels_at_their_place(
    run: RunFolder[Path], blocks: list[Block]
) -> None:
    groups = groups_of(blocks)
    assert {file.name for file in (run.path / "classes").iterdir()} == {
        "index.gpkg",
        *(f"{number}.{ending}" for number in range(len(groups)) for ending in ("tif", "qml")),
    }
    index = pyogrio.read_dataframe(run.path / RASTER_INDEX)
    assert index.location.tolist() == [f"{number}.tif" for number in range(len(groups))]
    for number, group in enumerate(groups):
        path = run.path / group_raster(number)
        classes_hw = run.mosaic.read(0, "classes", group.box)
        assert cog_validate(path)[0]
        with rasterio.open(path) as cog:
            assert np.array_equal(cog.read(1), classes_hw)
            assert cog.transform == GRID.transform @ Affine.translation(group.box.col, group.box.row)
            assert cog.tags()["GEOSEG_RUN"] == "abc"
            assert index.geometry[number].bounds == pytest.approx(tuple(cog.bounds), abs=1e-6)
        row = index.iloc[number]
        assert Window(row.row, row.col, row.height, row.width) == group.box
        assert row.valid_px == (classes_hw != NODATA_CLASS).sum()
    assert [(output["path"], output["format"]) for output in group_outputs(run, len(groups))] == [
        (f"classes/{number}.{ending}", kind)
        for number in range(len(groups))
        for ending, kind in (("tif", "cog"), ("qml", "qml"))
    ]


def test_objects_are_those_of_each_group_for_itself(run: RunFolder[Path], blocks: list[Block]) -> None:
    for class_id in (0, 1):
        expected: list[int] = []
        area_px = 0
        for group in groups_of(blocks):
            classes_hw = run.mosaic.read(0, "classes", group.box)
            mask_hw = (classes_hw == class_id).astype(np.uint8)
            shapes = rasterio.features.shapes(mask_hw, mask=mask_hw > 0, connectivity=4)
            for geometry, _ in shapes:
                # The first pixel in raster order is the leftmost of the topmost row.
                col, row = min(geometry["coordinates"][0], key=lambda corner: (corner[1], corner[0]))
                expected.append(1 + (group.box.row + int(row)) * SIDE_PX + group.box.col + int(col))
            area_px += int(mask_hw.sum())
        features = list(features_of(run, DEPENDS, class_id))
        assert [int(number) for part in features for number in part.id] == sorted(expected)
        drawn_m2 = sum(float(polygon.area) for part in features for polygon in part.geometry)
        assert drawn_m2 == pytest.approx(area_px * 0.25)


def test_the_picture_looks_at_groups_alone(
    run: RunFolder[Path], blocks: list[Block], labels: LabelSet, tmp_path: Path
) -> None:
    asked: list[Window] = []

    def picture(window: Window, longest_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        asked.append(window)
        return np.full((3, longest_px, longest_px), 100, np.float32), np.ones((longest_px, longest_px), np.bool_)

    groups = groups_of(blocks)
    layers = {layer: partial(features_of, run, DEPENDS, class_id) for class_id, layer in labels.layers}
    rows = most_covered(groups, [group_raster(number) for number in range(len(groups))])
    write_preview(tmp_path / "preview.png", picture, GRID, rows, run.mosaic, layers, labels)
    assert (tmp_path / "preview.png").stat().st_size > 10_000
    assert asked == [groups[number].box for number in (1, 2, 4, 5)]
    assert [row.name for row in rows] == [f"classes/{number}.tif" for number in (1, 2, 4, 5)]


# A whole run


HEIGHT_PX, WIDTH_PX = 17_000, 16_500
PLACES = [(1, 1), (1, 2), (2, 1), (20, 30), (32, 3), (33, 4)]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> RunPlan:
    scene = tmp_path_factory.mktemp("scene") / "scene.tif"
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": HEIGHT_PX, "width": WIDTH_PX}
    profile |= {"crs": "EPSG:32640", "transform": Affine(1, 0, 320_000, 0, -1, 2_770_000), "nodata": 0}
    with rasterio.open(scene, "w", **profile, tiled=True, sparse_ok=True, compress="deflate") as file:
        for i, j in PLACES:
            window = rasterio.windows.Window(j * CHUNK_PX, i * CHUNK_PX, 100, 100)
            file.write(np.full((3, 100, 100), 90, np.uint8), window=window)
    model = load_package(tiny_model)
    ref = describe_scene(str(scene), model.imagery, SceneOptions())
    return RunPlan(
        region=Region.of(ref, "scene"),
        model_path=str(tiny_model),
        model_name=model.card.name,
        model_identity=model.identity,
        labels=model.labels,
        imagery=model.imagery,
        blocks=lay_blocks(HEIGHT_PX, WIDTH_PX, model, TileOptions(block_px=(CHUNK_PX, CHUNK_PX))),
        probability=False,
        layers=LayerOptions(0, 0),
        numerics=Numerics("cpu", "fp32", 1, 1),
        workers=1,
        worker_bytes=1,
        warnings=(),
    )


def begin(plan: RunPlan, folder: Path, places: list[tuple[int, int]] = PLACES) -> RunFolder[Path]:
    """A run whose mosaic is done, with data in some blocks."""
    run = RunFolder(folder)
    run.path.mkdir()
    run.create_mosaic(lambda mosaic: mosaic.create(plan.region.grid, plan.labels, probability=False))
    blocks = [plan.blocks.block(i, j) for i, j in places]
    fill(run, blocks)
    for block in plan.work:
        chunks = run.mosaic.chunk_hashes(0, ("classes", "confidence"), block.window) if block in blocks else {}
        record = {"valid_px": int(block in blocks), "numerics": plan.numerics.fingerprint(), "chunks": chunks}
        run.ledger("mosaic").commit(block.key, record)
    return run


@pytest.fixture(scope="module")
def finished(plan: RunPlan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = begin(plan, tmp_path_factory.mktemp("whole") / "run")
    assert len(MosaicState.of(run.ledger("mosaic")).with_data) == len(PLACES)
    assert map_scene(plan, run, LocalRunner(), []).status == "complete"
    return run.path


def rasters(folder: Path) -> dict[str, bytes]:
    files = [*folder.glob("classes.tif"), *folder.glob("classes.qml"), *folder.glob("classes/*")]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def test_a_sparse_run_has_rasters_by_group_and_says_so(finished: Path, plan: RunPlan) -> None:
    names = ["classes/0.tif", "classes/1.tif", "classes/2.tif"]
    styles = [f"{name[:-4]}.qml" for name in names]
    assert sorted(rasters(finished)) == sorted([*names, *styles, "classes/index.gpkg"])
    run = geoseg.open_run(finished)
    assert [path.relative_to(finished).as_posix() for path in run.class_rasters] == names
    assert run.class_index == finished / "classes" / "index.gpkg"
    with pytest.raises(RunFolderError, match=r"has 3 class raster\(s\).*class_rasters"):
        run.class_raster  # noqa: B018  # asking is what refuses
    verification = verify_run(finished)
    assert verification.differences == ()
    assert verification.missing_blocks == 0
    assert nothing_to_do(plan, RunFolder(finished))
    assert all(path.exists() for path in RunFolder(finished).results())
    assert finished / "classes" in RunFolder(finished).results()


def test_objects_are_numbered_in_a_raster_of_each_group(finished: Path, tmp_path: Path) -> None:
    written = export(RunFolder(finished), tmp_path, "instances").files
    groups = sorted(path for path in rasters(finished) if path.endswith(".tif"))
    assert [one.path.name for one in written] == [f"instances-{Path(name).name}" for name in groups]
    seen: set[int] = set()
    for one, name in zip(written, groups, strict=True):
        with rasterio.open(one.path) as dataset, rasterio.open(finished / name) as classes:
            assert (dataset.transform, dataset.shape) == (classes.transform, classes.shape)
            number_hw, is_building_hw = dataset.read(1), classes.read(1) == 0
        np.testing.assert_array_equal(number_hw > 0, is_building_hw)
        numbers = set(np.unique(number_hw[number_hw > 0]).tolist())
        assert numbers
        assert not numbers & seen
        seen |= numbers
    assert seen == set(range(1, len(seen) + 1))
    with pytest.raises(GeosegError, match=r"class rasters and an index of them"):
        export(RunFolder(finished), tmp_path / "one.tif", "instances")


def test_its_item_names_each_raster_at_its_place(finished: Path) -> None:
    item = json.loads((finished / "stac" / "item.json").read_text())
    assert item["assets"]["classes-index"]["href"] == "../classes/index.gpkg"
    area = shapely.geometry.shape(item["geometry"])
    for number in range(3):
        asset = item["assets"][f"classes-{number}"]
        with rasterio.open(finished / "stac" / asset["href"]) as cog:
            assert asset["proj:shape"] == list(cog.shape)
            assert asset["proj:transform"] == list(cog.transform)[:6]
            rows, cols = np.nonzero(cog.read(1) != NODATA_CLASS)
            x, y = rasterio.transform.xy(cog.transform, rows, cols)
            lon, lat = rasterio.warp.transform(cog.crs, "EPSG:4326", x, y)
            assert shapely.contains_xy(area, lon, lat).all()


def damage_one(folder: Path) -> None:
    (folder / "classes" / "1.tif").write_bytes(b"no raster")


def lose_one(folder: Path) -> None:
    (folder / "classes" / "2.tif").unlink()


def lose_the_index(folder: Path) -> None:
    (folder / RASTER_INDEX).unlink()


def lose_all(folder: Path) -> None:
    shutil.rmtree(folder / "classes")


def come_from_another_layout(folder: Path) -> None:
    """Markers and rasters of one raster of the whole grid, and of more groups than there are now."""
    shutil.rmtree(folder / "ledger" / "cog")
    (folder / "classes.tif").write_bytes(b"the whole grid")
    (folder / "classes" / "77.tif").write_bytes(b"a group")
    (folder / "classes" / "77.qml").write_bytes(b"its style")
    outputs = [{"path": "classes.tif", "format": "cog", "features": None, "sha256": "0" * 64}]
    RunFolder(folder).ledger("cog").commit("all", {"depends": {"mosaic": "before"}, "outputs": outputs})


@pytest.mark.parametrize("change", [damage_one, lose_one, lose_the_index, lose_all, come_from_another_layout])
def test_what_is_not_as_it_was_is_written_again(
    finished: Path, plan: RunPlan, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    change(run.path)
    kept = {name: (run.path / name).stat().st_mtime_ns for name in rasters(run.path)}
    assert map_scene(plan, run, LocalRunner(), []).status == "complete"
    assert rasters(run.path) == rasters(finished)
    if change in (damage_one, lose_one, lose_the_index):
        again = {name for name in kept if (run.path / name).stat().st_mtime_ns != kept[name]}
        expected = {damage_one: {"classes/1.tif", "classes/1.qml"}, lose_one: {"classes/2.qml"}}
        assert again == expected.get(change, set())
    assert verify_run(run.path).differences == ()


def test_other_layers_leave_the_rasters_alone(finished: Path, plan: RunPlan, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    before = {name: (run.path / name).stat().st_mtime_ns for name in rasters(run.path)}
    preview = (run.path / "preview.png").stat().st_mtime_ns
    map_scene(replace(plan, layers=LayerOptions(50, 0)), run, LocalRunner(), [])
    assert {name: (run.path / name).stat().st_mtime_ns for name in rasters(run.path)} == before
    assert (run.path / "preview.png").stat().st_mtime_ns > preview


def test_a_block_that_is_added_may_join_groups(finished: Path, plan: RunPlan, tmp_path: Path) -> None:
    run = RunFolder(Path(shutil.copytree(finished, tmp_path / "run")))
    bridge = plan.blocks.block(31, 3)
    lonely = plan.blocks.block(0, 30)
    for block in (bridge, lonely):
        run.ledger("mosaic").forget(block.key)
        fill(run, [block])
        chunks = run.mosaic.chunk_hashes(0, ("classes", "confidence"), block.window)
        record = {"valid_px": 1, "numerics": plan.numerics.fingerprint(), "chunks": chunks}
        run.ledger("mosaic").commit(block.key, record)
    map_scene(plan, run, LocalRunner(), [])
    index = pyogrio.read_dataframe(run.path / RASTER_INDEX)
    assert index.location.tolist() == ["0.tif", "1.tif", "2.tif", "3.tif"]
    assert index.row.tolist() == [0, 512, 20 * 512, 31 * 512]
    assert verify_run(run.path).differences == ()


def test_without_any_data_there_is_an_empty_index(plan: RunPlan, tmp_path: Path) -> None:
    run = begin(plan, tmp_path / "run", [])
    assert map_scene(plan, run, LocalRunner(), []).status == "complete"
    assert list(rasters(run.path)) == [RASTER_INDEX]
    assert len(pyogrio.read_dataframe(run.path / RASTER_INDEX)) == 0
    project = ET.parse(run.path / "map.qgs")  # noqa: S314  # our own
    assert "classes" not in [layer.findtext("layername") for layer in project.iterfind(".//maplayer")]


def test_of_an_earlier_layout_nothing_is_left_but_what_is_not_ours(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "classes").mkdir()
    ours = ("classes.tif", "classes.qml", "classes/0.tif", "classes/0.qml", "classes/index.gpkg")
    for name in (*ours, "classes/0.tif.aux.xml"):
        (tmp_path / name).write_bytes(b"")
    run.ledger("cog").commit("0", {"depends": "x", "files": {"classes/0.tif": "0" * 64}})
    run.ledger("cog").commit("all", {"depends": {}, "outputs": [{"path": "classes.tif"}]})
    keep_rasters(run, {"classes.tif"})
    assert run.ledger("cog").done() == {"all"}
    left = {file.relative_to(tmp_path).as_posix() for file in tmp_path.glob("classes*/*")}
    assert left == {"classes/0.tif.aux.xml"}
    assert (tmp_path / "classes.tif").exists()
    assert (tmp_path / "classes.qml").exists()
    (tmp_path / "classes" / "0.tif.aux.xml").unlink()
    keep_rasters(run, {"classes.tif"})
    assert not (tmp_path / "classes").exists()
