"""From heat and offsets to features, block by block: one object, one id, one polygon, whatever the blocks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Grid
from geoseg.io.layers import Features
from geoseg.io.mosaic import NO_OFFSET, OFFSET_STEPS
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.objects.grouping import Grouping, Panoptic
from geoseg.objects.thresholds import Thresholds
from geoseg.runner import Job, LocalRunner, Unit
from geoseg.tiling import Block, BlockPlan, Lattice
from geoseg.vectorize.cleaning import Cleaning
from geoseg.work.features import features_of
from geoseg.work.instances import GatherInstances, InstanceBlocks, PaintInstances
from geoseg.work.objects import LabelBlocks, join_seams
from geoseg.work.shaping import shaping
from geoseg.work.whole import Gathering

SIDE_PX = 1100
GRID = Grid("EPSG:32640", Affine(0.5, 0, 314047, 0, -0.5, 2775758), SIDE_PX, SIDE_PX)
DEPENDS = "0" * 64
EXACT = Cleaning((0, 0), (0, 0), 0)
BUILDING, OTHER, NODATA = 0, 1, 255
HOT = 200


@dataclass
class Town:
    """Buildings, many of which touch, and what a faultless panoptic model says of them.

    Attributes:
        truth_hw: Number of the building that each pixel is of, from 1; 0 for none.
        classes_hw: Their class, and another one around.
        heat_hw: Hot at the middle of each.
        offset_ahw: The way there.
    """

    truth_hw: NDArray[np.int64]
    classes_hw: NDArray[np.uint8]
    heat_hw: NDArray[np.uint8]
    offset_ahw: NDArray[np.int16]

    @classmethod
    def of(cls, truth_hw: NDArray[np.int64]) -> "Town":
        classes_hw = np.where(truth_hw > 0, BUILDING, OTHER).astype(np.uint8)
        heat_hw = np.zeros(truth_hw.shape, np.uint8)
        offset_ahw = np.zeros((2, *truth_hw.shape), np.int16)
        numbers = np.unique(truth_hw[truth_hw > 0])
        for number, at in zip(numbers, ndimage.find_objects(truth_hw), strict=True):
            rows, cols = np.nonzero(truth_hw[at] == number)
            rows, cols = rows + at[0].start, cols + at[1].start
            row, col = rows.mean(), cols.mean()
            heat_hw[round(row), round(col)] = HOT
            offset_ahw[0, rows, cols] = np.round((row - rows) * OFFSET_STEPS)
            offset_ahw[1, rows, cols] = np.round((col - cols) * OFFSET_STEPS)
        return cls(truth_hw, classes_hw, heat_hw, offset_ahw)


def row_houses() -> NDArray[np.int64]:
    """Rows of houses wall to wall over all borders of blocks; a ring; a house in two halves; one pixel."""
    truth_hw = np.zeros((SIDE_PX, SIDE_PX), np.int64)
    number = 0
    for row in range(20, SIDE_PX - 60, 90):
        for col in range(10, SIDE_PX - 40, 23):
            number += 1
            truth_hw[row : row + 30, col : col + 23] = number
            number += 1
            truth_hw[row + 30 : row + 55, col : col + 23] = number
    truth_hw[480:560, 460:560] = 0
    number += 1
    truth_hw[490:530, 490:540] = number  # around a corner of blocks, with a yard
    truth_hw[500:520, 500:530] = 0
    truth_hw[508:511, 508:511] = number + 1  # a shed in the yard, where the ring has its centre, too
    truth_hw[505:514, 512:520] = number + 2
    number += 3
    truth_hw[1000:1080, 480:560] = 0
    truth_hw[1010:1018, 490:530] = truth_hw[1024:1040, 490:530] = number  # a lane between two halves
    truth_hw[1060, 555] = number + 1
    values, dense = np.unique(truth_hw, return_inverse=True)
    assert values[0] == 0
    return dense.reshape(truth_hw.shape).astype(np.int64)


def painted(
    folder: Path, labels: LabelSet, town: Town, block_px: tuple[int, int], cleaning: Cleaning = EXACT
) -> tuple[NDArray[np.uint64], Features]:
    """The instances of a town by way of all stages, and the features of its buildings."""
    run, panoptic = RunFolder(folder), Panoptic((BUILDING,), Grouping(suppress_px=1, reach_px=40, capture_px=4))
    run.mosaic.create(GRID, labels, probability=False, instances=True)
    confidence_hw = np.where(town.classes_hw == NODATA, 255, 127).astype(np.uint8)
    fields: dict[str, NDArray[np.integer[Any]]] = {
        "classes": town.classes_hw,
        "confidence": confidence_hw,
        "heat": town.heat_hw,
    }
    for name, field in {**fields, "offset": town.offset_ahw}.items():
        run.mosaic.write(0, name, GRID.window, field)
    plan, keep, sure = (
        BlockPlan(SIDE_PX, SIDE_PX, Lattice(512, 128), 512, block_px),
        (BUILDING, OTHER),
        Thresholds(),
    )
    at = {block: block.window.slices_in(GRID.window) for block in plan}
    blocks = [block for block in plan if (town.classes_hw[at[block]] != NODATA).any()]
    runner, units = LocalRunner(), [Unit(block.key, block) for block in blocks]

    def do(job: Job[Block]) -> None:
        for report in runner.run(job, units):
            assert report.error is None, report.error

    do(LabelBlocks(run, GRID, keep, sure, DEPENDS, panoptic))
    join_seams(run, blocks)
    of = InstanceBlocks(run, GRID, plan, panoptic, DEPENDS)
    assert of.done("instances") == of.done("painted") == frozenset()
    do(GatherInstances(of))
    do(PaintInstances(of))
    assert of.done("instances") == of.done("painted") == {block.key for block in blocks}
    gathering = Gathering(run, GRID, plan.block_px, keep, sure, cleaning, DEPENDS, panoptic)
    for _, job, left in shaping(gathering, plan, blocks):
        for report in runner.run(job, left):
            assert report.error is None, report.error
    return run.mosaic.read_instances(GRID.window), Features.concatenate(list(features_of(run, DEPENDS, BUILDING)))


@pytest.fixture(scope="module")
def town() -> Town:
    return Town.of(row_houses())


BLOCKS = [(512, 512), (1024, 512), (512, 1536), (1536, 1536)]


@pytest.mark.parametrize("block_px", BLOCKS)
def test_every_building_is_one_object_with_the_id_of_its_first_pixel(
    tmp_path: Path, labels: LabelSet, town: Town, block_px: tuple[int, int]
) -> None:
    instances_hw, found = painted(tmp_path, labels, town, block_px)
    _, first = np.unique(town.truth_hw, return_index=True)
    id_of = np.concatenate(([0], 1 + first[1:])).astype(np.uint64)
    np.testing.assert_array_equal(instances_hw, id_of[town.truth_hw])
    # One polygon each, that of its pixels; of the house in two halves one for each, with the id of both.
    whole = found.part == 0
    assert sorted(found.id[whole].tolist()) == sorted(id_of[1:].tolist())
    assert (~whole).sum() == 1
    shapes = rasterio.features.shapes(town.truth_hw.astype(np.int32), town.truth_hw > 0, 4, GRID.transform)
    expected = sorted(
        (int(id_of[int(number)]), shapely.normalize(shapely.geometry.shape(geometry)).wkb)
        for geometry, number in shapes
    )
    polygons = shapely.to_wkb(shapely.normalize(found.geometry)).tolist()
    assert sorted(zip(found.id.tolist(), polygons, strict=True)) == expected
    np.testing.assert_allclose(found.confidence, 127 / 254 * HOT / 254)


def test_cleaned_outlines_do_not_depend_on_the_blocks(tmp_path: Path, labels: LabelSet, town: Town) -> None:
    cleaning = Cleaning((1.0, 0), (1.0, 0), 0.5, smooth=True, regularize=(BUILDING,))
    one, *others = (painted(tmp_path / f"{i}", labels, town, px, cleaning)[1] for i, px in enumerate(BLOCKS[:2]))
    assert len(one) >= len(np.unique(town.truth_hw)) - 2  # the background, and the pixel that is too small
    for other in others:
        assert one.feature.tolist() == other.feature.tolist()
        assert shapely.to_wkb(one.geometry).tolist() == shapely.to_wkb(other.geometry).tolist()
    overlaps = shapely.STRtree(one.geometry).query(one.geometry, "overlaps")
    assert (shapely.area(shapely.intersection(*one.geometry[overlaps])) < 1e-3).all()


def test_what_no_centre_captures_hangs_together_or_is_apart(tmp_path: Path, labels: LabelSet) -> None:
    truth_hw = np.zeros((SIDE_PX, SIDE_PX), np.int64)
    truth_hw[400:600, 300:800] = 1  # too large: offsets are clipped
    truth_hw[100:110, 100:110] = 2
    town = Town.of(truth_hw)
    town.heat_hw[truth_hw == 2] = 0
    town.classes_hw[:50], town.heat_hw[:50], town.offset_ahw[:, :50] = NODATA, 255, NO_OFFSET
    whole_hw, _ = painted(tmp_path / "whole", labels, town, (1536, 1536))
    instances_hw, found = painted(tmp_path / "blocks", labels, town, (512, 512))
    np.testing.assert_array_equal(instances_hw, whole_hw)
    np.testing.assert_array_equal(instances_hw > 0, town.classes_hw == BUILDING)
    # Around what the centre captures the rest is one object, in as many pieces as hang together.
    large = np.unique(instances_hw[truth_hw == 1])
    assert len(large) == 2
    assert np.unique(instances_hw[truth_hw == 2]).tolist() == [1 + 100 * SIDE_PX + 100]
    least = Grouping().least_heat
    np.testing.assert_allclose(np.unique(found.confidence), 0.5 * np.array([least, HOT]) / 254)
    assert not instances_hw[:50].any()
