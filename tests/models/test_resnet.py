import math
from collections.abc import Iterator

import pytest
import torch

from geoseg.models.resnet import ResNetEncoder, ResNetVariant

# Parameters of torchvision.models.resnet18, 34, 50 with their 1000-class layer, from the "num_params" of their
# weights (https://pytorch.org/vision/stable/models.html, Table of all available classification weights).
TORCHVISION_PARAMETERS: dict[ResNetVariant, int] = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
}
DEPTHS: dict[ResNetVariant, tuple[int, ...]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
}
VARIANTS = sorted(DEPTHS)


def torchvision_keys(variant: ResNetVariant) -> Iterator[str]:
    """Names in a torchvision state dict, without fc.weight and fc.bias."""
    bottleneck = variant == "resnet50"

    def normalization(name: str) -> Iterator[str]:
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{name}.{part}"

    yield "conv1.weight"
    yield from normalization("bn1")
    for stage, depth in enumerate(DEPTHS[variant], start=1):
        for block in range(depth):
            prefix = f"layer{stage}.{block}"
            for convolution in range(1, 4 if bottleneck else 3):
                yield f"{prefix}.conv{convolution}.weight"
                yield from normalization(f"{prefix}.bn{convolution}")
            if block == 0 and (bottleneck or stage > 1):
                yield f"{prefix}.downsample.0.weight"
                yield from normalization(f"{prefix}.downsample.1")


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_count_is_torchvisions(variant: ResNetVariant) -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder(variant, bands=3)
    deepest = encoder.channels[-1]
    assert deepest == (2048 if variant == "resnet50" else 512)
    classifier = deepest * 1000 + 1000
    assert sum(p.numel() for p in encoder.parameters()) + classifier == TORCHVISION_PARAMETERS[variant]


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_are_torchvisions(variant: ResNetVariant) -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder(variant, bands=3)
    assert set(encoder.state_dict()) == set(torchvision_keys(variant))


def test_the_stride_of_a_bottleneck_is_on_its_3x3() -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder("resnet50", bands=3)
    first = encoder.layer3[0]
    assert [first.conv1.stride, first.conv2.stride, first.conv3.stride] == [(1, 1), (2, 2), (1, 1)]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 65), (1, 1), (7, 50)])
def test_features_come_at_five_strides(variant: ResNetVariant, height: int, width: int) -> None:
    encoder = ResNetEncoder(variant, bands=2, width=0.125).eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(1, 2, height, width))
    assert [tuple(feature_nchw.shape) for feature_nchw in features] == [
        (1, channels, math.ceil(height / 2**level), math.ceil(width / 2**level))
        for level, channels in enumerate(encoder.channels, start=1)
    ]


def test_the_first_feature_is_before_the_pooling() -> None:
    encoder = ResNetEncoder("resnet18", bands=3, width=0.125).eval()
    image_nchw = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        stem_nchw = torch.relu(encoder.bn1(encoder.conv1(image_nchw)))
        assert torch.equal(encoder(image_nchw)[0], stem_nchw)


@pytest.mark.parametrize("width", [0.05, 0.3, 0.5, 1.7])
@pytest.mark.parametrize("variant", VARIANTS)
def test_channels_at_any_width_are_multiples_of_8(variant: ResNetVariant, width: float) -> None:
    with torch.device("meta"):
        encoder = ResNetEncoder(variant, bands=3, width=width)
    for name, weight in encoder.named_parameters():
        assert weight.shape[0] % 8 == 0, name


def test_initialization_is_he_fan_out() -> None:
    torch.manual_seed(0)
    encoder = ResNetEncoder("resnet18", bands=3, width=0.5)
    weight = encoder.get_parameter("layer4.1.conv2.weight")
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (weight.shape[0] * 9)), rel=0.02)
