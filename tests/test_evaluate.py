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
from geoseg.evaluate import Judged, evaluate, evaluate_shared
from geoseg.evaluation import Evaluation, RegionScore
from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.labels import NODATA_CLASS, LabelClass, LabelSet
from geoseg.predict import Numerics, Predictor
from geoseg.tiling import Lattice
from geoseg.train.candidates import Candidates
from geoseg.train.metrics import Confusion
from geoseg.train.metrics.tally import Tally
from geoseg.train.metrics.truth import Truth
from geoseg.train.scenes import LabelCoding, Source

WriteRaster = Callable[..., Path]

TWO = LabelSet((LabelClass("dark", "dark", "stuff", "#000000"), LabelClass("light", None, "stuff", "#ffffff")))
CODING = LabelCoding({1: 0, 2: 1, 9: NODATA_CLASS})


def above_100(images_nchw: torch.Tensor) -> torch.Tensor:
    """Class 1 where the first band is above 100: exact, pixel by pixel."""
    return torch.cat([100.5 - images_nchw[:, :1], images_nchw[:, :1] - 100.5], dim=1)


def judge(imagery: Imagery, sources: list[Source], split: str) -> Evaluation:
    predictor = Predictor(above_100, Numerics("cpu", "fp32", 1, 2))
    return evaluate(Judged(predictor, imagery, TWO, Lattice(32, 8)), sources, CODING, split)


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
        assert np.array_equal(score.tally(2).confusion.counts, expected.counts)
        pooled += expected
    assert np.array_equal(evaluation.pooled.counts, pooled.counts)
    assert evaluation.pooled.pixels > 0


def test_only_the_region_counts(write_raster: WriteRaster, rgb: Imagery) -> None:
    region = Region("EPSG:32640", shapely.box(320010, 2769960, 320050, 2769995))
    source, red_hw, target_hw = scene(write_raster, 3, "test", (60, 80), region)
    target_hw = target_hw[5:40, 10:50]
    expected = Confusion.of(target_hw, (red_hw[5:40, 10:50] > 100).astype(np.uint8), 2)
    assert np.array_equal(judge(rgb, [source], "test").pooled.counts, expected.counts)


@pytest.mark.parametrize("partial", [False, True])
def test_shared_classes_are_judged_each_by_itself(write_raster: WriteRaster, rgb: Imagery, partial: bool) -> None:
    """Labels of three classes, of which a model of four knows two, at other places; oracle: pixel by pixel."""
    rng = np.random.default_rng(7)
    image_chw = rng.integers(0, 256, (3, 60, 70)).astype(np.uint8)
    some = frozenset({1})
    candidates = Candidates.of(3, [some] if partial else [])
    # 1, 2, 3: the three classes; 9: ignored; where only one is labelled, 5: it is another.
    ids = {2: 1, 5: candidates.rest(some)} if partial else {1: 0, 2: 1, 3: 2}
    labels_hw = rng.choice(np.array([*ids, 9], np.uint8), (60, 70))
    files = str(write_raster(image_chw)), str(write_raster(labels_hw[None], nodata=0))
    source = Source("scene", *files, "test", None, some if partial else None)

    def quarters(images_nchw: torch.Tensor) -> torch.Tensor:
        """Class 0 to 3 by the first band's quarter of the range."""
        middles_1k11 = torch.tensor([31.5, 95.5, 159.5, 223.5]).reshape(1, 4, 1, 1)
        return -((images_nchw[:, :1] - middles_1k11) ** 2)

    four = LabelSet(tuple(LabelClass(f"c{n}", None, "stuff", "#000000") for n in range(4)))
    judged = Judged(Predictor(quarters, Numerics("cpu", "fp32", 1, 2)), rgb, four, Lattice(32, 8))
    coding, shared = LabelCoding({**ids, 9: NODATA_CLASS}, candidates), [(2, 0), (1, 3)]
    found = evaluate_shared(judged, [source], coding, "test", shared)
    predicted_hw = image_chw[0] // 64
    for (own, other), iou in zip(shared, found, strict=True):
        # Where another class is known it is known that this one is not there.
        known_hw = (labels_hw == 2) if partial and own == 2 else (labels_hw != 9)
        there_hw, said_hw = (labels_hw == own + 1) & known_hw, (predicted_hw == other) & known_hw
        assert iou == pytest.approx((there_hw & said_hw).sum() / (there_hw | said_hw).sum())


def tally(counts: list[list[int]]) -> Tally:
    return replace(Tally.zero(2), confusion=Confusion(np.array(counts, np.int64)))


