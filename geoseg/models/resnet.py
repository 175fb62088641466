"""ResNet encoders (He et al. 2016, Deep Residual Learning for Image Recognition), features of five stages.

Module names are those of torchvision's ResNets, so that weights in that layout load by name.
"""

from typing import Literal

from torch import Tensor, nn

from geoseg.models.blocks import initialize_he, scaled_channels
from geoseg.models.normalization import Normalization, normalize

ResNetVariant = Literal["resnet18", "resnet34", "resnet50", "resnet101"]
"""Depth of a ResNet."""

OutputStride = Literal[8, 16, 32]
"""Input pixels per pixel of the deepest features, along each side."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 5 left).

    Args:
        channels_in: Input channels.
        planes: Output channels.
        stride: Of the first convolution.
        dilations: Steps between the taps of the first convolution, on the input's grid, and of the second, on the
            output's.
        normalization: Of what follows each convolution.
    """

    expansion = 1

    def __init__(
        self, channels_in: int, planes: int, stride: int, dilations: tuple[int, int], normalization: Normalization
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, planes, stride, dilations[0])
        self.bn1 = normalize(planes, normalization)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(planes, planes, 1, dilations[1])
        self.bn2 = normalize(planes, normalization)
        self.downsample = _shortcut(channels_in, planes * self.expansion, stride, normalization)

    def forward(self, features_nchw: Tensor) -> Tensor:
        """Features (N, C, H, W) to (N, planes, ceil(H / stride), ceil(W / stride))."""
        shortcut_nchw = features_nchw if self.downsample is None else self.downsample(features_nchw)
        out_nchw = self.relu(self.bn1(self.conv1(features_nchw)))
        out_nchw = self.bn2(self.conv2(out_nchw))
        return self.relu(out_nchw + shortcut_nchw)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al. 2016, figure 5 right).

    The stride is on the 3x3 convolution, as in torchvision ("ResNet v1.5"); the paper has it on the first
    1x1 convolution.

    Args:
        channels_in: Input channels.
        planes: Channels of the 3x3 convolution; a quarter of the output's.
        stride: Of the 3x3 convolution.
        dilations: Step between the taps of the 3x3 convolution, on the input's grid; the second has no effect, as
            the convolution on the output's grid is 1x1.
        normalization: Of what follows each convolution.
    """

    expansion = 4

    def __init__(
        self, channels_in: int, planes: int, stride: int, dilations: tuple[int, int], normalization: Normalization
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, planes, 1, bias=False)
        self.bn1 = normalize(planes, normalization)
        self.conv2 = _conv3x3(planes, planes, stride, dilations[0])
        self.bn2 = normalize(planes, normalization)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = normalize(planes * self.expansion, normalization)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, planes * self.expansion, stride, normalization)

    def forward(self, features_nchw: Tensor) -> Tensor:
        """Features (N, C, H, W) to (N, 4 * planes, ceil(H / stride), ceil(W / stride))."""
        shortcut_nchw = features_nchw if self.downsample is None else self.downsample(features_nchw)
        out_nchw = self.relu(self.bn1(self.conv1(features_nchw)))
        out_nchw = self.relu(self.bn2(self.conv2(out_nchw)))
        out_nchw = self.bn3(self.conv3(out_nchw))
        return self.relu(out_nchw + shortcut_nchw)


def _conv3x3(channels_in: int, channels_out: int, stride: int, dilation: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size, but for its stride."""
    return nn.Conv2d(channels_in, channels_out, 3, stride, padding=dilation, dilation=dilation, bias=False)


def _shortcut(
    channels_in: int, channels_out: int, stride: int, normalization: Normalization
) -> nn.Sequential | None:
    """The projection of a block that changes the shape (option B of the paper), None where it does not."""
    if stride == 1 and channels_in == channels_out:
        return None
    convolution = nn.Conv2d(channels_in, channels_out, 1, stride, bias=False)
    return nn.Sequential(convolution, normalize(channels_out, normalization))


_Block = type[BasicBlock] | type[Bottleneck]

# Table 1 of the paper: the kind of block, and how many of them in each stage.
_STAGES: dict[ResNetVariant, tuple[_Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}


def _stage(
    block: _Block,
    channels_in: int,
    planes: int,
    depth: int,
    stride: int,
    dilations: tuple[int, int],
    normalization: Normalization,
) -> nn.Sequential:
    """`depth` blocks, the first of which takes the stride and meets both dilations."""
    first = block(channels_in, planes, stride, dilations, normalization)
    channels, later = planes * block.expansion, (dilations[1], dilations[1])
    return nn.Sequential(first, *(block(channels, planes, 1, later, normalization) for _ in range(1, depth)))


class ResNetEncoder(nn.Module):
    """A ResNet without its classifier.

    At an output stride of 16 or 8 the last stages keep their resolution: what was a stride becomes a dilation of
    all 3x3 convolutions after it (Chen et al. 2017, Rethinking Atrous Convolution, section 3.1). So every pixel
    of the features at stride 32 is also one of the dense features, with the same weights and value. For
    bottlenecks this is torchvision's `replace_stride_with_dilation`, which refuses basic blocks.

    Args:
        variant: Depth.
        bands: Input channels.
        width: Factor on every channel count (see `scaled_channels`); 1 is torchvision's network.
        output_stride: Input pixels per pixel of the deepest features.
        normalization: Of what follows each convolution; torchvision's has "batch".

    Attributes:
        channels: Channel counts of the features of the five stages.
        width: As given.
        normalization: As given.
    """

    def __init__(
        self,
        variant: ResNetVariant,
        bands: int,
        width: float = 1.0,
        output_stride: OutputStride = 32,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        block, depths = _STAGES[variant]
        stem = scaled_channels(64, width)
        planes = [scaled_channels(count, width) for count in (64, 128, 256, 512)]
        outputs = [count * block.expansion for count in planes]
        # By how much layer3 and layer4 are finer than in the published network.
        finer3, finer4 = max(1, 16 // output_stride), max(1, 32 // output_stride)
        self.width = width
        self.normalization: Normalization = normalization
        self.channels: tuple[int, ...] = (stem, *outputs)
        self.conv1 = nn.Conv2d(bands, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = normalize(stem, normalization)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, stem, planes[0], depths[0], 1, (1, 1), normalization)
        self.layer2 = _stage(block, outputs[0], planes[1], depths[1], 2, (1, 1), normalization)
        self.layer3 = _stage(block, outputs[1], planes[2], depths[2], 2 // finer3, (1, finer3), normalization)
        self.layer4 = _stage(
            block, outputs[2], planes[3], depths[3], 2 * finer3 // finer4, (finer3, finer4), normalization
        )
        initialize_he(self)

    def forward(self, image_nchw: Tensor) -> tuple[Tensor, ...]:
        """Features of five stages.

        Args:
            image_nchw: Normalized images, float32 of shape (N, bands, H, W).

        Returns:
            Five tensors (N, channels[i], ceil(H / s), ceil(W / s)) with s = 2^(i+1), or the output stride where
            that is less. The first is taken before the max-pooling.
        """
        stem_nchw = self.relu(self.bn1(self.conv1(image_nchw)))
        first_nchw = self.layer1(self.maxpool(stem_nchw))
        second_nchw = self.layer2(first_nchw)
        third_nchw = self.layer3(second_nchw)
        return stem_nchw, first_nchw, second_nchw, third_nchw, self.layer4(third_nchw)
