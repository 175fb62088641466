"""Losses on heat and offsets: against numpy, part by part, and learned by a small network from touching squares."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from geoseg.config.losses import LossConfig
from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS
from geoseg.models.architecture import Architecture, build
from geoseg.train.augment import Augmentation
from geoseg.train.batch import Batch, Instances, Sample
from geoseg.train.batches import BatchMaker
from geoseg.train.candidates import Candidates
from geoseg.train.freeze import Frozen
from geoseg.train.losses import Loss, build_loss
from geoseg.train.objective import Answers
from geoseg.train.recipe import Recipe
from geoseg.train.stepper import Stepper
from geoseg.train.things import Things

CPU = torch.device("cpu")
K = 3
RECIPE = Recipe(batch=2, iterations=10, optimizer="sgd", lr=0.1, validate_every=10)


def crops(count: int, seed: int) -> Batch:
    """In double precision, unlike real ones: sums in another order then agree to many digits."""
    rng = np.random.default_rng(seed)
    labels_nhw = rng.choice(K, (count, 6, 6)).astype(np.uint8)
    heat_nhw, offset_nahw = rng.random((count, 6, 6)), rng.normal(0, 9, (count, 2, 6, 6))
    for labels_hw, heat_hw, offset_ahw in zip(labels_nhw, heat_nhw, offset_nahw, strict=True):
        labels_hw[rng.random((6, 6)) < rng.choice([0, 0.5, 1])] = NODATA_CLASS
        heat_hw[rng.random((6, 6)) < rng.choice([0, 0.5, 0.9, 1])] = np.nan
        offset_ahw[:, rng.random((6, 6)) < rng.choice([0.5, 0.9, 1])] = np.nan
    images: Any = rng.normal(size=(count, 1, 6, 6))
    heat: Any = heat_nhw
    offset: Any = offset_nahw
    names = tuple(f"crop {number}" for number in range(count))
    return Batch(images, labels_nhw, names, heat_nhw=heat, offset_nahw=offset)


def value_of(loss: Loss, batch: Batch, answers_nchw: Tensor) -> Tensor:
    answers = Answers.of(batch, Candidates.of(K), CPU)
    return loss.value(answers.numerators(loss, answers_nchw), answers.denominators(loss))


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_they_are_means_over_what_is_known(seed: int) -> None:
    batch = crops(3, seed)
    assert batch.heat_nhw is not None
    assert batch.offset_nahw is not None
    answers_nchw = torch.randn(3, K + 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    answers_nchw.requires_grad_()
    whole = build_loss(LossConfig(), K, instances=True)
    assert whole.names == ("cross_entropy", "dice", "heat", "offset")
    found = value_of(whole, batch, answers_nchw)
    numbers = answers_nchw.detach().numpy()
    squared = (numbers[:, K] - batch.heat_nhw)[~np.isnan(batch.heat_nhw)] ** 2
    apart = abs(numbers[:, K + 1 :] - batch.offset_nahw)[~np.isnan(batch.offset_nahw)]
    expected = 200 * (squared.mean() if len(squared) else 0) + 0.01 * (apart.mean() if len(apart) else 0)
    # Of the classes it is what it would be without what follows them.
    of_classes = value_of(build_loss(LossConfig(), K), replace(batch, heat_nhw=None), answers_nchw[:, :K]).item()
    assert found.item() == pytest.approx(expected + of_classes, rel=1e-6)
    torch.autograd.backward(found)
    assert answers_nchw.grad is not None
    assert answers_nchw.grad.isfinite().all()
    assert (answers_nchw.grad[:, K].numpy()[np.isnan(batch.heat_nhw)] == 0).all()


class Network(nn.Sequential):
    """Two convolutions without batch statistics."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.GELU(), nn.Conv2d(4, K + 3, 1))


def stepper(recipe: Recipe) -> Stepper:
    torch.manual_seed(0)
    network = Network().double()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss = build_loss(LossConfig(), K, instances=True)
    optimizer = torch.optim.SGD(network.parameters(), recipe.lr)
    return Stepper(network, optimizer, scaler, None, Frozen(network, ()), loss, Candidates.of(K), recipe, CPU)


