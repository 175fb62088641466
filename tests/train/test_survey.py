from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.labels import LabelClass, LabelSet
from geoseg.train.scenes import LabelCoding, Source
from geoseg.train.survey import sound_sources, survey

WriteScene = Callable[..., Source]

TWO = LabelSet((LabelClass("dark", "dark", "stuff", "#000000"), LabelClass("light", None, "stuff", "#ffffff")))
CODING = LabelCoding({1: 0, 2: 1, 9: 255})


@pytest.fixture
def pair(write_scene: WriteScene) -> tuple[Source, Source]:
    """A scene of each of train and val, apart, with labels 0 (nodata), 1, 2 and 9 (ignored)."""
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, 1100, 60)).astype(np.uint8)
    labels_hw = rng.choice(np.array([0, 1, 2, 9], np.uint8), (1100, 60))
    valid_hw = rng.random((1100, 60)) < 0.8
    left = Region("EPSG:32640", shapely.box(320000, 2768900, 320030, 2770000))
    right = Region("EPSG:32640", shapely.box(320030, 2768900, 320060, 2770000))
    source = write_scene("scene", image_chw, labels_hw, valid_hw, "train", left)
    return source, replace(source, split="val", region=right)


def test_pixels_are_counted_as_on_the_whole_raster(pair: tuple[Source, Source], imagery: Imagery) -> None:
    found = survey(pair, imagery, CODING, TWO)
    assert found.problems == ()
    assert found.splits == ("train", "val")
    with rasterio.open(pair[0].image) as image, rasterio.open(str(pair[0].labels)) as labels:
        valid_hw, values_hw = image.dataset_mask() > 0, labels.read(1)
    for scene, cols in zip(found.scenes, (slice(0, 30), slice(30, 60)), strict=True):
        expected = [np.count_nonzero((values_hw[:, cols] == value) & valid_hw[:, cols]) for value in (1, 2)]
        assert scene.of_classes(2).tolist() == expected == found.of_split(scene.split).tolist()
        assert scene.data_px == np.count_nonzero(valid_hw[:, cols]) == scene.counts_v.sum()
        assert scene.shape == (1100, 60)
        assert scene.resolution_m == pytest.approx((1, 1), rel=0.01)


def wrong_value(source: Source) -> None:
    with rasterio.open(str(source.labels), "r+") as labels:
        labels.write(np.array([[[7]]], np.uint8), window=((1090, 1091), (3, 4)))


def other_place(source: Source) -> None:
    with rasterio.open(str(source.labels), "r+") as labels:
        labels.transform = Affine(1, 0, 420000, 0, -1, 2770000)


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        (wrong_value, "scene (train), rows 1024 to 1100, columns 0 to 60", "label value 7"),
        (other_place, "scene (train)", ""),
    ],
)
def test_what_cannot_be_used_is_named_with_its_place(
    damage: Callable[[Source], None], where: str, what: str, pair: tuple[Source, Source], imagery: Imagery
) -> None:
    damage(pair[0])
    problems = survey(pair[:1], imagery, CODING, TWO).problems
    assert any(one.refused and one.where.startswith(where) and what in one.what for one in problems)


def test_pixels_that_cannot_be_read_are_named(write_scene: WriteScene, imagery: Imagery) -> None:
    rng = np.random.default_rng(0)
    image_chw = rng.integers(0, 256, (3, 1500, 40)).astype(np.uint8)
    source = write_scene("cut", image_chw, np.ones((1500, 40), np.uint8))
    content = Path(source.image).read_bytes()
    Path(source.image).write_bytes(content[: len(content) * 4 // 5])
    found = survey([source], imagery, CODING, TWO)
    damaged = [one.where for one in found.problems if "rows" in one.where]
    assert damaged == ["cut (train), rows 1024 to 1500, columns 0 to 40"]
    # What can be read is counted.
    assert found.of_split("train").tolist() == [1024 * 40, 0]


def test_splits_that_overlap_and_lack_something_are_told(pair: tuple[Source, Source], imagery: Imagery) -> None:
    overlapping = survey((pair[0], replace(pair[0], split="val")), imagery, CODING, TWO)
    assert any("apart on the ground" in one.what and one.refused for one in overlapping.problems)
    three = LabelSet((*TWO.classes, LabelClass("water", None, "stuff", "#0000ff")))
    lacking = {(one.where, one.what, one.refused) for one in survey(pair, imagery, CODING, three).problems}
    assert lacking == {
        (
            "split train",
            "no pixel with data is labelled water: label some, or leave the class out (with --value VALUE=ignore)",
            True,
        ),
        ("split val", "no pixel with data is labelled water, it is not judged there", False),
    }
    alone = survey(pair[:1], imagery, CODING, TWO).problems
    assert [(one.where, one.refused) for one in alone] == [("split val", True)]


def test_labels_without_data_under_them_are_told(write_scene: WriteScene, imagery: Imagery) -> None:
    labels_hw = np.zeros((20, 30), np.uint8)
    labels_hw[:10] = 1
    source = write_scene("bare", np.ones((3, 20, 30), np.uint8), labels_hw, labels_hw == 0)
    problems = survey([source], imagery, CODING, TWO).problems
    bare = [one.what for one in problems if one.where == "bare (train)"]
    assert any("cover no pixel with data" in what for what in bare)


def test_masks_and_labels_alone_tell_the_same(pair: tuple[Source, Source], imagery: Imagery) -> None:
    whole, quick = (survey(pair, imagery, CODING, TWO, decode=decode) for decode in (True, False))
    assert [one.counts_v.tolist() for one in whole.scenes] == [one.counts_v.tolist() for one in quick.scenes]
    assert sound_sources(pair, quick, skip_bad=False) == (pair, ())


def test_damaged_scenes_and_wrong_ids_are_skipped_only_when_asked(
    pair: tuple[Source, Source], write_scene: WriteScene, imagery: Imagery
) -> None:
    rng = np.random.default_rng(2)
    ones_hw = np.ones((256, 256), np.uint8)
    cut = write_scene("cut", rng.integers(0, 256, (3, 256, 256)).astype(np.uint8), ones_hw)
    content = Path(cut.image).read_bytes()
    Path(cut.image).write_bytes(content[: len(content) // 2])
    wrong = write_scene("wrong", np.ones((3, 60, 60), np.uint8), np.full((60, 60), 7, np.uint8))
    # Elsewhere, or they would share ground with the others.
    for path in (cut.image, cut.labels, wrong.image, wrong.labels):
        with rasterio.open(str(path), "r+") as dataset:
            dataset.transform = Affine(1, 0, 420000 if "cut" in str(path) else 430000, 0, -1, 2770000)
    sources = (*pair, cut, wrong)
    found = survey(sources, imagery, CODING, TWO)
    with pytest.raises(ConfigError, match=r"cut .*--skip-bad; wrong .*label value 7"):
        sound_sources(sources, found, skip_bad=False)
    kept, skipped = sound_sources(sources, found, skip_bad=True)
    assert kept == pair
    assert [line.partition(" ")[0] for line in skipped] == ["cut", "wrong"]


def test_a_split_without_a_scene_is_refused_whatever_is_skipped(
    pair: tuple[Source, Source], imagery: Imagery
) -> None:
    with pytest.raises(ConfigError, match="split val: expected a scene that can be used, found none"):
        sound_sources(pair[:1], survey(pair[:1], imagery, CODING, TWO), skip_bad=True)
