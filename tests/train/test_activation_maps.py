import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from geoseg.labels import NODATA_CLASS
from geoseg.models.resnet import ResNetEncoder
from geoseg.train.activation_maps import CropClassifier, Evidence, labels_of_maps, presence, see

FEW = settings(max_examples=30, deadline=None)
SEEDS = st.integers(0, 2**32)


def test_the_maps_are_the_linear_layer_before_the_pooling() -> None:
    torch.manual_seed(0)
    classifier = CropClassifier(ResNetEncoder("resnet18", 3, 0.125, 8), 4).eval()
    images_nchw = torch.rand(2, 3, 32, 40)
    features_nchw = classifier.encoder(images_nchw)[-1]
    weights_kc, bias_k = classifier.head.weight[:, :, 0, 0], classifier.head.bias
    # Global average pooling, then the linear layer: the paper's classifier.
    expected_nk = functional.linear(features_nchw.mean((2, 3)), weights_kc, bias_k)
    assert torch.allclose(classifier(images_nchw), expected_nk, atol=1e-5)
    assert classifier.maps(images_nchw).shape == (2, 4, 4, 5)


@FEW
@given(SEEDS, st.integers(1, 4), st.floats(0.05, 1), st.floats(0, 0.5))
def test_a_pixel_gets_the_class_that_stands_out(seed: int, classes: int, least: float, margin: float) -> None:
    rng = np.random.default_rng(seed)
    maps_khw = rng.normal(size=(classes, 5, 6)).astype(np.float32)
    present_k = (rng.random(classes) < 0.7).astype(np.float32)
    valid_hw = rng.random((5, 6)) < 0.8
    labels_hw = labels_of_maps(maps_khw, present_k, valid_hw, Evidence(least, margin))
    for row in range(5):
        for col in range(6):
            shares = []
            for number in range(classes):
                greatest = max([max(float(v), 0) for v in maps_khw[number][valid_hw]], default=0)
                there = present_k[number] and greatest > 0
                shares.append(max(float(maps_khw[number, row, col]), 0) / greatest if there else 0.0)
            first = int(np.argmax(shares))
            second = max([*shares[:first], *shares[first + 1 :]], default=0)
            if min(abs(shares[first] - least), abs(shares[first] - second - margin)) < 1e-5:
                continue  # rounding decides
            told = valid_hw[row, col] and shares[first] >= least and shares[first] - second >= margin
            assert labels_hw[row, col] == (first if told else NODATA_CLASS)


@FEW
@given(SEEDS, st.floats(0, 0.5))
def test_a_class_is_there_where_enough_of_the_known_pixels_are_of_it(seed: int, least_share: float) -> None:
    rng = np.random.default_rng(seed)
    labels_nhw = rng.choice([0, 1, 2, NODATA_CLASS], (3, 4, 5), p=[0.6, 0.2, 0.05, 0.15]).astype(np.uint8)
    found_nk = presence(labels_nhw, 3, least_share)
    for labels_hw, found_k in zip(labels_nhw, found_nk, strict=True):
        known = labels_hw[labels_hw != NODATA_CLASS]
        for number in range(3):
            count = np.count_nonzero(known == number)
            assert found_k[number] == (count > 0 and count >= least_share * len(known))


def test_crops_without_data_show_nothing() -> None:
    assert (presence(np.full((1, 3, 3), NODATA_CLASS, np.uint8), 2, 0.1) == 0).all()
    none_hw = np.zeros((3, 3), np.bool_)
    labels_hw = labels_of_maps(np.ones((2, 3, 3), np.float32), np.ones(2, np.float32), none_hw, Evidence())
    assert (labels_hw == NODATA_CLASS).all()


@pytest.mark.parametrize("values", [(0, 0.1), (1.1, 0.1), (0.5, -0.1)])
def test_shares_must_be_shares(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="shares from 0 to 1"):
        Evidence(*values)


@pytest.mark.slow
def test_a_classifier_of_crops_learns_where_the_classes_lie() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)

    def crops(count: int) -> tuple[np.ndarray, np.ndarray]:
        """Noise with a bright square of band 0 (class 0), of band 1 (class 1), or both."""
        images_nchw = rng.normal(0, 0.3, (count, 2, 32, 32)).astype(np.float32)
        labels_nhw = np.full((count, 32, 32), NODATA_CLASS, np.uint8)
        for number in range(count):
            for kind in rng.permutation(2)[: rng.integers(1, 3)]:
                row, half = rng.integers(0, 20), rng.integers(0, 4)
                rows, cols = slice(row, row + 12), slice(16 * kind + half, 16 * kind + half + 12)
                images_nchw[number, kind, rows, cols] += 2
                labels_nhw[number, rows, cols] = kind
        return images_nchw, labels_nhw

    classifier = CropClassifier(ResNetEncoder("resnet18", 2, 0.25, 8), 2)
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3)
    for _ in range(60):
        images_nchw, labels_nhw = crops(16)
        scores_nk = classifier(torch.from_numpy(images_nchw))
        present_nk = torch.from_numpy(presence(labels_nhw, 2, 0))
        loss = functional.binary_cross_entropy_with_logits(scores_nk, present_nk)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    images_nchw, labels_nhw = crops(32)
    valid_nhw = np.ones(labels_nhw.shape, np.bool_)
    seen_nhw = see(classifier, images_nchw, presence(labels_nhw, 2, 0), valid_nhw, Evidence(0.5, 0.3))
    both_nhw = (seen_nhw != NODATA_CLASS) & (labels_nhw != NODATA_CLASS)
    # Where it is sure of a class within a square, it is the square's.
    assert both_nhw.sum() > 0.2 * (labels_nhw != NODATA_CLASS).sum()
    assert (seen_nhw == labels_nhw)[both_nhw].mean() > 0.9
