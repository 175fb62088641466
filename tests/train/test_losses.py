import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from geoseg.labels import NODATA_CLASS
from geoseg.train.losses import cross_entropy_loss, dice_loss, segmentation_loss


def softmax(scores_c: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores_c - scores_c.max())
    return np.asarray(powers / powers.sum())


def slow_losses(logits_nchw: NDArray[np.float64], target_nhw: NDArray[np.int64]) -> tuple[float, float]:
    """Cross-entropy and Dice, pixel by pixel."""
    classes = logits_nchw.shape[1]
    entropies = []
    overlap, squares, truths = np.zeros(classes), np.zeros(classes), np.zeros(classes)
    for (image, row, col), label in np.ndenumerate(target_nhw):
        if label == NODATA_CLASS:
            continue
        probability = softmax(logits_nchw[image, :, row, col])
        entropies.append(-np.log(probability[label]))
        overlap[label] += probability[label]
        squares += probability**2
        truths[label] += 1
    if not entropies:
        return 0.0, 0.0
    present = truths > 0
    dice = 2 * overlap[present] / (squares[present] + truths[present])
    return float(np.mean(entropies)), float(1 - dice.mean())


def example(seed: int, classes: int, share_unknown: float) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    logits_nchw = rng.normal(0, 3, (2, classes, 3, 4))
    target_nhw = rng.integers(0, classes, (2, 3, 4))
    target_nhw[rng.random(target_nhw.shape) < share_unknown] = NODATA_CLASS
    return torch.from_numpy(logits_nchw), torch.from_numpy(target_nhw)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_losses_equal_their_definitions_pixel_by_pixel(seed: int, classes: int, share: float) -> None:
    logits_nchw, target_nhw = example(seed, classes, share)
    entropy, dice = slow_losses(logits_nchw.numpy(), target_nhw.numpy())
    assert cross_entropy_loss(logits_nchw, target_nhw).item() == pytest.approx(entropy, abs=1e-12)
    assert dice_loss(logits_nchw, target_nhw).item() == pytest.approx(dice, abs=1e-12)
    both = segmentation_loss(logits_nchw, target_nhw, 0.3, 2.0).item()
    assert both == pytest.approx(0.3 * entropy + 2 * dice, abs=1e-12)


@pytest.mark.parametrize("loss", [cross_entropy_loss, dice_loss])
def test_gradients_are_those_of_finite_differences(loss: object) -> None:
    logits_nchw, target_nhw = example(1, 4, 0.3)
    logits_nchw.requires_grad_()
    assert callable(loss)
    assert torch.autograd.gradcheck(lambda logits: loss(logits, target_nhw), (logits_nchw,))


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_a_batch_without_labels_moves_nothing(weights: tuple[float, float]) -> None:
    logits_nchw = torch.randn(2, 3, 4, 4, requires_grad=True)
    target_nhw = torch.full((2, 4, 4), NODATA_CLASS)
    loss = segmentation_loss(logits_nchw, target_nhw, *weights)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert logits_nchw.grad is not None
    assert torch.equal(logits_nchw.grad, torch.zeros_like(logits_nchw))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_pixels_without_labels_have_no_gradient(seed: int) -> None:
    logits_nchw, target_nhw = example(seed, 3, 0.5)
    logits_nchw.requires_grad_()
    torch.autograd.backward(segmentation_loss(logits_nchw, target_nhw, 1, 1))
    assert logits_nchw.grad is not None
    unknown_nhw = target_nhw == NODATA_CLASS
    assert (logits_nchw.grad.permute(0, 2, 3, 1)[unknown_nhw] == 0).all()


def test_a_certain_and_right_prediction_costs_nothing() -> None:
    _, target_nhw = example(2, 3, 0.2)
    one_hot = torch.nn.functional.one_hot(torch.where(target_nhw == NODATA_CLASS, 0, target_nhw), 3)
    logits_nchw = 1000.0 * one_hot.permute(0, 3, 1, 2).double()
    assert segmentation_loss(logits_nchw, target_nhw, 1, 1).item() == pytest.approx(0, abs=1e-12)


def test_half_precision_scores_are_summed_in_single_precision() -> None:
    torch.manual_seed(0)
    logits_nchw = torch.randn(1, 3, 64, 64).bfloat16()
    target_nhw = torch.randint(0, 3, (1, 64, 64))
    loss = segmentation_loss(logits_nchw, target_nhw, 1, 1)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, segmentation_loss(logits_nchw.float(), target_nhw, 1, 1))
