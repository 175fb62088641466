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
from geoseg.io.layers import Features
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.objects.thresholds import Thresholds
from geoseg.runner import LocalRunner, Unit
from geoseg.tiling import BlockPlan, Lattice
from geoseg.vectorize.outlines import PARTS_ABOVE_SIDES
from geoseg.work.features import PlaceFeatures, features_of, owner_keys
from geoseg.work.objects import LabelBlocks, join_seams
from geoseg.work.outlines import TraceBlocks
from geoseg.work.stage_files import StageFiles

SIDE_PX = 1300
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
    min_area_m2: float,
    simplify_m: float,
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
    runner, depends = LocalRunner(), "0" * 64
    units = [Unit(block.key, block) for block in blocks]
    for report in runner.run(LabelBlocks(run, GRID, (0, 1), thresholds, depends), units):
        assert report.error is None
    join_seams(run, blocks)
    StageFiles(run, "outlines", depends).remove_others()
    tracing = TraceBlocks(
        run, GRID, plan, (0, 1), thresholds, min_area_m2, simplify_m, depends, parts_above_sides=parts_above_sides
    )
    for report in runner.run(tracing, units):
        assert report.error is None
    StageFiles(run, "features", depends).remove_others()
    owners = [Unit(key, key) for key in owner_keys(run, depends)]
    for report in runner.run(PlaceFeatures(run, GRID, None if simplify_m else plan.block_px, depends), owners):
        assert report.error is None
    return [Features.concatenate(list(features_of(run, depends, class_id))) for class_id in (0, 1)]


@pytest.fixture(scope="module")
def classes_hw() -> NDArray[np.uint8]:
    return blobs()


@pytest.mark.parametrize("block_px", [512, 1024, 2048])
def test_exact_features_are_those_of_the_whole_raster(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8], block_px: int
) -> None:
    for class_id, found in enumerate(features(tmp_path, labels, classes_hw, block_px, 0, 0)):
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
    found = features(tmp_path, labels, classes_hw, 512, min_area_m2, simplify_m)
    for class_id, (ids, area_m2) in objects.items():
        assert found[class_id].id.tolist() == sorted(ids[area_m2 >= min_area_m2].tolist())
        assert 0 < len(found[class_id]) < len(ids)


def test_simplified_features_are_a_coverage_whatever_the_blocks(
    tmp_path: Path, labels: LabelSet, classes_hw: NDArray[np.uint8]
) -> None:
    one, other = (
        features(tmp_path / str(block_px), labels, classes_hw, block_px, 20, 1.0) for block_px in (512, 2048)
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
    whole = features(tmp_path / "whole", labels, classes_hw, 1024, 20, simplify_m)
    one, other = (
        features(tmp_path / str(block_px), labels, classes_hw, block_px, 20, simplify_m, 600)
        for block_px in (512, 2048)
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
    found = features(
        tmp_path / "a", labels, classes_hw, 512, 20, simplify_m,
        thresholds=Thresholds.of(least), confidence_hw=confidence_hw,
    )  # fmt: skip
    expected = features(tmp_path / "b", labels, without_hw, 1024, 20, simplify_m, confidence_hw=confidence_hw)
    for some, same in zip(found, expected, strict=True):
        assert some.id.tolist() == same.id.tolist()
        assert some.confidence.tolist() == same.confidence.tolist()
        assert shapely.to_wkb(some.geometry).tolist() == shapely.to_wkb(same.geometry).tolist()
