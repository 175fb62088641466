"""ResNet encoders (He et al. 2016, Deep Residual Learning for Image Recognition), features at five strides.

Module names are those of torchvision's ResNets, so that weights in that layout load by name.
"""

from typing import Literal

from torch import Tensor, nn

from geoseg.models.blocks import initialize_he, scaled_channels

ResNetVariant = Literal["resnet18", "resnet34", "resnet50"]
"""Depth of a ResNet."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, channels_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(channels_in, planes * self.expansion, stride)

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
    """

    expansion = 4

    def __init__(self, channels_in: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels_in, planes * self.expansion, stride)

    def forward(self, features_nchw: Tensor) -> Tensor:
        """Features (N, C, H, W) to (N, 4 * planes, ceil(H / stride), ceil(W / stride))."""
        shortcut_nchw = features_nchw if self.downsample is None else self.downsample(features_nchw)
        out_nchw = self.relu(self.bn1(self.conv1(features_nchw)))
        out_nchw = self.relu(self.bn2(self.conv2(out_nchw)))
        out_nchw = self.bn3(self.conv3(out_nchw))
        return self.relu(out_nchw + shortcut_nchw)


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    """The projection of a block that changes the shape (option B of the paper), None where it does not."""
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


_Block = type[BasicBlock] | type[Bottleneck]

# Table 1 of the paper: the kind of block, and how many of them in each stage.
_STAGES: dict[ResNetVariant, tuple[_Block, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


def _stage(block: _Block, channels_in: int, planes: int, depth: int, stride: int) -> nn.Sequential:
    """`depth` blocks, the first of which takes the stride."""
    first = block(channels_in, planes, stride)
    return nn.Sequential(first, *(block(planes * block.expansion, planes, stride=1) for _ in range(depth - 1)))


class ResNetEncoder(nn.Module):
    """A ResNet without its classifier.

    Args:
        variant: Depth.
        bands: Input channels.
        width: Factor on every channel count (see `scaled_channels`); 1 is torchvision's network.

    Attributes:
        channels: Channel counts of the features, at strides 2, 4, 8, 16 and 32.
    """

    def __init__(self, variant: ResNetVariant, bands: int, width: float = 1.0) -> None:
        super().__init__()
        block, depths = _STAGES[variant]
        stem = scaled_channels(64, width)
        planes = [scaled_channels(count, width) for count in (64, 128, 256, 512)]
        outputs = [count * block.expansion for count in planes]
        self.channels: tuple[int, ...] = (stem, *outputs)
        self.conv1 = nn.Conv2d(bands, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, stem, planes[0], depths[0], stride=1)
        self.layer2 = _stage(block, outputs[0], planes[1], depths[1], stride=2)
        self.layer3 = _stage(block, outputs[1], planes[2], depths[2], stride=2)
        self.layer4 = _stage(block, outputs[2], planes[3], depths[3], stride=2)
        initialize_he(self)

    def forward(self, image_nchw: Tensor) -> tuple[Tensor, ...]:
        """Features at five strides.

        Args:
            image_nchw: Normalized images, float32 of shape (N, bands, H, W).

        Returns:
            Five tensors (N, channels[i], ceil(H / 2^(i+1)), ceil(W / 2^(i+1))). The first is taken before the
            max-pooling.
        """
        stride2_nchw = self.relu(self.bn1(self.conv1(image_nchw)))
        stride4_nchw = self.layer1(self.maxpool(stride2_nchw))
        stride8_nchw = self.layer2(stride4_nchw)
        stride16_nchw = self.layer3(stride8_nchw)
        stride32_nchw = self.layer4(stride16_nchw)
        return stride2_nchw, stride4_nchw, stride8_nchw, stride16_nchw, stride32_nchw
