from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.train.augment import Augmentation
from geoseg.train.batch import Batch, Sample
from geoseg.train.batches import BatchMaker

FEW = settings(max_examples=15, deadline=None)
NONE = Augmentation(flips=False, rotations=False, color_jitter=0)
EVERYTHING = Augmentation(
    flips=True,
    rotations=True,
    color_jitter=0.2,
    scale=(0.7, 1.4),
    rotate_deg=45,
    elastic_px=3,
    elastic_spacing_px=8,
    noise=0.05,
    blur_px=1,
    cutmix=0.5,
    mixup=0.4,
)
IMAGERY = Imagery(("red", "green", "blue"), "uint8", (0, 255), (100.0,) * 3, (50.0,) * 3, 1.0)
CROP_PX, BATCH = 16, 3


class Noise:
    """Windows of noise, invalid where a band of it is high; remembers how large they were asked for."""

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}

    def sample(self, index: int, side_px: int) -> Sample:
        self.asked[index] = side_px
        rng = np.random.default_rng(index)
        image_chw = rng.uniform(0, 255, (3, side_px, side_px)).astype(np.float32)
        valid_hw = image_chw[0] < 230
        labels_hw = np.where(valid_hw, rng.integers(0, 4, (side_px, side_px)), NODATA_CLASS).astype(np.uint8)
        return Sample(image_chw, valid_hw, labels_hw, f"window {index}")


def maker(augmentation: Augmentation, seed: int, sampler: Noise | None = None) -> BatchMaker:
    return BatchMaker(sampler or Noise(), augmentation, IMAGERY, CROP_PX, BATCH, seed)


def content(batch: Batch) -> list[bytes]:
    parts = (batch.images_nchw, batch.labels_nhw, batch.others_nhw, batch.shares_n)
    return [*(b"" if part is None else part.tobytes() for part in parts), *(n.encode() for n in batch.names)]


@FEW
@given(st.integers(0, 2**32 - 1), st.integers(0, 10_000))
def test_a_batch_depends_on_seed_and_iteration_alone(seed: int, iteration: int) -> None:
    one, other = maker(EVERYTHING, seed), maker(EVERYTHING, seed)
    one.make(iteration + 1)
    batch = one.make(iteration)
    assert content(batch) == content(other.make(iteration))
    assert content(batch) != content(other.make(iteration + 1))
    assert content(batch) != content(maker(EVERYTHING, seed + 1).make(iteration))
    assert batch.images_nchw.shape == (BATCH, 3, CROP_PX, CROP_PX)
    assert batch.labels_nhw.shape == (BATCH, CROP_PX, CROP_PX)
    assert batch.images_nchw.dtype == np.float32
    assert batch.labels_nhw.dtype == np.uint8


@given(st.integers(0, 100))
def test_without_augmentation_a_batch_is_its_windows_normalized(iteration: int) -> None:
    sampler = Noise()
    batch = maker(NONE, 0, sampler).make(iteration)
    numbers = range(iteration * BATCH, (iteration + 1) * BATCH)
    assert sampler.asked == dict.fromkeys(numbers, CROP_PX)
    assert batch.names == tuple(f"window {number}" for number in numbers)
    assert batch.others_nhw is None
    for image_chw, labels_hw, number in zip(batch.images_nchw, batch.labels_nhw, numbers, strict=True):
        sample = Noise().sample(number, CROP_PX)
        assert np.array_equal(image_chw, IMAGERY.normalize(sample.image_chw, sample.valid_hw))
        assert np.array_equal(labels_hw, sample.labels_hw)


@FEW
@given(st.integers(0, 2**32 - 1), st.integers(0, 100))
def test_what_is_no_data_enters_as_zero_without_a_label(seed: int, iteration: int) -> None:
    batch = maker(replace(EVERYTHING, mixup=0.0), seed).make(iteration)
    unlabelled_nhw = batch.labels_nhw == NODATA_CLASS
    assert unlabelled_nhw.any()
    assert not unlabelled_nhw.all()
    for image_chw, unlabelled_hw in zip(batch.images_nchw, unlabelled_nhw, strict=True):
        assert (image_chw[:, unlabelled_hw] == 0).all()
