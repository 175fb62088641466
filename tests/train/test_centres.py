"""Heat and offsets of objects: against the formula, and decoded into the same objects after every augmentation."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.io.mosaic import OFFSET_STEPS
from geoseg.labels import NODATA_CLASS
from geoseg.objects.centres import NO_CENTRE, NO_THING, centre_keys
from geoseg.objects.grouping import Grouping
from geoseg.train.augment import Augmentation
from geoseg.train.batch import Batch, Instances, Sample
from geoseg.train.batches import BatchMaker
from geoseg.train.candidates import Candidates
from geoseg.train.centres import centre_fields, encode, sigma_px
from geoseg.train.mixing import mixup
from geoseg.train.things import Things

IMAGERY = Imagery(("red", "green", "blue"), "uint8", (0, 255), (100.0,) * 3, (50.0,) * 3, 1.0)
NONE = Augmentation(flips=False, rotations=False, color_jitter=0)
EVERYTHING = Augmentation(
    flips=True,
    rotations=True,
    color_jitter=0.2,
    scale=(0.6, 1.6),
    rotate_deg=180,
    elastic_px=6,
    elastic_spacing_px=16,
    noise=0.05,
    blur_px=1,
    cutmix=0.7,
)
CROP_PX, BATCH = 72, 3
EACH = 80
"""Labels of a crop: the first is ground, the others objects."""

THINGS = Things.of(Candidates.of(BATCH * EACH), [n for n in range(BATCH * EACH) if n % EACH])
GROUPING = Grouping(least_heat=26, suppress_px=1, reach_px=500, capture_px=1)
APART_PX = 8


def instances_of(ids_hw: NDArray[np.int32]) -> Instances:
    """The objects of a whole scene, whose numbers may have gaps, by definition."""
    known = [number for number in np.unique(ids_hw).tolist() if number]
    at = [np.argwhere(ids_hw == number) for number in known]
    renumbered_hw = np.searchsorted([0, *known], ids_hw).astype(np.int32)
    centres_n2 = np.array([places.mean(0) + 0.5 for places in at]).reshape(-1, 2)
    return Instances(renumbered_hw, centres_n2, np.array([len(places) for places in at], np.float64))


def world(seed: int, side: int) -> Instances:
    """Objects of all kinds one over the other: rows of touching houses, rings, lines, pixels, over the edge."""
    rng = np.random.default_rng(seed)
    ids_hw = np.zeros((side, side), np.int32)
    for _ in range(side // 6):
        row, col = rng.integers(-10, side, 2)
        height, width = rng.integers(9, 20, 2)
        kind = rng.choice(["row", "ring", "line", "pixel", "corner"])
        number = int(ids_hw.max()) + 1
        rows, cols = slice(max(row, 0), max(row + height, 0)), slice(max(col, 0), max(col + width, 0))
        match kind:
            case "row":
                for house in range(3):
                    ids_hw[rows, max(col + house * width, 0) : max(col + (house + 1) * width, 0)] = number + house
            case "ring":
                ids_hw[rows, cols] = number
                ids_hw[rows.start + 3 : rows.stop - 3, cols.start + 3 : cols.stop - 3] = 0
            case "line":
                ids_hw[rows.start : rows.start + 2, cols.start : cols.stop + 25] = number
            case "pixel":
                ids_hw[rows.start : rows.start + 1, cols.start : cols.start + 1] = number
            case "corner":
                ids_hw[rows, cols] = number
                ids_hw[rows.start + 4 : rows.stop, cols.start + 4 : cols.stop] = 0
    # What has its centre too near to another's cannot be told from it by any decoder; it gives way.
    while True:
        found = instances_of(ids_hw)
        apart_nn = np.abs(found.centres_n2[:, None] - found.centres_n2).max(2) + APART_PX * np.eye(
            len(found.pixels_n)
        )
        near = np.flatnonzero((apart_nn < APART_PX).any(1))
        if not len(near) and len(found.pixels_n) < EACH:
            return found
        ids_hw = np.where(found.ids_hw == (near[-1] + 1 if len(near) else len(found.pixels_n)), 0, found.ids_hw)


class Worlds:
    """Windows of a scene each; labels say which crop of its batch a pixel is of, and which object."""

    def sample(self, index: int, side_px: int) -> Sample:
        found = world(index, side_px)
        labels_hw = (index % BATCH * EACH + found.ids_hw).astype(np.uint8)
        valid_hw = np.ones((side_px, side_px), np.bool_)
        return Sample(np.full((3, side_px, side_px), 90, np.float32), valid_hw, labels_hw, f"{index}", found)


def decoded(heat_hw: NDArray[np.float32], offset_ahw: NDArray[np.float32]) -> NDArray[np.int64]:
    """What a map of these fields holds, as it is stored."""
    window = Window(0, 0, *heat_hw.shape)
    return centre_keys(
        np.rint(heat_hw * 254).astype(np.uint8),
        np.rint(np.nan_to_num(offset_ahw) * OFFSET_STEPS).astype(np.int16),
        ~np.isnan(offset_ahw[0]),
        window,
        window,
        heat_hw.shape[1],
        GROUPING,
    )


@pytest.mark.parametrize("cutmix", [False, True])
@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.integers(0, 1000))
def test_decoded_fields_are_the_objects_after_every_augmentation(cutmix: bool, seed: int, iteration: int) -> None:
    augmentation = EVERYTHING if cutmix else replace(EVERYTHING, cutmix=0.0)
    maker = BatchMaker(Worlds(), augmentation, IMAGERY, CROP_PX, BATCH, seed, THINGS)
    batch = maker.make(iteration)
    assert batch.heat_nhw is not None
    assert batch.offset_nahw is not None
    crops = [maker.crop(iteration * BATCH + number).instances for number in range(BATCH)]
    checked = 0
    for labels_hw, heat_hw, offset_ahw in zip(batch.labels_nhw, batch.heat_nhw, batch.offset_nahw, strict=True):
        keys_hw = decoded(heat_hw, offset_ahw)
        crop_hw, object_hw = np.divmod(labels_hw.astype(int), EACH)
        assert ((keys_hw == NO_THING) == (object_hw == 0)).all()
        # Every centre that is seen in this crop, whosever it is: where its own crop's pixels are.
        seen, held = set(), set()
        for number in np.unique(crop_hw):
            instances = crops[number]
            assert instances is not None
            for row, col in np.floor(instances.centres_n2).astype(int).tolist():
                if 0 <= row < CROP_PX and 0 <= col < CROP_PX and crop_hw[row, col] == number:
                    seen.add((row, col))
        for label in np.unique(labels_hw[object_hw > 0]).tolist():
            number, at = divmod(label, EACH)
            instances = crops[number]
            assert instances is not None
            row, col = np.floor(instances.centres_n2[at - 1]).astype(int).tolist()
            near = [one for one in seen if max(abs(one[0] - row), abs(one[1] - col)) <= 2]
            if near not in ([], [(row, col)]):
                continue  # pasted side by side, or shrunk: no decoder could tell
            # All pixels are of one centre, and no other object's are: where its own cannot be seen, of none, or of
            # a place at the edge, if that is within reach and warm.
            (key,) = set(keys_hw[labels_hw == label].tolist())
            assert key == 1 + row * CROP_PX + col or (not near and key not in held)
            held |= {key} - {NO_CENTRE}
            checked += 1
    assume(checked > 3)


@settings(max_examples=4)
@given(st.integers(0, 2**32 - 1))
def test_centres_stay_those_of_mass_where_nothing_is_bent(seed: int) -> None:
    augmentation = replace(EVERYTHING, elastic_px=0.0)
    maker = BatchMaker(Worlds(), augmentation, IMAGERY, CROP_PX, BATCH, seed, THINGS)
    whole = 0
    for number in range(3):
        found = maker.crop(number).instances
        assert found is not None
        cut = set(np.concatenate([found.ids_hw[[0, -1]].ravel(), found.ids_hw[:, [0, -1]].ravel()]).tolist())
        for at, (centre_2, pixels) in enumerate(zip(found.centres_n2, found.pixels_n, strict=True), 1):
            places = np.argwhere(found.ids_hw == at)
            if at not in cut and len(places) > 60:
                assert np.abs(places.mean(0) + 0.5 - centre_2).max() < 0.6
                assert 0.8 < len(places) / pixels < 1.25
                whole += 1
    assume(whole > 3)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_fields_are_those_of_the_formula(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 50, 2).tolist()
    ids_hw = rng.integers(0, count + 1, (height, width)).astype(np.int32)
    centres_n2 = rng.uniform(-30, 80, (count, 2))
    pixels_n = rng.choice([1, 40, 100, 900, 4000, 1e6], count)
    heat_hw, offset_ahw = encode(Instances(ids_hw, centres_n2, pixels_n))
    rows_hw, cols_hw = np.mgrid[:height, :width]
    expected_hw = np.zeros((height, width))
    for (row, col), pixels in zip(centres_n2, pixels_n, strict=True):
        sigma = min(max(np.sqrt(pixels) / 8, 1), 8)
        down_hw, right_hw = rows_hw - np.floor(row), cols_hw - np.floor(col)
        within_hw = np.maximum(abs(down_hw), abs(right_hw)) <= 3 * sigma
        expected_hw = np.maximum(expected_hw, within_hw * np.exp(-(down_hw**2 + right_hw**2) / (2 * sigma**2)))
    np.testing.assert_allclose(heat_hw, expected_hw, atol=1e-6)
    there_hw = ids_hw > 0
    assert np.isnan(offset_ahw[:, ~there_hw]).all()
    expected_n2 = centres_n2[ids_hw[there_hw] - 1] - np.argwhere(there_hw) - 0.5
    np.testing.assert_allclose(offset_ahw[:, there_hw].T, expected_n2, atol=1e-4)


def test_sizes_of_gaussians() -> None:
    assert sigma_px(np.array([1.0, 64, 256, 4096, 1e9])).tolist() == [1, 1, 2, 8, 8]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_what_labels_leave_open_is_not_known(seed: int) -> None:
    """Of four classes, 1 and 2 things; one data set labels 0 and 3 alone, another 1, another 0, 1, 2."""
    parts = [frozenset({0, 3}), frozenset({1}), frozenset({0, 1, 2})]
    candidates = Candidates.of(4, parts)
    things = Things.of(candidates, [1, 2])
    rests = [candidates.rest(part) for part in parts]
    assert rests[2] == 3
    # Of a rest of {1, 2} it is known that it is a thing, of one of {0, 2, 3} nothing.
    is_thing = {0: False, 1: True, 2: True, 3: False, rests[0]: True, rests[1]: None, NODATA_CLASS: None}
    rng = np.random.default_rng(seed)
    labels_hw = rng.choice(list(is_thing), (20, 30)).astype(np.uint8)
    ids_hw = rng.integers(0, 3, (20, 30)).astype(np.int32)
    instances = Instances(ids_hw, rng.uniform(0, 20, (2, 2)), np.array([300.0, 5000.0]))
    sample = Sample(np.zeros((3, 20, 30), np.float32), np.ones((20, 30), np.bool_), labels_hw, "x", instances)
    heat_hw, offset_ahw = centre_fields(sample, things)
    full_heat_hw, full_offset_ahw = encode(instances)
    for place, label in np.ndenumerate(labels_hw):
        known = is_thing[int(label)] is True and ids_hw[place] > 0
        assert np.isnan(offset_ahw[:, *place]).all() != known
        assert np.isnan(heat_hw[place]) != (known or is_thing[int(label)] is False)
    np.testing.assert_array_equal(heat_hw[~np.isnan(heat_hw)], full_heat_hw[~np.isnan(heat_hw)])
    known_hw = ~np.isnan(offset_ahw[0])
    np.testing.assert_array_equal(offset_ahw[:, known_hw], full_offset_ahw[:, known_hw])


def test_without_classes_that_are_known_nothing_is_a_thing_or_none() -> None:
    things = Things.of(Candidates.of(2), [0, 1])
    assert not things.is_v[NODATA_CLASS]
    assert not things.is_not_v[NODATA_CLASS]
    assert things.is_v[:2].all()


def test_crops_with_objects_are_not_blended() -> None:
    crops = Batch(np.zeros((2, 1, 4, 4), np.float32), np.zeros((2, 4, 4), np.uint8), ("a", "b"))
    with_objects = Batch(
        crops.images_nchw,
        crops.labels_nhw,
        crops.names,
        heat_nhw=np.zeros((2, 4, 4), np.float32),
        offset_nahw=np.zeros((2, 2, 4, 4), np.float32),
    )
    assert mixup(crops, 0.4, np.random.default_rng(0)).others_nhw is not None
    with pytest.raises(ValueError, match="cannot be blended"):
        mixup(with_objects, 0.4, np.random.default_rng(0))
    assert with_objects.first(1).names == ("a",)
    assert [
        len(part)
        for part in (with_objects.first(1).heat_nhw, with_objects.first(1).offset_nahw)
        if part is not None
    ] == [1, 1]
