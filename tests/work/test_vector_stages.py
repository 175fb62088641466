"""The stages from a class mosaic to features, block by block, against the whole raster."""

from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from scipy import ndimage

from geoseg.grid import Grid
from geoseg.io.layers import NO_OUTCOME, Features, Outcome
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.objects.thresholds import Thresholds
from geoseg.runner import LocalRunner, Unit
from geoseg.tiling import BlockPlan, Lattice
from geoseg.vectorize.cleaning import Cleaning
from geoseg.vectorize.outlines import PARTS_ABOVE_SIDES
from geoseg.work.features import features_of
from geoseg.work.objects import LabelBlocks, join_seams
from geoseg.work.shaping import clean_up, shaping
from geoseg.work.whole import Gathering

EXACT = Cleaning((0, 0, 0), (0, 0, 0), 0)
LARGE = Cleaning((20, 20, 20), (0, 0, 0), 1)
SIDE_PX = 1300
DEPENDS = "0" * 64
GRID = Grid("EPSG:32640", Affine(0.5, 0, 314047, 0, -0.5, 2775758), SIDE_PX, SIDE_PX)


def blobs() -> NDArray[np.uint8]:
    """Two classes in blobs of all sizes, a line through all blocks, and regions without data."""
    rng = np.random.default_rng(0)
    field_hw = ndimage.gaussian_filter(rng.normal(size=(SIDE_PX, SIDE_PX)), 6)
    classes_hw = np.where(field_hw > 0.03, 0, np.where(field_hw < -0.03, 1, 2)).astype(np.uint8)
    classes_hw[:, 510:514] = 1
    classes_hw[700:702] = 1
    classes_hw[ndimage.gaussian_filter(rng.normal(size=(SIDE_PX, SIDE_PX)), 40) > 0.01] = 255
    return classes_hw


def features(
    folder: Path,
    labels: LabelSet,
    classes_hw: NDArray[np.uint8],
    block_px: int,
    cleaning: Cleaning,
    parts_above_sides: int = PARTS_ABOVE_SIDES,
    thresholds: Thresholds = Thresholds(),  # noqa: B008  # a frozen value
    confidence_hw: NDArray[np.uint8] | None = None,
) -> list[Features]:
    """The features of the classes 0 and 1 by way of all stages."""
    run = RunFolder(folder)
    run.mosaic.create(GRID, labels, probability=False)
    run.mosaic.write(0, "classes", GRID.window, classes_hw)
    if confidence_hw is None:
        confidence_hw = np.where(classes_hw == 255, 255, 127).astype(np.uint8)
    run.mosaic.write(0, "confidence", GRID.window, confidence_hw)
    plan = BlockPlan(SIDE_PX, SIDE_PX, Lattice(512, 128), 512, (block_px, block_px))
    at = {block: block.window.slices_in(GRID.window) for block in plan}
    blocks = [block for block in plan if (classes_hw[at[block]] != 255).any()]
    runner, depends = LocalRunner(), DEPENDS
    units = [Unit(block.key, block) for block in blocks]
    for report in runner.run(LabelBlocks(run, GRID, (0, 1), thresholds, depends), units):
        assert report.error is None
    join_seams(run, blocks)
    gathering = Gathering(
        run, GRID, plan.block_px, (0, 1), thresholds, cleaning, depends, parts_above_sides=parts_above_sides
    )
    for _, job, left in shaping(gathering, plan, blocks):
        for report in runner.run(job, left):
            assert report.error is None, report.error
    return [Features.concatenate(list(features_of(run, depends, class_id))) for class_id in (0, 1)]


@pytest.fixture(scope="module")
def classes_hw() -> NDArray[np.uint8]:
    return blobs()


@pytest.mark.parametrize("block_px", [512, 1024, 2048])
def test_exact_features_are_those_of_the_whole_raster(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8], block_px: int
) -> None:
    for class_id, found in enumerate(features(tmp_path, labels, classes_hw, block_px, EXACT)):
        mask_hw = (classes_hw == class_id).astype(np.uint8)
        shapes = rasterio.features.shapes(mask_hw, mask=mask_hw > 0, connectivity=4, transform=GRID.transform)
        expected = np.array([shapely.geometry.shape(geometry) for geometry, _ in shapes], object)
        assert sorted(shapely.to_wkb(shapely.normalize(found.geometry)).tolist()) == sorted(
            shapely.to_wkb(shapely.normalize(expected)).tolist()
        )
        assert (np.diff(found.id) > 0).all()
        assert (found.confidence == 0.5).all()


