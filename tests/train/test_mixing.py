import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from geoseg.train.batch import Batch
from geoseg.train.mixing import cutmix, mixup

FEW = settings(max_examples=25, deadline=None)
SEEDS = st.integers(0, 2**32)


def batch(count: int, seed: int, planes: int = 0) -> Batch:
    """Crops whose pixels say which crop and which pixel they are, in the image and in the labels."""
    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 12, 2))
    who_nhw = np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None], (count, height, width))
    where_hw = np.arange(height * width, dtype=np.float32).reshape(height, width)
    images_nchw = np.stack([who_nhw, np.broadcast_to(where_hw, who_nhw.shape)], 1)
    labels_nhw = who_nhw.astype(np.uint8)
    if planes:
        labels_nhw = np.stack([labels_nhw] * planes, 1)
    return Batch(images_nchw, labels_nhw, tuple(f"crop {number}" for number in range(count)))


@FEW
@given(st.integers(2, 6), SEEDS, st.integers(0, 2))
def test_cutmix_pastes_one_rectangle_with_its_labels(count: int, seed: int, planes: int) -> None:
    before = batch(count, seed, planes)
    after = cutmix(before, 1, np.random.default_rng(seed))
    who_nhw = after.images_nchw[:, 0].astype(np.uint8)
    labels_nhw = after.labels_nhw[:, 0] if planes else after.labels_nhw
    assert np.array_equal(labels_nhw, who_nhw)
    assert np.array_equal(after.images_nchw[:, 1], before.images_nchw[:, 1])  # every pixel stays in its place
    for number, who_hw in enumerate(who_nhw):
        rows, cols = np.nonzero(who_hw != number)
        if len(rows):
            box_hw = who_hw[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
            assert (box_hw == box_hw[0, 0]).all()  # a rectangle, all of one other crop
            assert after.names[number] == f"crop {number} with a part of crop {box_hw[0, 0]}"
    assert np.array_equal(before.images_nchw, batch(count, seed, planes).images_nchw)  # the old batch is as it was


def test_cutmix_meets_as_many_crops_as_asked_for_and_shares_of_all_sizes() -> None:
    side, rng = 64, np.random.default_rng(0)
    labels_nhw = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, side, side))
    crops = Batch(labels_nhw[:, None].astype(np.float32), labels_nhw, ("x",) * 100)
    pasted_n = np.concatenate([(cutmix(crops, 0.4, rng).labels_nhw != labels_nhw).mean((1, 2)) for _ in range(10)])
    assert abs((pasted_n > 0).mean() - 0.4) < 0.08
    assert pasted_n.max() > 0.8
    assert 0 < pasted_n[pasted_n > 0].min() < 0.02


@FEW
@given(st.integers(2, 6), SEEDS, st.floats(0.1, 4))
def test_mixup_blends_two_crops_and_keeps_both_labels(count: int, seed: int, alpha: float) -> None:
    before = batch(count, seed)
    after = mixup(before, alpha, np.random.default_rng(seed))
    assert after.others_nhw is not None
    assert after.shares_n is not None
    assert after.shares_n.dtype == np.float32
    assert np.array_equal(after.labels_nhw, before.labels_nhw)
    partners = after.others_nhw[:, 0, 0]
    assert sorted(partners) == list(range(count))
    assert (partners != np.arange(count)).all()
    shares_n111 = after.shares_n[:, None, None, None]
    expected_nchw = shares_n111 * before.images_nchw + (1 - shares_n111) * before.images_nchw[partners]
    assert np.allclose(after.images_nchw, expected_nchw, atol=1e-4)
    assert after.images_nchw.dtype == np.float32


def test_the_shares_of_mixup_follow_the_beta_distribution() -> None:
    rng, crops = np.random.default_rng(0), batch(2, 0)
    blended = [mixup(crops, 0.4, rng) for _ in range(300)]
    shares = [float(one.shares_n[0]) for one in blended if one.shares_n is not None]
    assert kstest(shares, "beta", args=(0.4, 0.4)).pvalue > 0.01


def test_without_strength_or_another_crop_nothing_is_mixed() -> None:
    many, one, rng = batch(4, 0), batch(1, 0), np.random.default_rng(0)
    assert cutmix(many, 0, rng) is many
    assert mixup(many, 0, rng) is many
    assert cutmix(one, 1, rng) is one
    assert mixup(one, 1, rng) is one
