"""The stages from objects to a network, block by block, and its layers in every format."""

from pathlib import Path
from typing import get_args

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Grid
from geoseg.io.layers import LINES, NODES, Batches, Lines, Nodes, Source
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.layering import LayerFormat
from geoseg.objects.thresholds import Thresholds
from geoseg.runner import LocalRunner, Unit
from geoseg.tiling import BlockPlan, Lattice
from geoseg.work.layer_files import LayerSet, write_layers
from geoseg.work.network import CutBlocks, JoinBlocks, MaskBlocks, NetworkBlocks, ThinBlocks, lines_of, nodes_of
from geoseg.work.objects import LabelBlocks, join_seams

SIDE_PX = 1100
GRID = Grid("EPSG:32640", Affine(1, 0, 314047, 0, -1, 2775758), SIDE_PX, SIDE_PX)
DEPENDS = "0" * 64
SOURCE = Source("ab" * 32, (("scene", None),))


@pytest.fixture(scope="module")
def classes_hw() -> NDArray[np.uint8]:
    """Roads (1) over the borders of blocks of 512 px, a short one, one that is not sure, and nodata."""
    classes_hw = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    classes_hw[509:516] = 1
    classes_hw[:, 300:307] = 1
    classes_hw[20:1000, 508:516] = 1
    classes_hw[700:702, 700:712] = 1
    classes_hw[800:1090, 800:1090] = 255
    return classes_hw


def network(
    folder: Path, labels: LabelSet, classes_hw: NDArray[np.uint8], block_px: int, min_area_m2: float
) -> tuple[Lines, Nodes, RunFolder]:
    """Lines and nodes by way of all stages, blocks in any order."""
    run = RunFolder(folder)
    run.mosaic.create(GRID, labels, probability=False)
    run.mosaic.write(0, "classes", GRID.window, classes_hw)
    confidence_hw = np.where(classes_hw == 255, 255, 127).astype(np.uint8)
    confidence_hw[200:204, 300:307] = 100
    run.mosaic.write(0, "confidence", GRID.window, confidence_hw)
    plan = BlockPlan(SIDE_PX, SIDE_PX, Lattice(512, 128), 512, (block_px, block_px))
    units = [Unit(block.key, block) for block in plan]
    runner, sure = LocalRunner(), Thresholds.of({1: 0.45})
    for report in runner.run(LabelBlocks(run, GRID, (0, 1), sure, DEPENDS), units):
        assert report.error is None
    join_seams(run, list(plan))
    units = [units[k] for k in np.random.default_rng(block_px).permutation(len(units))]
    of = NetworkBlocks(run, GRID, plan, DEPENDS)
    stages = (
        ("roads", MaskBlocks(of, 1, (0, 1), sure, min_area_m2)),
        ("skeleton", ThinBlocks(of)),
        ("pieces", CutBlocks(of)),
        ("network", JoinBlocks(of, 1)),
    )
    for stage, job in stages:
        of.files(stage).remove_others()
        for report in runner.run(job, units):
            assert report.error is None
        assert run.ledger(stage).done() == {unit.key for unit in units}
    lines, nodes = Lines.concatenate(list(lines_of(run, DEPENDS))), Nodes.concatenate(list(nodes_of(run, DEPENDS)))
    return lines, nodes, run


def test_a_network_does_not_depend_on_blocks(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8]
) -> None:
    (lines, nodes, _), (same, same_nodes, _) = (
        network(tmp_path / str(block_px), labels, classes_hw, block_px, 30) for block_px in (512, 2048)
    )
    for one, other in ((lines, same), (nodes, same_nodes)):
        assert (np.diff(one.id) > 0).all()
        assert one.id.tolist() == other.id.tolist()
        assert shapely.to_wkb(one.geometry).tolist() == shapely.to_wkb(other.geometry).tolist()
    assert lines.length_m.tolist() == same.length_m.tolist()
    assert lines.width_m.tolist() == same.width_m.tolist()
    # Two crossings; four ends at the grid's edges, two of the road within it. What is not sure is a gap of 4 px.
    assert sorted(nodes.degree.tolist()) == [1, 1, 1, 1, 1, 1, 4, 4]
    assert len(lines) == 7


def test_roads_below_the_least_area_are_left_out(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8]
) -> None:
    lines, _, _ = network(tmp_path, labels, classes_hw, 512, 0)
    fewer, _, _ = network(tmp_path / "fewer", labels, classes_hw, 512, 30)
    short = shapely.box(314747, 2775050, 314760, 2775065)
    assert shapely.intersects(lines.geometry, short).sum() == 1
    assert not shapely.intersects(fewer.geometry, short).any()


@pytest.fixture(scope="module")
def found(
    tmp_path_factory: pytest.TempPathFactory, labels: LabelSet, classes_hw: NDArray[np.uint8]
) -> tuple[Lines, Nodes]:
    return network(tmp_path_factory.mktemp("network"), labels, classes_hw, 2048, 30)[:2]


@pytest.mark.parametrize("kind", get_args(LayerFormat))
def test_lines_and_nodes_come_back_from_every_format(
    tmp_path: Path, labels: LabelSet, found: tuple[Lines, Nodes], kind: LayerFormat
) -> None:
    lines, nodes = found
    layers: dict[str, Batches] = {"road_lines": lambda: [lines], "road_nodes": lambda: [nodes]}
    files = write_layers(kind, tmp_path, LayerSet(layers, labels, GRID, SOURCE))
    assert sum(one.features or 0 for one in files) == len(lines) + len(nodes)
    if kind == "pmtiles":
        return
    for name, rows, table, shape in (
        ("road_lines", lines, LINES, "LineString"),
        ("road_nodes", nodes, NODES, "Point"),
    ):
        path = next(one.path for one in files if one.path.stem in (name, "geoseg"))
        if kind == "parquet":
            read = geopandas.read_parquet(path)
        else:
            read = geopandas.read_file(path, layer=name if kind == "gpkg" else None)
            assert pyogrio.read_info(path, layer=name if kind == "gpkg" else None)["geometry_type"] == shape
        read = read.sort_values("id")
        assert [*read.columns] == [*table.schema.names, "geometry"]
        assert read["id"].tolist() == rows.id.tolist()
        assert set(read.geometry.geom_type) == {shape}
        assert set(read["run"]) == {SOURCE.run}
        if isinstance(rows, Lines):
            assert read["start"].tolist() == rows.start.tolist()
            assert read["length_m"].tolist() == np.round(rows.length_m, 2).tolist()
            assert set(read["class"]) == {"road"}
        else:
            assert read["degree"].tolist() == rows.degree.tolist()
        placed = read.geometry.to_crs(GRID.crs).to_numpy()
        assert shapely.hausdorff_distance(placed, rows.geometry).max() < 0.02


def test_empty_networks_have_their_columns(tmp_path: Path, labels: LabelSet, found: tuple[Lines, Nodes]) -> None:
    none = found[0].at(np.zeros(len(found[0]), bool))
    files = write_layers("gpkg", tmp_path, LayerSet({"road_lines": lambda: [none]}, labels, GRID, SOURCE))
    info = pyogrio.read_info(files[0].path, layer="road_lines")
    assert info["geometry_type"] == "LineString"
    assert [*info["fields"]] == LINES.schema.names
