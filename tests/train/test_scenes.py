from collections.abc import Callable

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.labels import NODATA_CLASS
from geoseg.train.candidates import Candidates
from geoseg.train.losses.class_weights import labelled_pixels
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes, refuse_overlap

WriteScene = Callable[..., Source]

CODING = LabelCoding({1: 0, 2: 1, 3: NODATA_CLASS})


def noise(seed: int, height: int, width: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    image_chw = rng.integers(0, 256, (3, height, width)).astype(np.uint8)
    return image_chw, rng.integers(0, 4, (height, width)).astype(np.uint8)


def region(col: float, row: float, col_stop: float, row_stop: float) -> Region:
    """A rectangle in pixels of the scenes that `write_scene` makes, on the ground."""
    return Region("EPSG:32640", shapely.box(320000 + col, 2770000 - row_stop, 320000 + col_stop, 2770000 - row))


@given(st.lists(st.sampled_from([-1, 0, 1, 2, 7]), min_size=1, max_size=20))
def test_labels_are_looked_up_value_by_value(raw: list[int]) -> None:
    ids = {0: NODATA_CLASS, 1: 3, 2: 0, 7: 1}
    coded_hw = LabelCoding(ids).encode(np.array([raw], np.int32), "labels.tif")
    assert coded_hw.tolist() == [[NODATA_CLASS if value == -1 else ids[value] for value in raw]]
    assert coded_hw.dtype == np.uint8


@pytest.mark.parametrize("value", [3, 900])
def test_an_unlisted_label_value_is_refused_and_named(value: int) -> None:
    with pytest.raises(SceneError, match=rf"labels.tif holds the label value {value}"):
        LabelCoding({1: 0, 4: 1}).encode(np.array([[1, value]], np.int32), "labels.tif")


def test_labelled_pixels_are_those_of_the_regions(write_scene: WriteScene, imagery: Imagery) -> None:
    cases = [(noise(seed, 40, 50), region(5 * seed, 3, 50, 31)) for seed in (1, 2)]
    sources = [
        write_scene(f"scene{seed}", image_chw, labels_hw, region=part)
        for seed, ((image_chw, labels_hw), part) in enumerate(cases, 1)
    ]
    with open_scenes(sources, imagery, CODING) as scenes:
        pixels_k = labelled_pixels(scenes, Candidates.of(2))
    parts = [labels_hw[3:31, 5 * seed :] for seed, ((_, labels_hw), _) in enumerate(cases, 1)]
    assert pixels_k.tolist() == [sum(np.count_nonzero(part == value) for part in parts) for value in (1, 2)]


def test_what_is_not_known_is_no_class_and_what_is_no_data_is_zero(
    write_scene: WriteScene, imagery: Imagery
) -> None:
    image_chw, labels_hw = noise(0, 40, 50)
    valid_hw = np.ones((40, 50), np.bool_)
    valid_hw[:7] = False
    source = write_scene("scene", image_chw, labels_hw, valid_hw, region=region(5, 0, 50, 40))
    with LabelledScene(source, imagery, CODING) as scene:
        seen_chw, ids_hw = scene.read(scene.grid.window)
    expected_hw = np.array([NODATA_CLASS, 0, 1, NODATA_CLASS], np.uint8)[labels_hw]
    expected_hw[:, :5] = NODATA_CLASS
    expected_hw[:7] = NODATA_CLASS
    assert np.array_equal(ids_hw, expected_hw)
    assert (seen_chw[:, :7] == 0).all()
    assert np.allclose(seen_chw[:, 7:], (image_chw[:, 7:].astype(np.float32) - 100) / 50)


def test_windows_beyond_the_scene_are_mirrored_and_unlabelled(write_scene: WriteScene, imagery: Imagery) -> None:
    image_chw, labels_hw = noise(1, 20, 30)
    with LabelledScene(write_scene("scene", image_chw, labels_hw), imagery, CODING) as scene:
        seen_chw, valid_hw = scene.image(Window(-25, -4, 70, 40))
        ids_hw = scene.labels(Window(-25, -4, 70, 40))
    assert np.array_equal(seen_chw, np.pad(image_chw, ((0, 0), (25, 25), (4, 6)), "symmetric"))
    assert valid_hw.all()
    inside_hw = ids_hw[25:45, 4:34]
    assert np.count_nonzero(ids_hw != NODATA_CLASS) == np.count_nonzero(inside_hw != NODATA_CLASS) > 0


@pytest.mark.parametrize("start", [0, 19, 19.9, 20, 35])
def test_splits_that_share_ground_are_refused_and_neighbours_are_not(
    write_scene: WriteScene, imagery: Imagery, start: float
) -> None:
    image_chw, labels_hw = noise(7, 40, 50)
    train = write_scene("scene", image_chw, labels_hw, region=region(0, 0, 20, 40))
    test = Source("scene", train.image, train.labels, "test", region(start, 0, 50, 40))
    with open_scenes((train, test), imagery, CODING) as scenes:
        if start < 20:
            with pytest.raises(ConfigError, match="train and test to be apart"):
                refuse_overlap(scenes)
        else:
            refuse_overlap(scenes)
    assert scenes[1].pixels.area == pytest.approx(40 * (50 - start))


def test_the_same_split_may_name_a_place_twice(write_scene: WriteScene, imagery: Imagery) -> None:
    source = write_scene("scene", *noise(8, 40, 40))
    with open_scenes((source, source), imagery, CODING) as scenes:
        refuse_overlap(scenes)
        assert len(scenes) == 2


def test_a_region_beside_its_scene_is_refused(write_scene: WriteScene, imagery: Imagery) -> None:
    source = write_scene("scene", *noise(9, 40, 40), region=region(100, 100, 140, 140))
    with pytest.raises(ConfigError, match="it lies beside it"):
        LabelledScene(source, imagery, CODING)
