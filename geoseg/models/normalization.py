"""The layers that normalize features: over the batch, or over groups of channels of each image by itself."""

from typing import Literal

from torch import nn

Normalization = Literal["batch", "group"]
"""Batch normalization (Ioffe and Szegedy 2015) or group normalization (Wu and He 2018)."""

_GROUP_CHANNELS = 16
_MOST_GROUPS = 32
"""Groups of 16 channels did best in the paper (table 3), and 32 of them are its default."""


def normalize(channels: int, kind: Normalization) -> nn.Module:
    """A layer that normalizes features (N, channels, H, W), with a learned scale and offset for each channel.

    Group normalization computes over each image by itself, in training and after it alike: it depends on no batch,
    so small ones do, and on several workers nothing is exchanged. What it makes of a pixel depends on the whole
    image that the network is given, so a model should map tiles of about the size of its crops.

    Args:
        channels: How many there are.
        kind: Which normalization.
    """
    match kind:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "group":
            return nn.GroupNorm(groups(channels), channels)


def groups(channels: int) -> int:
    """Into how many groups channels are divided: as many as there can be of 16 channels or more, 32 at most.

    All are of one size, so there are fewer where the channels cannot be divided; below 32 channels there is one.
    """
    most = min(_MOST_GROUPS, max(1, channels // _GROUP_CHANNELS))
    return next(count for count in range(most, 0, -1) if channels % count == 0)
