"""Which network a model is: a name and its arguments, and the network built from them."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from geoseg.errors import ModelError
from geoseg.labels import NODATA_CLASS
from geoseg.models.deeplab import DeepLabV3Plus
from geoseg.models.instances import INSTANCE_CHANNELS
from geoseg.models.normalization import Normalization
from geoseg.models.resnet import ResNetVariant
from geoseg.models.unet import ResNetUNet, UNet

ArchitectureName = Literal[
    "unet",
    "unet_resnet18",
    "unet_resnet34",
    "unet_resnet50",
    "unet_resnet101",
    "deeplabv3plus_resnet18",
    "deeplabv3plus_resnet34",
    "deeplabv3plus_resnet50",
    "deeplabv3plus_resnet101",
]
"""The networks that can be built."""

MAX_BANDS = 512
"""More than any hyperspectral sensor has; a model package that says more is broken or hostile."""

MAX_WIDTH = 4.0
"""Sixteen times the parameters of the published networks; a package that says more is broken or hostile."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network and its arguments.

    Attributes:
        name: The network.
        bands: Input channels.
        classes: Output channels.
        width: Factor on every channel count.
        output_stride: Of DeepLabV3+: input pixels per pixel of the deepest features.
        separable: Of DeepLabV3+: whether 3x3 convolutions after the encoder are depthwise separable.
        decoder_stride: Of U-Nets with a ResNet: input pixels per pixel of the decoder's last features.
        normalization: Of what follows each convolution.
        instances: Whether it tells objects apart, with an instance branch (`geoseg.models.instances`).

    Raises:
        ModelError: The name is unknown, or an argument is out of its limits.
    """

    name: ArchitectureName
    bands: int
    classes: int
    width: float = 1.0
    output_stride: Literal[8, 16] = 16
    separable: bool = False
    decoder_stride: Literal[1, 2, 4] = 1
    normalization: Normalization = "batch"
    instances: bool = False

    @property
    def channels(self) -> int:
        """What the network gives of each pixel: its classes, and what it says of instances."""
        return self.classes + (INSTANCE_CHANNELS if self.instances else 0)

    def __post_init__(self) -> None:
        known = get_args(ArchitectureName)
        if self.name not in known:
            raise ModelError(f"expected an architecture out of {', '.join(known)}, got {self.name!r}")
        if not 1 <= self.bands <= MAX_BANDS:
            raise ModelError(f"expected 1 to {MAX_BANDS} bands, got {self.bands}")
        if not 2 <= self.classes <= NODATA_CLASS:
            raise ModelError(f"expected 2 to {NODATA_CLASS} classes, got {self.classes}")
        if not 0 < self.width <= MAX_WIDTH:
            raise ModelError(f"expected a width above 0 and up to {MAX_WIDTH}, got {self.width}")
        if self.output_stride not in (8, 16):
            raise ModelError(f"expected an output stride of 8 or 16, got {self.output_stride!r}")
        if not self.name.startswith("deeplabv3plus_") and (self.output_stride != 16 or self.separable):
            raise ModelError(f"output_stride and separable are for deeplabv3plus networks, not for {self.name}")
        if self.normalization not in get_args(Normalization):
            raise ModelError(f"expected a normalization batch or group, got {self.normalization!r}")
        if self.decoder_stride not in (1, 2, 4):
            raise ModelError(f"expected a decoder stride of 1, 2 or 4, got {self.decoder_stride!r}")
        if not self.name.startswith("unet_") and self.decoder_stride != 1:
            raise ModelError(f"decoder_stride is for unet networks with a ResNet encoder, not for {self.name}")


def build(architecture: Architecture) -> nn.Module:
    """The network with freshly initialized weights, in training mode.

    It takes normalized images, float32 (N, bands, H, W) of any size, and returns logits (N, classes, H, W); with an
    instance branch (N, classes + 3, H, W).
    """
    bands, classes, width = architecture.bands, architecture.classes, architecture.width
    normalization, instances = architecture.normalization, architecture.instances
    match architecture.name:
        case "unet":
            return UNet(bands, classes, width, normalization, instances=instances)
        case "unet_resnet18" | "unet_resnet34" | "unet_resnet50" | "unet_resnet101":
            encoder, stride = _encoder(architecture.name), architecture.decoder_stride
            return ResNetUNet(encoder, bands, classes, width, stride, normalization, instances=instances)
        case (
            "deeplabv3plus_resnet18"
            | "deeplabv3plus_resnet34"
            | "deeplabv3plus_resnet50"
            | "deeplabv3plus_resnet101"
        ):
            encoder, finest = _encoder(architecture.name), architecture.output_stride
            separable = architecture.separable
            return DeepLabV3Plus(
                encoder, bands, classes, width, finest, separable, normalization, instances=instances
            )


def _encoder(name: ArchitectureName) -> ResNetVariant:
    """The ResNet that a network's name ends with."""
    return next(variant for variant in get_args(ResNetVariant) if name.endswith(f"_{variant}"))