@pytest.mark.parametrize("simplify_m", [0, 1.0])
def test_objects_are_dropped_by_their_whole_area_and_keep_their_ids(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8], simplify_m: float
) -> None:
    objects = {}
    for class_id in (0, 1):
        component_hw, _ = ndimage.label(classes_hw == class_id)
        _, first, pixels = np.unique(component_hw, return_index=True, return_counts=True)
        objects[class_id] = 1 + first[1:], pixels[1:] * 0.25
    # A pixel is within 2e-3 of 0.25 m2 there: a threshold in the middle of the widest gap leaves no doubt.
    areas = np.unique(np.concatenate([area_m2 for _, area_m2 in objects.values()]))
    areas = areas[(areas > 100) & (areas < 1000)]
    gap = int(np.diff(areas).argmax())
    min_area_m2 = float(areas[gap : gap + 2].mean())
    assert areas[gap + 1] - areas[gap] > 5e-3 * min_area_m2
    found = features(tmp_path, labels, classes_hw, 512, Cleaning((min_area_m2,) * 3, (0, 0, 0), simplify_m))
    for class_id, (ids, area_m2) in objects.items():
        assert found[class_id].id.tolist() == sorted(ids[area_m2 >= min_area_m2].tolist())
        assert 0 < len(found[class_id]) < len(ids)


def test_simplified_features_are_a_coverage_whatever_the_blocks(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8]
) -> None:
    one, other = (
        features(tmp_path / str(block_px), labels, classes_hw, block_px, LARGE) for block_px in (512, 2048)
    )
    for some, same in zip(one, other, strict=True):
        assert some.id.tolist() == same.id.tolist()
        assert shapely.to_wkb(some.geometry).tolist() == shapely.to_wkb(same.geometry).tolist()
    every = np.concatenate([some.geometry for some in one])
    assert shapely.coverage_is_valid(every)
    assert shapely.is_valid(every).all()


@pytest.mark.parametrize("simplify_m", [0, 1.0])
def test_objects_with_a_long_outline_come_in_parts_that_are_the_whole_whatever_the_blocks(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8], simplify_m: float
) -> None:
    cleaning = Cleaning((20, 20, 20), (0, 0, 0), simplify_m)
    whole = features(tmp_path / "whole", labels, classes_hw, 1024, cleaning)
    one, other = (
        features(tmp_path / str(block_px), labels, classes_hw, block_px, cleaning, 600) for block_px in (512, 2048)
    )
    for expected, some, same in zip(whole, one, other, strict=True):
        assert some.id.tolist() == same.id.tolist()
        assert some.part.tolist() == same.part.tolist()
        assert shapely.to_wkb(some.geometry).tolist() == shapely.to_wkb(same.geometry).tolist()
        assert (expected.part == 0).all()
        assert set(some.id.tolist()) == set(expected.id.tolist())
        large = set(some.id[some.part > 0].tolist())
        assert 0 < len(large) < len(expected)
        assert len(some) > len(expected)
        for number, object_id in enumerate(expected.id.tolist()):
            parts = some.at(some.id == object_id)
            assert len(parts) == 1 or object_id in large
            # In the grid's own coordinates, whose edges of chunks are the same numbers for both sides.
            assert shapely.equals(shapely.union_all(parts.geometry), expected.geometry[number])
            assert parts.area_m2.sum() == pytest.approx(expected.area_m2[number], rel=1e-6)
            assert (parts.confidence == expected.confidence[number]).all()


