"""DeepLabV3+ (Chen et al. 2018, Encoder-Decoder with Atrous Separable Convolution) on a ResNet encoder.

Where the paper leaves a choice, it is the one of the authors' code (tensorflow/models, research/deeplab/model.py),
but for one: images are resized with pixel areas aligned (torch's `align_corners=False`), not corner pixels, so that
the network moves with its stride whatever the image's size.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.errors import ModelError
from geoseg.models.blocks import initialize_he, initialize_head, pad_to_multiple, scaled_channels
from geoseg.models.instances import Beside, CentreHeads
from geoseg.models.normalization import Normalization, normalize
from geoseg.models.resnet import ResNetEncoder, ResNetVariant

_DROPOUT = 0.1
"""As in the authors' code (keep_prob=0.9); the paper gives no figure, torchvision's DeepLabV3 has 0.5."""


def _unit(
    channels_in: int,
    channels_out: int,
    kernel: int,
    dilation: int = 1,
    *,
    normalization: Normalization,
    separable: bool = False,
) -> list[nn.Module]:
    """A convolution that keeps the size, normalization and ReLU.

    A separable one is a depthwise convolution and a 1x1 convolution, each with normalization and ReLU (section 3.2
    of the paper, "atrous separable convolution", and the authors' `_split_separable_conv2d`).
    """
    padding = dilation * (kernel // 2)
    if separable:
        depthwise = nn.Conv2d(
            channels_in, channels_in, kernel, padding=padding, dilation=dilation, groups=channels_in, bias=False
        )
        return [
            depthwise,
            normalize(channels_in, normalization),
            nn.ReLU(inplace=True),
            *_unit(channels_in, channels_out, 1, normalization=normalization),
        ]
    convolution = nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False)
    return [convolution, normalize(channels_out, normalization), nn.ReLU(inplace=True)]


def _measures(layer: nn.Module) -> bool:
    """Whether a layer computes over the batch that it is given."""
    return isinstance(layer, nn.BatchNorm2d) and layer.training


class ImagePooling(nn.Sequential):
    """The mean of the whole image, a 1x1 convolution with normalization and ReLU, spread over the image again.

    Liu et al. 2015 (ParseNet), as Chen et al. 2017 (Rethinking Atrous Convolution, section 3.3) took it up. The
    bilinear upsampling of a single pixel is that pixel everywhere.
    """

    def __init__(self, channels_in: int, channels_out: int, normalization: Normalization = "batch") -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_unit(channels_in, channels_out, 1, normalization=normalization))

    def forward(self, features_nchw: Tensor) -> Tensor:
        """Features (N, C, H, W) to (N, channels_out, H, W), the same at every pixel.

        Raises:
            ModelError: One image in training with batch normalization: over a single value it would make every
                feature 0.
        """
        if features_nchw.shape[0] == 1 and any(_measures(layer) for layer in self):
            raise ModelError(
                "expected a batch of 2 or more images to train DeepLabV3+, got 1: its image pooling has one value "
                "per image, which cannot be normalized; raise training.batch, or take "
                "architecture.normalization group"
            )
        height, width = features_nchw.shape[-2:]
        for layer in self:
            features_nchw = layer(features_nchw)
        return features_nchw.expand(-1, -1, height, width)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017, Rethinking Atrous Convolution, section 3.3 and figure 5).

    A 1x1 convolution, three 3x3 atrous ones and image pooling side by side; a 1x1 convolution of them all, dropout.
    Module names and their order are those of torchvision's DeepLabV3.

    Args:
        channels_in: Input channels.
        channels: Channels of each branch and of the output; 256 in the paper.
        rates: Dilations of the 3x3 convolutions; 6, 12, 18 at output stride 16, twice that at 8.
        separable: Whether the 3x3 convolutions are depthwise separable.
        normalization: Of what follows each convolution.
    """

    def __init__(
        self,
        channels_in: int,
        channels: int,
        rates: tuple[int, ...],
        separable: bool = False,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Sequential(*_unit(channels_in, channels, 1, normalization=normalization)),
                *(
                    nn.Sequential(
                        *_unit(channels_in, channels, 3, rate, normalization=normalization, separable=separable)
                    )
                    for rate in rates
                ),
                ImagePooling(channels_in, channels, normalization),
            ]
        )
        self.project = nn.Sequential(
            *_unit(len(self.convs) * channels, channels, 1, normalization=normalization), nn.Dropout(_DROPOUT)
        )

    def forward(self, features_nchw: Tensor) -> Tensor:
        """Features (N, channels_in, H, W) to (N, channels, H, W)."""
        return self.project(torch.cat([branch(features_nchw) for branch in self.convs], dim=1))


