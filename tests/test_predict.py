"""What a predictor refuses, and that its probabilities are those of torch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from geoseg.errors import ModelError
from geoseg.predict import Numerics, Predictor

CPU = Numerics("cpu", "fp32", 1, 3)


def tiles(count: int) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return [torch.from_numpy(rng.normal(size=(2, 8, 9)).astype(np.float32)) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_probabilities_are_the_softmax_of_each_tile_alone(count: int) -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 4, 3, padding=1)
    found = Predictor(network, CPU).probabilities(tiles(count))
    for tile, probability_chw in zip(tiles(count), found, strict=True):
        with torch.inference_mode():
            expected_chw = network(tile[None]).softmax(dim=1)[0]
        assert torch.allclose(probability_chw, expected_chw, atol=1e-6)


@pytest.mark.parametrize("spoil", [lambda x: x * torch.nan, lambda x: x / 0, lambda x: x + torch.inf])
def test_an_answer_that_is_not_finite_is_refused(spoil: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ModelError, match="not finite in fp32"):
        Predictor(spoil, CPU).probabilities(tiles(2))