@pytest.mark.parametrize("simplify_m", [0, 1.0])
def test_pixels_below_a_threshold_are_as_if_they_were_of_a_class_without_a_layer(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8], simplify_m: float
) -> None:
    rng = np.random.default_rng(5)
    probability_hw = np.clip(0.5 + ndimage.gaussian_filter(rng.normal(size=classes_hw.shape), 5) * 4, 0, 1)
    confidence_hw = np.where(classes_hw == 255, 255, np.rint(probability_hw * 254)).astype(np.uint8)
    least = {0: 0.5, 1: 100 / 254}
    is_below_hw = ((classes_hw == 0) & (confidence_hw < 127)) | ((classes_hw == 1) & (confidence_hw < 100))
    assert 0.1 < is_below_hw.mean() < 0.5
    without_hw = np.where(is_below_hw, np.uint8(254), classes_hw)
    cleaning = Cleaning((20, 20, 20), (0, 0, 0), simplify_m)
    found = features(
        tmp_path / "a", labels, classes_hw, 512, cleaning,
        thresholds=Thresholds.of(least), confidence_hw=confidence_hw,
    )  # fmt: skip
    expected = features(tmp_path / "b", labels, without_hw, 1024, cleaning, confidence_hw=confidence_hw)
    for some, same in zip(found, expected, strict=True):
        assert some.id.tolist() == same.id.tolist()
        assert some.confidence.tolist() == same.confidence.tolist()
        assert shapely.to_wkb(some.geometry).tolist() == shapely.to_wkb(same.geometry).tolist()


CLEAN = Cleaning((20, 30, 20), (15, 60, 0), 1, smooth=True, regularize=(0,))


def town() -> NDArray[np.uint8]:
    """Slanted and noisy buildings (0) close to each other and to roads (1), with courtyards and holes in roads."""
    rng = np.random.default_rng(3)
    row, col = np.mgrid[:SIDE_PX, :SIDE_PX].astype(float)
    classes_hw = np.full((SIDE_PX, SIDE_PX), 2, np.uint8)
    classes_hw[(row + 0.3 * col) % 130 < 22] = 1
    for y, x in rng.uniform(0, SIDE_PX, (400, 2)):
        angle, half = rng.uniform(0, np.pi / 2), rng.uniform(6, 26, 2)
        u = (col - x) * np.cos(angle) + (row - y) * np.sin(angle)
        v = (row - y) * np.cos(angle) - (col - x) * np.sin(angle)
        classes_hw[(np.abs(u) < half[0]) & (np.abs(v) < half[1])] = 0
        classes_hw[(np.abs(u) < half[0] / 3) & (np.abs(v) < half[1] / 3)] = 2 if half.max() > 18 else 0
    holes_hw = ndimage.gaussian_filter(rng.normal(size=(SIDE_PX, SIDE_PX)), 2) > 0.2
    classes_hw[holes_hw] = 2
    classes_hw[600:700, 350:420] = 255
    return classes_hw


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory, labels: LabelSet) -> tuple[Path, list[Features]]:
    folder = tmp_path_factory.mktemp("cleaned")
    return folder, features(folder, labels, town(), 512, CLEAN)


def test_cleaned_features_do_not_depend_on_the_blocks(
    tmp_path: Path, labels: LabelSet, cleaned: tuple[Path, list[Features]]
) -> None:
    for some, same in zip(cleaned[1], features(tmp_path, labels, town(), 2048, CLEAN), strict=True):
        assert some.id.tolist() == same.id.tolist()
        assert some.outcome.tolist() == same.outcome.tolist()
        assert shapely.to_wkb(some.geometry).tolist() == shapely.to_wkb(same.geometry).tolist()
    one, other = clean_up(RunFolder(cleaned[0]), DEPENDS), clean_up(RunFolder(tmp_path), DEPENDS)
    assert one.pop("outlines") == other.pop("outlines")
    # What is traced for one block is cut where another begins, and has vertices there.
    del one["vertices_of_pixels"], other["vertices_of_pixels"]
    assert one == pytest.approx(other)


def test_cleaned_features_are_valid_and_overlap_neither_one_another_nor_what_has_no_data(
    cleaned: tuple[Path, list[Features]],
) -> None:
    every = np.concatenate([some.geometry for some in cleaned[1]])
    assert shapely.is_valid(every).all()
    assert (shapely.get_type_id(every) == shapely.GeometryType.POLYGON).all()
    one, other = shapely.STRtree(every).query(every, predicate="intersects")
    common = shapely.area(shapely.intersection(every[one], every[other]))[one < other]
    assert common.max() < 1e-6
    left, top = GRID.transform @ (350, 600)
    right, bottom = GRID.transform @ (420, 700)
    assert shapely.area(shapely.intersection(every, shapely.box(left, bottom, right, top))).max() < 1e-6


