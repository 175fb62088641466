import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import shapely
import torch
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.evaluate import Evaluation, RegionScore, evaluate
from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.labels import NODATA_CLASS, LabelClass, LabelSet
from geoseg.predict import Numerics, Predictor
from geoseg.tiling import Lattice
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelCoding, Source

WriteRaster = Callable[..., Path]

TWO = LabelSet((LabelClass("dark", "dark", "stuff", "#000000"), LabelClass("light", None, "stuff", "#ffffff")))
CODING = LabelCoding({1: 0, 2: 1, 9: NODATA_CLASS})


def above_100(images_nchw: torch.Tensor) -> torch.Tensor:
    """Class 1 where the first band is above 100: exact, pixel by pixel."""
    return torch.cat([100.5 - images_nchw[:, :1], images_nchw[:, :1] - 100.5], dim=1)


def judge(imagery: Imagery, sources: list[Source], split: str) -> Evaluation:
    predictor = Predictor(above_100, Numerics("cpu", "fp32", 1, 2))
    return evaluate(predictor, imagery, TWO, Lattice(32, 8), sources, CODING, split)


def scene(
    write_raster: WriteRaster,
    seed: int,
    split: Literal["train", "val", "test"],
    shape: tuple[int, int],
    region: Region | None = None,
) -> tuple[Source, NDArray[np.uint8], NDArray[np.uint8]]:
    """A source; its first band; and its true class ids where image and labels are known, else 255."""
    rng = np.random.default_rng(seed)
    image_chw = rng.integers(0, 256, (3, *shape)).astype(np.uint8)
    labels_hw = rng.choice(np.array([0, 1, 2, 9], np.uint8), shape)
    mask_hw = rng.random(shape) < 0.7
    image = write_raster(image_chw, f"{split}{seed}.tif", mask_hw=mask_hw)
    labels = write_raster(labels_hw[None], nodata=0)
    target_hw = np.array([255, 0, 1, *[255] * 7], np.uint8)[labels_hw]
    target_hw[~mask_hw] = 255
    return Source(image.stem, str(image), str(labels), split, region), image_chw[0], target_hw


def test_figures_are_those_of_the_pixels_one_by_one(write_raster: WriteRaster, rgb: Imagery) -> None:
    cases = [scene(write_raster, 0, "val", (50, 90)), scene(write_raster, 1, "val", (33, 40))]
    test_case = scene(write_raster, 2, "test", (20, 20))
    evaluation = judge(rgb, [source for source, _, _ in (*cases, test_case)], "val")
    pooled = Confusion.zero(2)
    for score, (source, red_hw, target_hw) in zip(evaluation.regions, cases, strict=True):
        expected = Confusion.of(target_hw, (red_hw > 100).astype(np.uint8), 2)
        assert score.name == source.name
        assert np.array_equal(score.confusion.counts, expected.counts)
        pooled += expected
    assert np.array_equal(evaluation.pooled.counts, pooled.counts)
    assert evaluation.pooled.pixels > 0


def test_only_the_region_counts(write_raster: WriteRaster, rgb: Imagery) -> None:
    region = Region("EPSG:32640", shapely.box(320010, 2769960, 320050, 2769995))
    source, red_hw, target_hw = scene(write_raster, 3, "test", (60, 80), region)
    target_hw = target_hw[5:40, 10:50]
    expected = Confusion.of(target_hw, (red_hw[5:40, 10:50] > 100).astype(np.uint8), 2)
    assert np.array_equal(judge(rgb, [source], "test").pooled.counts, expected.counts)


def test_the_document_holds_pooled_figures_and_those_of_each_region() -> None:
    one = Confusion(np.array([[6, 2], [2, 0]], np.int64))
    other = Confusion(np.array([[1, 0], [0, 0]], np.int64))
    document = Evaluation("val", TWO, (RegionScore("a", one), RegionScore("b", other))).to_json()
    assert document["split"] == "val"
    assert document["iou"] == {"dark": 7 / 11, "light": 0}
    assert document["miou"] == pytest.approx(3.5 / 11)
    assert document["accuracy"] == 7 / 11
    assert document["pixels"] == 11
    assert document["confusion"] == [[7, 2], [2, 0]]
    assert [region["name"] for region in document["regions"]] == ["a", "b"]
    assert document["regions"][1]["iou"] == {"dark": 1, "light": None}
    assert json.loads(json.dumps(document)) == document


def test_a_split_without_data_is_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    source, _, _ = scene(write_raster, 4, "val", (20, 20))
    with pytest.raises(ConfigError, match="data of split test"):
        judge(rgb, [source], "test")


def test_a_split_without_labels_is_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    source, _, _ = scene(write_raster, 5, "val", (20, 20))
    blank = write_raster(np.zeros((1, 20, 20), np.uint8), nodata=0)
    with pytest.raises(ConfigError, match="found none"):
        judge(rgb, [replace(source, labels=str(blank))], "val")
