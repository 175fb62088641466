"""What is found in a data set, and what is refused before training."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.train.audit import Survey, sound_sources, survey_data
from geoseg.train.candidates import Candidates
from geoseg.train.coding import LabelCoding
from geoseg.train.scenes import Source

WriteScene = Callable[..., Source]
CODING = LabelCoding({1: 0, 2: 1, 3: 255})
NAMES = ("building", "road")


def noise(seed: int, side: int = 60) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (3, side, side)).astype(np.uint8), rng.integers(0, 4, (side, side)).astype(np.uint8)


@pytest.fixture
def sound(write_scene: WriteScene, tmp_path: Path) -> tuple[Source, Source]:
    """Train and val, in two files of the same ground that only pixels without data share."""
    image_chw, labels_hw = noise(0)
    left_hw = np.zeros((60, 60), np.bool_)
    left_hw[:, :30] = True
    return (
        write_scene("one", image_chw, labels_hw, left_hw),
        write_scene("two", image_chw, labels_hw, ~left_hw, split="val"),
    )


def look(imagery: Imagery, *sources: Source) -> Survey:
    return survey_data(sources, imagery, CODING, NAMES)


def test_pixels_are_counted_by_class_where_there_is_data(sound: tuple[Source, Source], imagery: Imagery) -> None:
    survey = look(imagery, *sound)
    labels_hw = noise(0)[1]
    for scene, columns in zip(survey.scenes, (slice(0, 30), slice(30, 60)), strict=True):
        part_hw = labels_hw[:, columns]
        assert list(scene.pixels) == [int(np.count_nonzero(part_hw == value)) for value in (1, 2)]
        assert (scene.rest_px, scene.empty_px) == (0, 1800)
        assert scene.unknown_px == 1800 - sum(scene.pixels)
        assert (scene.crs, scene.size_px, scene.read_px) == ("WGS 84 / UTM zone 40N", (60, 60), (60, 60))
        assert scene.resolution_m == pytest.approx((1, 1), rel=0.01)
    assert survey.problems == ()
    assert survey.pixels("train") == dict(zip(NAMES, survey.scenes[0].pixels, strict=True))
    assert sound_sources(sound, survey, skip_bad=False) == (sound, 0)
    assert survey_data(sound, imagery, CODING, NAMES, decode=False) == survey


def test_partly_labelled_ground_is_counted_as_the_rest(sound: tuple[Source, Source], imagery: Imagery) -> None:
    coding = LabelCoding({1: 0, 2: 2, 3: 255}, Candidates.of(2, [frozenset({0})]))
    sources = [replace(source, labelled=frozenset({0})) for source in sound]
    survey = survey_data(sources, imagery, coding, NAMES)
    assert all(scene.pixels[1] == 0 and scene.rest_px > 300 for scene in survey.scenes)
    assert [problem.place for problem in survey.problems if problem.fatal] == ["split train, class road"]


def test_an_empty_class_a_missing_split_and_labels_on_no_data_are_named(
    sound: tuple[Source, Source], write_scene: WriteScene, imagery: Imagery
) -> None:
    train, val = sound
    one_class = write_scene("sparse", noise(1)[0], np.ones((60, 60), np.uint8))
    problems = look(imagery, one_class, val).problems
    assert any("class road: expected labelled pixels in split train, found none" in one.text for one in problems)
    with pytest.raises(ConfigError, match="expected scenes of split val, found none"):
        sound_sources((train,), look(imagery, train), skip_bad=True)
    nothing = write_scene("nothing", noise(1)[0], np.full((60, 60), 3, np.uint8), split="val")
    survey = look(imagery, train, nothing)
    with pytest.raises(ConfigError, match=r"nothing: expected labels on pixels with data.*--skip-bad"):
        sound_sources((train, nothing), survey, skip_bad=False)


def test_overlapping_splits_are_a_problem_of_the_data(
    write_scene: WriteScene, sound: tuple[Source, Source], imagery: Imagery
) -> None:
    copy = replace(sound[0], split="val")
    problems = look(imagery, sound[0], copy).problems
    assert [problem.place for problem in problems if problem.fatal] == ["data"]
    assert "apart on the ground" in problems[0].text


def test_damaged_scenes_and_wrong_ids_are_named_and_skipped_only_when_asked(
    sound: tuple[Source, Source], write_scene: WriteScene, imagery: Imagery, tmp_path: Path
) -> None:
    cut = write_scene("cut", *noise(2, 256))
    content = Path(cut.image).read_bytes()
    Path(cut.image).write_bytes(content[: len(content) // 2])
    wrong = write_scene("wrong", noise(3)[0], np.full((60, 60), 9, np.uint8))
    sources = (*sound, cut, wrong)
    survey = look(imagery, *sources)
    bad = {problem.place: problem for problem in survey.problems if problem.source is not None}
    assert set(bad) == {cut.image, wrong.label_path}
    assert "holds the label value 9" in bad[wrong.label_path].text
    with pytest.raises(ConfigError, match=r"cut\.tif .*--skip-bad \(and 1 more; geoseg inspect --check"):
        sound_sources(sources, survey, skip_bad=False)
    assert sound_sources(sources, survey, skip_bad=True) == (sound, 2)
