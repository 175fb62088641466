"""The instance branch under autocast; the branch itself is tested with the networks that have it."""

import pytest
import torch

from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.instances import CentreHeads


def test_heat_and_offsets_are_computed_in_float32_under_autocast() -> None:
    torch.manual_seed(1)
    heads = CentreHeads(8)
    torch.nn.init.normal_(heads.offset.weight, std=30)
    features_nchw = torch.randn(1, 8, 16, 16).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found_nchw = heads(features_nchw)
    assert found_nchw.abs().max() > 256  # offsets of which 8 bits of mantissa leave steps of two pixels
    assert torch.equal(found_nchw, heads(features_nchw.float()))


@pytest.mark.parametrize("name", ["unet", "unet_resnet18", "deeplabv3plus_resnet18"])
def test_nothing_after_the_heads_shortens_them(name: ArchitectureName) -> None:
    torch.manual_seed(1)
    network = build(Architecture(name, 3, 4, 0.05, instances=True)).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found_nchw = network(torch.randn(1, 3, 64, 64))
    assert found_nchw.dtype == torch.float32
    classes_nchw, instances_nchw = found_nchw[:, :4], found_nchw[:, 4:]
    assert torch.equal(classes_nchw, classes_nchw.bfloat16().float())
    assert not torch.equal(instances_nchw, instances_nchw.bfloat16().float())