@settings(max_examples=5)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 3), min_size=2, max_size=4))
def test_a_batch_in_parts_gives_the_gradient_of_the_whole(seed: int, sizes: list[int]) -> None:
    whole = crops(sum(sizes), seed)
    parts, rest = [], whole
    for size in sizes:
        parts.append(rest.first(size))
        fields = "images_nchw", "labels_nhw", "names", "heat_nhw", "offset_nahw"
        rest = replace(rest, **{name: getattr(rest, name)[size:] for name in fields})
    one, several = stepper(RECIPE), stepper(replace(RECIPE, accumulate=len(sizes)))
    value = one.step([whole], 1)
    assert several.step(parts, 1) == pytest.approx(value, rel=1e-6, abs=1e-9)
    for expected, found in zip(one.model.parameters(), several.model.parameters(), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-7, atol=1e-10)


def test_weights_are_those_of_the_configuration_and_the_papers_where_it_says_none() -> None:
    def names(**given: object) -> dict[str, float]:
        config = LossConfig.model_validate(given)
        again = LossConfig.model_validate(config.model_dump(mode="json"))
        terms = again.terms_of(instances=True)
        assert terms == config.terms_of(instances=True)
        return {name: term.weight for name, term in terms.items()}

    assert names() == {"cross_entropy": 1, "dice": 1, "heat": 200, "offset": 0.01}
    assert names(heat=50) == {"cross_entropy": 1, "dice": 1, "heat": 50, "offset": 0.01}
    assert names(focal=1, offset=0) == {"focal": 1, "heat": 200}
    assert list(LossConfig().terms_of(instances=False)) == ["cross_entropy", "dice"]
    with pytest.raises(ConfigError, match=r"training\.loss\.heat: it is for networks that tell objects apart"):
        build_loss(LossConfig.model_validate({"heat": 50}), K)


class Houses:
    """Rows of touching houses on dark ground, lit so that a pixel's colour says where in its house it lies."""

    def __init__(self, house_px: int = 10) -> None:
        self._house_px = house_px

    def sample(self, index: int, side_px: int) -> Sample:
        rng = np.random.default_rng(index)
        ids_hw, count = np.zeros((side_px, side_px), np.int32), 0
        centres, pixels = [], []
        size = self._house_px
        image_chw = rng.normal(0, 6, (3, side_px, side_px)).astype(np.float32)
        ramp = np.linspace(0, 200, size)
        for row in range(int(rng.integers(size)), side_px - size, 2 * size):
            for house in range(side_px // size - 1):
                col = 3 + house * size
                count += 1
                ids_hw[row : row + size, col : col + size] = count
                centres.append((row + size / 2, col + size / 2))
                pixels.append(size**2)
                roof = np.broadcast_arrays(ramp[:, None], ramp, 200)
                image_chw[:, row : row + size, col : col + size] += np.stack(roof)
        instances = Instances(ids_hw, np.array(centres), np.array(pixels, np.float64))
        valid_hw = np.ones((side_px, side_px), np.bool_)
        return Sample(image_chw, valid_hw, (ids_hw > 0).astype(np.uint8), f"{index}", instances)


def parts(loss: Loss, network: nn.Module, batch: Batch) -> NDArray[np.float64]:
    """Each term of a loss, unweighted."""
    answers = Answers.of(batch, Candidates.of(2), CPU)
    with torch.inference_mode():
        numerators = answers.numerators(loss, network(torch.from_numpy(batch.images_nchw)))
    return (numerators / answers.denominators(loss)).double().numpy()


def test_a_small_network_learns_where_centres_are() -> None:
    imagery = Imagery(("red", "green", "blue"), "uint8", (0, 255), (100.0,) * 3, (50.0,) * 3, 1.0)
    augmentation = Augmentation(flips=True, rotations=True, color_jitter=0.1)
    things = Things.of(Candidates.of(2), [1])
    maker = BatchMaker(Houses(), augmentation, imagery, 32, 4, 0, things)
    torch.manual_seed(0)
    network = build(Architecture("unet", 3, 2, 0.125, normalization="group", instances=True))
    # Offsets of houses this small are short: with the paper's weight a dozen steps hardly see them.
    loss = build_loss(LossConfig.model_validate({"offset": 1}), 2, instances=True)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    recipe = replace(RECIPE, optimizer="adamw")
    steps = Stepper(network, optimizer, scaler, None, Frozen(network, ()), loss, Candidates.of(2), recipe, CPU)
    judged = maker.make(1000)
    before = parts(loss, network, judged)
    for number in range(20):
        steps.step([maker.make(number)], number + 1)
    after = parts(loss, network, judged)
    # Cross-entropy, dice, heat, offset.
    assert (after < before).all()
    assert after[2] < 0.8 * before[2]
