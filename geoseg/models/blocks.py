"""The pieces that the networks share: channel counts, double convolutions, and sizes that fit the stride."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.models.normalization import Normalization, normalize


def scaled_channels(channels: int, width: float) -> int:
    """A layer's channel count in a network made thinner or wider.

    The nearest multiple of 8 (what vectorized kernels and tensor cores like), and at least 8; the width
    multiplier of MobileNets (Howard et al. 2017, section 3.3). A count that is a multiple of 8 stays as it
    is at width 1.

    Args:
        channels: The count at width 1.
        width: The factor.
    """
    return max(8, 8 * math.floor(channels * width / 8 + 0.5))


def initialize_he(module: nn.Module) -> None:
    """Initialize convolutions for ReLU, in place: normal, variance 2 / fan-out (He et al. 2015, section 2.2).

    Biases start at zero, normalization without change: what torchvision does for its ResNets. The fan-out
    of a grouped convolution is that of one group.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and not layer.weight.is_meta:
            # (Random numbers for tensors without storage would make torch load its compiler, which takes seconds.)
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            with torch.no_grad():
                layer.weight.mul_(math.sqrt(layer.groups))  # torch counts the channels of all groups
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.ones_(layer.weight)
            nn.init.zeros_(layer.bias)


def initialize_head(head: nn.Conv2d) -> None:
    """Initialize a layer that no ReLU follows, in place (Glorot and Bengio 2010, equation 16)."""
    nn.init.xavier_uniform_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions that keep the size, each followed by normalization and ReLU."""

    def __init__(self, channels_in: int, channels_out: int, normalization: Normalization = "batch") -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            normalize(channels_out, normalization),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=1, bias=False),
            normalize(channels_out, normalization),
            nn.ReLU(inplace=True),
        )


def pad_to_multiple(image_nchw: Tensor, stride_px: int) -> Tensor:
    """Extend an image right and down until both sides are multiples of a stride.

    The last row and column are repeated; mirroring would fail where an image is narrower than the padding.

    Args:
        image_nchw: Images, shape (N, C, H, W) with H, W >= 1.
        stride_px: The stride.

    Returns:
        Images of shape (N, C, H + p, W + q), 0 <= p, q < `stride_px`.
    """
    bottom_px, right_px = -image_nchw.shape[-2] % stride_px, -image_nchw.shape[-1] % stride_px
    if bottom_px == right_px == 0:
        return image_nchw
    return functional.pad(image_nchw, (0, right_px, 0, bottom_px), mode="replicate")
