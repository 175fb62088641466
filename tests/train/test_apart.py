"""Splits that share ground, in different files and CRSs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import Transformer

from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.io.scene import SceneOptions
from geoseg.train.coding import LabelCoding
from geoseg.train.scenes import Source, open_scenes, refuse_overlap

WriteRaster = Callable[..., Path]
CODING = LabelCoding({1: 0, 2: 1})
WEST, NORTH = 320000.0, 2770000.0


def source(
    write_raster: WriteRaster, crs: str | None, transform: Affine | None, split: str, seed: int = 0
) -> Source:
    image_chw = np.random.default_rng(seed).integers(0, 256, (3, 60, 60)).astype(np.uint8)
    place = {"crs": crs, "transform": transform}
    options = SceneOptions(ground_resolution_m=1.0)
    image, labels = write_raster(image_chw, **place), write_raster(np.ones((1, 60, 60), np.uint8), **place)
    return Source(f"{split}{seed}", str(image), str(labels), split, None, options=options)  # type: ignore[arg-type]


@pytest.mark.parametrize("crs", ["EPSG:32640", "EPSG:3857", "EPSG:4326"])
@pytest.mark.parametrize(("start_px", "shared"), [(0, True), (50, True), (60, False), (500, False)])
def test_different_files_must_not_share_ground_whatever_their_crs(
    write_raster: WriteRaster, rgb: Imagery, crs: str, start_px: int, shared: bool
) -> None:
    move = Transformer.from_crs("EPSG:32640", crs, always_xy=True)
    left, top = move.transform(WEST + start_px, NORTH)
    right, bottom = move.transform(WEST + start_px + 60, NORTH - 60)
    two = (
        source(write_raster, "EPSG:32640", Affine(1, 0, WEST, 0, -1, NORTH), "train"),
        source(write_raster, crs, Affine((right - left) / 60, 0, left, 0, (bottom - top) / 60, top), "val"),
    )
    with open_scenes(two, rgb, CODING) as scenes:
        if not shared:
            refuse_overlap(scenes)
            return
        with pytest.raises(ConfigError, match="train and val to be apart on the ground") as refused:
            refuse_overlap(scenes)
    words = str(refused.value)
    assert two[0].image in words
    assert two[1].image in words
    area_m2 = float(words.split("share ")[1].split(" m2", maxsplit=1)[0])
    # The corners of a rectangle in one CRS are those of none in another: a few per cent of so small a one.
    assert area_m2 == pytest.approx(60 * (60 - start_px), rel=0.2)


def test_what_holds_no_data_is_not_shared(write_raster: WriteRaster, rgb: Imagery) -> None:
    halves = []
    for split, columns in (("train", slice(0, 30)), ("test", slice(30, 60))):
        mask_hw = np.zeros((60, 60), np.bool_)
        mask_hw[:, columns] = True
        image = write_raster(np.zeros((3, 60, 60), np.uint8), mask_hw=mask_hw)
        labels = write_raster(np.ones((1, 60, 60), np.uint8))
        halves.append(Source(split, str(image), str(labels), split, None))  # type: ignore[arg-type]
    with open_scenes(halves, rgb, CODING) as scenes:
        refuse_overlap(scenes)
        assert [round(scene.pixels.area) for scene in scenes] == [3600, 3600]


def test_copies_of_a_chip_without_a_place_are_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    chips = [source(write_raster, None, None, split, seed) for split, seed in (("train", 1), ("val", 2))]
    with open_scenes(chips, rgb, CODING) as scenes:
        refuse_overlap(scenes)
    copies = [source(write_raster, None, None, split, 1) for split in ("train", "val")]
    with (
        open_scenes(copies, rgb, CODING) as scenes,
        pytest.raises(ConfigError, match="are the same file; leave one of them out"),
    ):
        refuse_overlap(scenes)
