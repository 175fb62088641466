from typing import get_args

import pytest
import torch
from torch import nn

from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.folding import fold_batch_norms

EVERY = [Architecture(name, 3, 4, 0.05) for name in get_args(ArchitectureName)] + [
    Architecture("deeplabv3plus_resnet18", 3, 4, 0.05, output_stride=8, separable=True),
    Architecture("deeplabv3plus_resnet50", 3, 4, 0.05, separable=True),
    Architecture("unet_resnet18", 3, 4, 0.05, decoder_stride=4),
    Architecture("unet_resnet50", 3, 4, 0.05, normalization="group"),
    Architecture("deeplabv3plus_resnet18", 3, 4, 0.05, normalization="group"),
    Architecture("unet_resnet18", 3, 4, 0.05, instances=True),
    Architecture("deeplabv3plus_resnet18", 3, 4, 0.05, instances=True),
]


@pytest.mark.parametrize("architecture", EVERY, ids=str)
def test_folding_keeps_the_answer_of_every_network_and_leaves_no_batch_normalization(
    architecture: Architecture,
) -> None:
    torch.manual_seed(0)
    network = build(architecture).double().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            torch.nn.init.normal_(layer.weight, 1, 0.3)
            torch.nn.init.normal_(layer.bias, 0, 0.3)
        if isinstance(layer, nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, 0, 0.3)  # type: ignore[arg-type]  # there are statistics
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
    image_nchw = torch.randn(2, 3, 64, 70, dtype=torch.float64)
    with torch.inference_mode():
        expected_nchw = network(image_nchw)
        folded = fold_batch_norms(network)
        assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded.modules())
        assert torch.allclose(folded(image_nchw), expected_nchw, rtol=1e-9, atol=1e-9)
    assert expected_nchw.std() > 1e-3
