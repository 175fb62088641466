import math
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from geoseg.models.resnet import OutputStride, ResNetEncoder, ResNetVariant

# Parameters of torchvision.models.resnet18, 34, 50, 101 with their 1000-class layer, from the "num_params" of their
# weights (https://pytorch.org/vision/stable/models.html, Table of all available classification weights).
TORCHVISION_PARAMETERS: dict[ResNetVariant, int] = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
}
DEPTHS: dict[ResNetVariant, tuple[int, ...]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
VARIANTS = sorted(DEPTHS)
BOTTLENECKS = ("resnet50", "resnet101")


def torchvision_keys(variant: ResNetVariant) -> Iterator[str]:
    """Names in a torchvision state dict, without fc.weight and fc.bias."""
    bottleneck = variant in BOTTLENECKS

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
    assert deepest == (2048 if variant in BOTTLENECKS else 512)
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


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (33, 65), (1, 1), (7, 50)])
def test_features_come_at_strides_up_to_the_output_stride(
    variant: ResNetVariant, output_stride: OutputStride, height: int, width: int
) -> None:
    encoder = ResNetEncoder(variant, bands=2, width=0.05, output_stride=output_stride).eval()
    with torch.inference_mode():
        features = encoder(torch.zeros(1, 2, height, width))
    strides = [min(2**level, output_stride) for level in range(1, 6)]
    assert [tuple(feature_nchw.shape) for feature_nchw in features] == [
        (1, channels, math.ceil(height / stride), math.ceil(width / stride))
        for channels, stride in zip(encoder.channels, strides, strict=True)
    ]


def dilated(variant: ResNetVariant, output_stride: OutputStride) -> tuple[ResNetEncoder, ResNetEncoder]:
    """The published network and the dilated one with the same weights, in float64."""
    torch.manual_seed(0)
    strided = ResNetEncoder(variant, bands=3, width=0.05)
    strided(torch.randn(2, 3, 64, 64))  # statistics other than 0 and 1
    dense = ResNetEncoder(variant, bands=3, width=0.05, output_stride=output_stride)
    dense.load_state_dict(strided.state_dict())
    return strided.double().eval(), dense.double().eval()


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("height", "width"), [(64, 96), (97, 130), (1, 7)])
def test_every_published_feature_is_one_of_the_dense_ones(
    variant: ResNetVariant, output_stride: OutputStride, height: int, width: int
) -> None:
    strided, dense = dilated(variant, output_stride)
    image_nchw = torch.randn(1, 3, height, width, dtype=torch.float64)
    with torch.inference_mode():
        pairs = zip(strided(image_nchw), dense(image_nchw), strict=True)
        for level, (published_nchw, dense_nchw) in enumerate(pairs, start=1):
            step = max(1, 2**level // output_stride)
            torch.testing.assert_close(dense_nchw[..., ::step, ::step], published_nchw)
            assert float(published_nchw.std()) > 0


@pytest.mark.parametrize("variant", ["resnet18", "resnet50"])
def test_the_dense_features_in_between_are_those_of_a_shifted_input(variant: ResNetVariant) -> None:
    strided, dense = dilated(variant, 16)
    features_nchw = torch.randn(1, strided.channels[3], 40, 40, dtype=torch.float64)
    inner = slice(6, -6)  # borders differ: the shifted input lacks its first row and column
    with torch.inference_mode():
        dense_nchw = dense.layer4(features_nchw)
        for row, col in [(0, 1), (1, 0), (1, 1)]:
            shifted_nchw = strided.layer4(features_nchw[..., row:, col:])
            between_nchw = dense_nchw[..., row::2, col::2]
            torch.testing.assert_close(between_nchw[..., inner, inner], shifted_nchw[..., inner, inner])


@pytest.mark.parametrize(
    ("output_stride", "third", "fourth"),
    [
        (32, [(2, 1), (1, 1), (1, 1)], [(2, 1), (1, 1), (1, 1)]),
        (16, [(2, 1), (1, 1), (1, 1)], [(1, 1), (1, 2), (1, 2)]),
        (8, [(1, 1), (1, 2), (1, 2)], [(1, 2), (1, 4), (1, 4)]),
    ],
)
@pytest.mark.parametrize("variant", BOTTLENECKS)
def test_bottlenecks_are_dilated_as_torchvisions(
    variant: ResNetVariant,
    output_stride: OutputStride,
    third: list[tuple[int, int]],
    fourth: list[tuple[int, int]],
) -> None:
    # torchvision.models.resnet.ResNet._make_layer: the first block has the dilation of the stage before, the
    # others the new one; replace_stride_with_dilation=[False, False, True] is stride 16, [False, True, True] 8.
    with torch.device("meta"):
        encoder = ResNetEncoder(variant, bands=3, output_stride=output_stride)
    for stage, expected in (("layer3", third), ("layer4", fourth)):
        found = [
            (layer.stride[0], layer.dilation[0])
            for name, layer in encoder.get_submodule(stage).named_modules()
            if isinstance(layer, nn.Conv2d) and name.endswith("conv2")
        ]
        assert found == [*expected[:2], *[expected[2]] * (len(found) - 2)]
        shortcut = encoder.get_submodule(f"{stage}.0.downsample.0")
        assert isinstance(shortcut, nn.Conv2d)
        assert shortcut.stride[0] == expected[0][0]


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