def test_every_building_is_regularized_or_says_why_not(cleaned: tuple[Path, list[Features]]) -> None:
    buildings, roads = cleaned[1]
    names = {outcome.name.lower(): int((buildings.outcome == outcome).sum()) for outcome in Outcome}
    assert clean_up(RunFolder(cleaned[0]), DEPENDS)["outlines"] == {name: n for name, n in names.items() if n}
    assert names["regularized"] > len(buildings) / 2
    assert names["unchanged_overlap"] > 0
    assert (roads.outcome == NO_OUTCOME).all()


@pytest.mark.parametrize("with_road", [False, True])
def test_a_block_may_hold_nothing_but_walls(tmp_path: Path, labels: LabelSet, with_road: bool) -> None:
    """Found by a large run: no other object began in a block, and a whole stage had nothing to do."""
    classes_hw = np.full((SIDE_PX, SIDE_PX), 2, np.uint8)
    rows, cols = np.mgrid[:SIDE_PX, :SIDE_PX]
    middles = [(200, 200), (700, 700), (700, 800), (1200, 300)]
    for row, col in middles:
        along, across = 0.9 * (rows - row) + 0.4 * (cols - col), 0.9 * (cols - col) - 0.4 * (rows - row)
        classes_hw[(np.abs(along) < 30) & (np.abs(across) < 18)] = 0
    classes_hw[20:40, :400] = 1 if with_road else 2
    buildings, roads = features(tmp_path, labels, classes_hw, 512, CLEAN)
    assert len(buildings) == len(middles)
    assert (buildings.outcome == Outcome.REGULARIZED).all()
    assert len(roads) == with_road


@pytest.mark.slow
def test_what_cleaning_changed_is_what_the_areas_tell(
    tmp_path: Path, labels: LabelSet, cleaned: tuple[Path, list[Features]]
) -> None:
    exact = Cleaning((0, 0, 0), (0, 0, 0), 0)
    before = features(tmp_path, labels, town(), 1024, exact)
    figures = clean_up(RunFolder(cleaned[0]), DEPENDS)
    small = [some.area_m2 < least for some, least in zip(before, (20, 30), strict=True)]
    assert figures["objects_removed"] == sum(map(np.count_nonzero, small))
    removed_m2 = sum(some.area_m2[gone].sum() for some, gone in zip(before, small, strict=True))
    assert figures["objects_removed_m2"] == pytest.approx(removed_m2, rel=5e-3)
    assert figures["vertices"] < figures["vertices_of_pixels"] / 3
    holes = [shapely.get_num_interior_rings(some.geometry).sum() for some in cleaned[1]]
    assert figures["holes_filled"] > 100 > holes[1]
    assert figures["gaps_m2"] >= figures["parts_removed_m2"]
    assert figures["cut_back_m2"] > 0


def test_a_hole_is_filled_unless_something_kept_or_no_data_lies_in_it(tmp_path: Path, labels: LabelSet) -> None:
    classes_hw = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    classes_hw[500:700, 500:700] = 1
    # Of a class without a layer, across a block's corner; a small building, a large one, no data, and two in one.
    classes_hw[508:516, 508:516] = 2
    classes_hw[540:548, 540:548] = 0
    classes_hw[580:592, 580:592] = 0
    classes_hw[620:628, 620:628], classes_hw[624, 624] = 2, 255
    classes_hw[650:662, 650:662], classes_hw[654:658, 654:658] = 2, 0
    for block_px, simplify_m in ((512, 0), (512, 1), (2048, 0)):
        cleaning = Cleaning((20, 20, 20), (60, 60, 60), simplify_m)
        folder = tmp_path / f"{block_px}-{simplify_m}"
        buildings, [road] = (some.geometry for some in features(folder, labels, classes_hw, block_px, cleaning))
        assert len(buildings) == 1
        holes = shapely.polygons(shapely.get_rings(road)[1:])
        assert sorted(shapely.area(holes).tolist()) == [16, 36]
        filled = clean_up(RunFolder(folder), DEPENDS)
        assert filled["holes_filled"] == 3
        assert filled["holes_filled_m2"] == pytest.approx(16 + 16 + 36, rel=5e-3)
