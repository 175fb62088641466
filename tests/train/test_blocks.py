"""Splits in blocks of ground: apart by the buffer, whole, and the same every time."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import Transformer
from scipy.spatial import cKDTree

from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.io.regions import region_mask
from geoseg.labels import NODATA_CLASS
from geoseg.train.blocks import BlockRule, divide
from geoseg.train.coding import LabelCoding
from geoseg.train.scenes import LabelledScene, Source, open_scenes, refuse_overlap

WriteRaster = Callable[..., Path]

CODING = LabelCoding({1: 0, 2: 1, 3: NODATA_CLASS})
IMAGERY = Imagery(("red", "green", "blue"), "uint8", (0, 255), (100.0,) * 3, (50.0,) * 3, 8.0)


@pytest.fixture(scope="module")
def neighbours(write_raster: WriteRaster) -> tuple[Source, Source]:
    """Two scenes of 8 m that overlap on the ground: one in UTM, one in Web Mercator, with a corner of no data."""
    rng = np.random.default_rng(0)
    move = Transformer.from_crs("EPSG:32640", "EPSG:3857", always_xy=True)
    x, y = move.transform(320000 + 400, 2770000 - 100)
    places = (
        ("EPSG:32640", Affine(8, 0, 320000, 0, -8, 2770000), (75, 85)),
        ("EPSG:3857", Affine(8.8, 0, x, 0, -8.8, y), (80, 70)),
    )
    sources = []
    for crs, transform, shape in places:
        mask_hw = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) > 20
        image = write_raster(
            rng.integers(0, 256, (3, *shape)).astype(np.uint8), crs=crs, transform=transform, mask_hw=mask_hw
        )
        labels_1hw = rng.integers(1, 3, (1, *shape)).astype(np.uint8)
        labels = write_raster(labels_1hw, "labels.tif", crs=crs, transform=transform)
        sources.append(Source(image.parent.name, str(image), str(labels), "train", None))
    return sources[0], sources[1]


def ground_xy(scene: LabelledScene) -> NDArray[np.float64]:
    """Centres (n, 2) of the labelled pixels of a scene in metres of UTM."""
    labels_hw = scene.labels(scene.grid.window)
    rows, cols = np.nonzero(labels_hw != NODATA_CLASS)
    t = scene.grid.transform
    x, y = t.a * (cols + 0.5) + t.c, t.e * (rows + 0.5) + t.f
    return np.column_stack(Transformer.from_crs(scene.grid.crs, "EPSG:32640", always_xy=True).transform(x, y))


@settings(max_examples=2)
@given(st.integers(0, 2**20), st.sampled_from([0.0, 6.0, 30.0]), st.sampled_from([None, 130.0]))
def test_no_pixel_of_train_lies_within_the_buffer_of_one_that_is_judged(
    neighbours: tuple[Source, Source], seed: int, buffer_m: float, block_m: float | None
) -> None:
    rule = BlockRule(block_m, buffer_m, 0.2, 0.15, seed)
    with open_scenes(neighbours, IMAGERY, CODING) as scenes:
        regions = divide(scenes, rule)
    parts = [
        replace(source, split=split, region=region)
        for source, of_scene in zip(neighbours, regions, strict=True)
        for split, region in of_scene.items()
    ]
    with open_scenes(parts, IMAGERY, CODING) as scenes:
        refuse_overlap(scenes)
        found = {
            split: np.concatenate([ground_xy(scene) for scene in scenes if scene.source.split == split])
            for split in ("train", "val", "test")
        }
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        nearest_m, _ = cKDTree(found[one]).query(found[other])
        assert np.min(nearest_m) >= buffer_m
    total = sum(len(some) for some in found.values())
    assert all(len(some) > 0.02 * total for some in found.values())


def test_without_a_buffer_and_a_test_all_but_the_borders_of_blocks_is_used(
    neighbours: tuple[Source, Source],
) -> None:
    with open_scenes(neighbours[:1], IMAGERY, CODING) as scenes:
        (regions,) = divide(scenes, BlockRule(None, 0.0, 0.2, 0.0, 3))
        assert divide(scenes, BlockRule(None, 0.0, 0.2, 0.0, 3)) == [regions]
        assert divide(scenes, BlockRule(None, 0.0, 0.2, 0.0, 4)) != [regions]
        valid_hw = scenes[0].reader.read_valid(scenes[0].grid.window)
    assert set(regions) == {"train", "val"}
    used_hw = np.zeros(valid_hw.shape, np.int64)
    for region in regions.values():
        with LabelledScene(replace(neighbours[0], region=region), IMAGERY, CODING) as scene:
            used_hw += region_mask(scene.pixels, scene.grid.window)
    assert used_hw.max() == 1
    assert 0.7 < used_hw[valid_hw].mean() < 1


def test_a_rare_class_is_in_every_split(write_raster: WriteRaster) -> None:
    labels_hw = np.ones((240, 240), np.uint8)
    for row, col in ((10, 10), (130, 90), (200, 200), (60, 180)):
        labels_hw[row : row + 24, col : col + 24] = 2
    place = {"transform": Affine(8, 0, 320000, 0, -8, 2770000)}
    image = write_raster(np.zeros((3, 240, 240), np.uint8), **place)
    labels = write_raster(labels_hw[None], "labels.tif", **place)
    source = Source("rare", str(image), str(labels), "train", None)
    with open_scenes([source], IMAGERY, CODING) as scenes:
        (regions,) = divide(scenes, BlockRule(seed=1))
    for region in regions.values():
        with LabelledScene(replace(source, region=region), IMAGERY, CODING) as scene:
            assert set(np.unique(scene.labels(scene.grid.window))) == {0, 1, NODATA_CLASS}


def test_ground_that_is_too_small_or_nowhere_is_refused(neighbours: tuple[Source, Source], tmp_path: Path) -> None:
    with open_scenes(neighbours[:1], IMAGERY, CODING) as scenes:
        with pytest.raises(ConfigError, match=r"nothing is left for .*splits\.block_m"):
            divide(scenes, BlockRule(10000.0, None))
        with pytest.raises(ConfigError, match="at most a million blocks"):
            divide(scenes, BlockRule(0.01, 0.0))
