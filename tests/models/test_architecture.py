import math
from typing import Any, get_args

import pytest
import torch

from geoseg.config.train import ArchitectureConfig
from geoseg.errors import ModelError
from geoseg.models.architecture import Architecture, ArchitectureName, build


@pytest.mark.parametrize("name", get_args(ArchitectureName))
def test_every_name_builds_with_its_bands_and_classes(name: ArchitectureName) -> None:
    network = build(Architecture(name, bands=7, classes=4, width=0.01)).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 7, 32, 32)).shape == (1, 4, 32, 32)


@pytest.mark.parametrize("name", ["unet", "unet_resnet18", "deeplabv3plus_resnet18"])
def test_an_instance_branch_adds_three_channels_and_changes_no_other(name: ArchitectureName) -> None:
    plain, panoptic = (Architecture(name, 3, 4, 0.05, instances=instances) for instances in (False, True))
    torch.manual_seed(0)
    with_branch = build(panoptic).eval()
    without = build(plain).eval()
    left_out = without.load_state_dict(with_branch.state_dict(), strict=False)
    assert left_out.unexpected_keys
    assert not left_out.missing_keys
    assert all(key.startswith("instances.") for key in left_out.unexpected_keys)
    image_nchw = torch.randn(2, 3, 37, 50)
    with torch.inference_mode():
        found_nchw = with_branch(image_nchw)
        assert torch.equal(found_nchw[:, : plain.channels], without(image_nchw))
    assert found_nchw.shape == (2, panoptic.channels, 37, 50) == (2, 7, 37, 50)
    # What it says of instances depends on the image, and differs from channel to channel.
    assert (found_nchw[:, 4:].std((0, 2, 3)) > 0).all()


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    unknown: Any = "deeplab"
    with pytest.raises(ModelError, match=r"unet, unet_resnet18, .*'deeplab'"):
        Architecture(unknown, bands=3, classes=2)


@pytest.mark.parametrize(
    ("bands", "classes", "width"),
    [(0, 2, 1.0), (10**9, 2, 1.0), (3, 1, 1.0), (3, 256, 1.0), (3, 2, 0.0), (3, 2, 1e6), (3, 2, math.nan)],
)
def test_arguments_out_of_limits_are_refused(bands: int, classes: int, width: float) -> None:
    with pytest.raises(ModelError, match="expected"):
        Architecture("unet", bands, classes, width)


@pytest.mark.parametrize("name", ["unet", "unet_resnet18"])
def test_arguments_of_deeplab_are_refused_elsewhere(name: ArchitectureName) -> None:
    with pytest.raises(ModelError, match=f"deeplabv3plus networks, not for {name}"):
        Architecture(name, bands=3, classes=2, output_stride=8)
    with pytest.raises(ModelError, match=f"deeplabv3plus networks, not for {name}"):
        Architecture(name, bands=3, classes=2, separable=True)
    assert Architecture(name, bands=3, classes=2, output_stride=16, separable=False).name == name


@pytest.mark.parametrize("output_stride", [0, 4, 32, -8])
def test_other_output_strides_are_refused(output_stride: int) -> None:
    unknown: Any = output_stride
    with pytest.raises(ModelError, match=f"output stride of 8 or 16, got {output_stride}"):
        Architecture("deeplabv3plus_resnet18", bands=3, classes=2, output_stride=unknown)


@pytest.mark.parametrize("name", ["unet", "deeplabv3plus_resnet18"])
def test_a_decoder_stride_is_refused_where_there_is_none(name: ArchitectureName) -> None:
    with pytest.raises(ModelError, match=f"unet networks with a ResNet encoder, not for {name}"):
        Architecture(name, bands=3, classes=2, decoder_stride=2)
    other: Any = 3
    with pytest.raises(ModelError, match="decoder stride of 1, 2 or 4, got 3"):
        Architecture("unet_resnet18", bands=3, classes=2, decoder_stride=other)


def test_an_unknown_normalization_is_refused() -> None:
    layer: Any = "layer"
    with pytest.raises(ModelError, match="normalization batch or group, got 'layer'"):
        Architecture("unet", bands=3, classes=2, normalization=layer)


def test_a_training_run_can_ask_for_every_network() -> None:
    assert get_args(ArchitectureConfig.model_fields["name"].annotation) == get_args(ArchitectureName)
