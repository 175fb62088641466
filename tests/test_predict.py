"""What a predictor refuses, and that its answer is the network's."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from geoseg.errors import ModelError
from geoseg.predict import Numerics, Predictor

CPU = Numerics("cpu", "fp32", 1, 3)


def test_logits_are_the_networks_own() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv2d(2, 4, 3, padding=1)
    tiles_nchw = torch.randn(3, 2, 8, 9)
    with torch.inference_mode():
        expected_nchw = network(tiles_nchw)
    assert torch.allclose(Predictor(network, CPU).logits(tiles_nchw), expected_nchw, atol=1e-6)


@pytest.mark.parametrize("spoil", [lambda x: x * torch.nan, lambda x: x / 0, lambda x: x + torch.inf])
def test_an_answer_that_is_not_finite_is_refused(spoil: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ModelError, match="not finite in fp32"):
        Predictor(spoil, CPU).logits(torch.randn(3, 2, 8, 9))
