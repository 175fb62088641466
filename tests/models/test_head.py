from typing import get_args

import pytest
import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.head import divide_logits


@pytest.mark.parametrize("name", get_args(ArchitectureName))
def test_a_divided_head_divides_the_logits_of_every_network(name: ArchitectureName) -> None:
    torch.manual_seed(3)
    network = build(Architecture(name, bands=2, classes=3, width=0.01)).eval()
    image_nchw = torch.randn(1, 2, 37, 50)
    with torch.inference_mode():
        before = network(image_nchw)
        divide_logits(network, 1.7)
        after = network(image_nchw)
    assert float(before.abs().max()) > 1e-3
    # A sum of large terms may be small: its error is theirs.
    torch.testing.assert_close(after, before / 1.7, rtol=0, atol=1e-5 * float(before.abs().max()))


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ModelError, match="a convolution named head, got Linear"):
        divide_logits(nn.Linear(2, 2), 2.0)
    network = build(Architecture("unet", bands=2, classes=3, width=0.01))
    for temperature in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive temperature"):
            divide_logits(network, temperature)