class Decoder(nn.Module):
    """The decoder that refines object boundaries (Chen et al. 2018, section 3.1 and table 2).

    Args:
        channels_in: Channels of the features of the spatial pyramid.
        channels_low: Channels of the features of stride 4.
        channels_reduced: What the latter are reduced to; 48 in the paper.
        channels: Channels of the two 3x3 convolutions; 256 in the paper.
        separable: Whether these are depthwise separable.
        normalization: Of what follows each convolution.
    """

    def __init__(
        self,
        channels_in: int,
        channels_low: int,
        channels_reduced: int,
        channels: int,
        separable: bool = False,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        self.reduce = nn.Sequential(*_unit(channels_low, channels_reduced, 1, normalization=normalization))
        self.refine = nn.Sequential(
            *_unit(channels_in + channels_reduced, channels, 3, normalization=normalization, separable=separable),
            *_unit(channels, channels, 3, normalization=normalization, separable=separable),
        )

    def forward(self, features_nchw: Tensor, low_nchw: Tensor) -> Tensor:
        """Features (N, channels_in, h, w) and low-level ones (N, channels_low, H, W) to (N, channels, H, W)."""
        upsampled_nchw = functional.interpolate(features_nchw, size=low_nchw.shape[-2:], mode="bilinear")
        return self.refine(torch.cat([upsampled_nchw, self.reduce(low_nchw)], dim=1))


class InstanceBranch(nn.Module):
    """The instance branch of Panoptic-DeepLab: a spatial pyramid and a decoder of its own, of half the channels.

    Cheng et al. 2020, section 3.1 ("dual-ASPP and dual-decoder").

    Args:
        deepest: Channels of the encoder's deepest features.
        low: Channels of its features of stride 4.
        width: Factor on every channel count.
        rates: Dilations of the pyramid.
        separable: Whether 3x3 convolutions are depthwise separable.
        normalization: Of what follows each convolution.
    """

    def __init__(
        self,
        deepest: int,
        low: int,
        width: float,
        rates: tuple[int, ...],
        separable: bool = False,
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        channels = scaled_channels(128, width)
        self.aspp = ASPP(deepest, channels, rates, separable, normalization)
        self.decoder = Decoder(channels, low, scaled_channels(24, width), channels, separable, normalization)
        self.heads = CentreHeads(channels)
        initialize_he(self.aspp)
        initialize_he(self.decoder)

    def forward(self, deepest_nchw: Tensor, low_nchw: Tensor) -> Tensor:
        """Heat and offsets (N, 3, H / 4, W / 4) of the encoder's deepest features and of those of stride 4."""
        return self.heads(self.decoder(self.aspp(deepest_nchw), low_nchw))


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ on a ResNet.

    What it says of a pixel depends on the whole image, through the mean in its image pooling.

    Args:
        encoder: Depth of the encoder.
        bands: Input channels.
        classes: Output channels.
        width: Factor on every channel count (see `scaled_channels`).
        output_stride: Input pixels per pixel of the encoder's deepest features: 8 is finer and slower.
        separable: Whether the 3x3 convolutions after the encoder are depthwise separable (section 3.1 of the
            paper: fewer operations at a similar quality).
        normalization: Of what follows each convolution.
        instances: Whether it has an instance branch.
    """

    def __init__(
        self,
        encoder: ResNetVariant,
        bands: int,
        classes: int,
        width: float = 1.0,
        output_stride: Literal[8, 16] = 16,
        separable: bool = False,
        normalization: Normalization = "batch",
        *,
        instances: bool = False,
    ) -> None:
        super().__init__()
        self.stride_px: int = output_stride
        self.encoder = ResNetEncoder(encoder, bands, width, output_stride, normalization)
        _, low, *_, deepest = self.encoder.channels
        channels = scaled_channels(256, width)
        rates = tuple(rate * 16 // output_stride for rate in (6, 12, 18))
        self.aspp = ASPP(deepest, channels, rates, separable, normalization)
        self.decoder = Decoder(channels, low, scaled_channels(48, width), channels, separable, normalization)
        self.head = nn.Conv2d(channels, classes, 1)
        initialize_he(self.aspp)
        initialize_he(self.decoder)
        initialize_head(self.head)
        self.instances, self.beside = None, Beside()
        if instances:
            self.instances = InstanceBranch(deepest, low, width, rates, separable, normalization)

    def forward(self, image_nchw: Tensor) -> Tensor:
        """Class logits of every pixel.

        Args:
            image_nchw: Normalized images, float32 of shape (N, bands, H, W), H, W >= 1; in training with batch
                normalization N >= 2.

        Returns:
            Logits, float32 of shape (N, classes, H, W); with an instance branch (N, classes + 3, H, W), see
            `CentreHeads`.

        Raises:
            ModelError: One image in training (see `ImagePooling`).
        """
        height_px, width_px = image_nchw.shape[-2:]
        _, low_nchw, *_, deepest_nchw = self.encoder(pad_to_multiple(image_nchw, self.stride_px))
        logits_nchw = self.head(self.decoder(self.aspp(deepest_nchw), low_nchw))
        logits_nchw = functional.interpolate(logits_nchw, scale_factor=4, mode="bilinear")
        if self.instances is not None:
            logits_nchw = self.beside(logits_nchw, self.instances(deepest_nchw, low_nchw))
        return logits_nchw[..., :height_px, :width_px]