def test_the_document_holds_pooled_figures_and_those_of_each_region() -> None:
    one, other = tally([[6, 2], [2, 0]]), tally([[1, 0], [0, 0]])
    document = Evaluation("val", TWO, (RegionScore("a", (one,)), RegionScore("b", (other,)))).to_json()
    assert document["split"] == "val"
    assert document["iou"] == {"dark": 7 / 11, "light": 0}
    assert document["classes"]["dark"]["recall"] == 7 / 9
    assert document["miou"] == pytest.approx(3.5 / 11)
    assert document["accuracy"] == 7 / 11
    assert document["pixels"] == 11
    assert document["confusion"] == [[7, 2], [2, 0]]
    assert [region["name"] for region in document["regions"]] == ["a", "b"]
    assert document["regions"][1]["iou"] == {"dark": 1, "light": None}
    assert document["parameters"]["drawn"] == "squares of 512 px"
    assert document["intervals"]["accuracy"] == pytest.approx((6 / 10, 1), abs=1e-9)
    assert json.loads(json.dumps({**document, "intervals": None})) == {**document, "intervals": None}


def test_from_ten_regions_on_regions_are_drawn() -> None:
    regions = tuple(RegionScore(str(i), (tally([[i, 1], [1, 0]]), tally([[1, 0], [0, 0]]))) for i in range(10))
    said = Evaluation("val", TWO, regions).to_json()["parameters"]
    assert (said["drawn"], said["pieces"]) == ("regions", 10)


def test_squares_add_up_to_the_region_with_its_boundaries(write_raster: WriteRaster, rgb: Imagery) -> None:
    """Squares of 512 px, blocks of 2048: boundaries across both count once, as on the whole raster."""
    rng = np.random.default_rng(1)
    patches = rng.integers(0, 256, (55, 22)).repeat(40, 0).repeat(30, 1)
    image_chw = np.broadcast_to(patches.astype(np.uint8), (3, *patches.shape)).copy()
    labels_hw = np.roll(np.where(patches > 100, 2, 1), 2, 1).astype(np.uint8)
    labels_hw[rng.random(labels_hw.shape) < 0.001] = 9
    source = Source(
        "wide", str(write_raster(image_chw)), str(write_raster(labels_hw[None], nodata=0)), "test", None
    )
    found = judge(rgb, [source], "test").tally
    target_hw = np.array([255, 0, 1, *[255] * 7], np.uint8)[labels_hw]
    predicted_hw = (patches > 100).astype(np.uint8)
    truth = Truth.of_labels(target_hw, Candidates.of(2))
    whole = (slice(0, target_hw.shape[0]), slice(0, target_hw.shape[1]))
    expected = Tally.of(truth, predicted_hw, np.full_like(predicted_hw, 254), whole)
    assert np.array_equal(found.confusion.counts, expected.confusion.counts)
    assert np.array_equal(found.edges.counts, expected.edges.counts)
    assert found.reliability.counts[:, :2].sum(0).tolist() == expected.reliability.counts[:, :2].sum(0).tolist()


def test_where_classes_overlap_each_is_judged_by_itself(write_raster: WriteRaster, rgb: Imagery) -> None:
    source, red_hw, target_hw = scene(write_raster, 6, "test", (40, 60))
    predictor = Predictor(
        lambda images_nchw: torch.cat([images_nchw[:, :1] - 50.5, images_nchw[:, :1] - 100.5], dim=1),
        Numerics("cpu", "fp32", 1, 2),
    )
    judged = Judged(predictor, rgb, TWO, Lattice(32, 8), "sigmoid", overlapping=True)
    decisions = evaluate(judged, [source], CODING, "test").pooled.decisions
    known_hw = target_hw != 255
    for label, above in ((0, 50), (1, 100)):
        there_hw, mapped_hw = known_hw & (target_hw == label), red_hw > above
        expected = [there_hw & mapped_hw, known_hw & ~there_hw & mapped_hw, there_hw & ~mapped_hw]
        assert decisions[label, :3].tolist() == [np.count_nonzero(cell) for cell in expected]


def test_a_split_without_data_is_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    source, _, _ = scene(write_raster, 4, "val", (20, 20))
    with pytest.raises(ConfigError, match="data of split test"):
        judge(rgb, [source], "test")


def test_a_split_without_labels_is_refused(write_raster: WriteRaster, rgb: Imagery) -> None:
    source, _, _ = scene(write_raster, 5, "val", (20, 20))
    blank = write_raster(np.zeros((1, 20, 20), np.uint8), nodata=0)
    with pytest.raises(ConfigError, match="found none"):
        judge(rgb, [replace(source, labels=str(blank))], "val")
