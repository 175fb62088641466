"""The instance branch of panoptic networks (Cheng et al. 2020, Panoptic-DeepLab, section 3.1 and figure 2).

Beside the classes such a network says of each pixel how much it is the centre of an object, and where the centre of
its own object lies. The encoder is shared; the branch has a decoder of its own, of half the channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.models.blocks import DoubleConv, initialize_he
from geoseg.models.normalization import Normalization

INSTANCE_CHANNELS = 3
"""What the branch adds behind the classes: heat, and the offset along rows and along columns."""


_FIRST_STD = 1e-3


class CentreHeads(nn.Module):
    """From features to heat and offsets.

    Args:
        channels: Of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heat = nn.Conv2d(channels, 1, 3, padding=1)
        self.offset = nn.Conv2d(channels, 2, 3, padding=1)
        for head in (self.heat, self.offset):
            # Nearly nothing at first: the errors of greater heat would be the first that an optimizer remembers.
            nn.init.normal_(head.weight, std=_FIRST_STD)
            if head.bias is not None:
                nn.init.zeros_(head.bias)

    def forward(self, features_nchw: Tensor) -> Tensor:
        """From features (N, C, H, W) to (N, 3, H, W).

        Heat is 1 at a centre; offsets lead to it, rows before columns, in pixels of the image. They keep the
        weights' precision, under autocast too.
        """
        # Of an offset of 300 pixels 8 bits of mantissa leave steps of two.
        with torch.autocast(features_nchw.device.type, enabled=False):
            features_nchw = features_nchw.to(self.heat.weight.dtype)
            return torch.cat([self.heat(features_nchw), self.offset(features_nchw)], dim=1)


class InstanceDecoder(nn.Module):
    """A U-Net's instance branch: doubles the size, appends the encoder's features, convolves; up to stride 2.

    Args:
        channels_in: Of the encoder's deepest features.
        skips: Channels of its finer features, the deepest first, down to stride 2.
        outputs: Channels after each step.
        normalization: Of what follows each convolution.
    """

    def __init__(
        self,
        channels_in: int,
        skips: Sequence[int],
        outputs: Sequence[int],
        normalization: Normalization = "batch",
    ) -> None:
        super().__init__()
        inputs = [channels_in, *outputs[:-1]]
        self.steps = nn.ModuleList(
            DoubleConv(before + skip, after, normalization)
            for before, skip, after in zip(inputs, skips, outputs, strict=True)
        )
        self.heads = CentreHeads(outputs[-1])
        initialize_he(self.steps)

    def forward(self, deepest_nchw: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Heat and offsets (N, 3, H / 2, W / 2) from the deepest features and the finer ones, the deepest first."""
        features_nchw = deepest_nchw
        for convolutions, skip_nchw in zip(self.steps, skips, strict=True):
            features_nchw = functional.interpolate(features_nchw, scale_factor=2, mode="nearest")
            features_nchw = convolutions(torch.cat([features_nchw, skip_nchw], dim=1))
        return self.heads(features_nchw)


class Beside(nn.Module):
    """Classes and what the branch says of instances, at the size of the classes.

    A module, since memory is announced by what modules give out.
    """

    def forward(self, logits_nchw: Tensor, instances_nchw: Tensor) -> Tensor:
        """Put the branch's channels behind the classes.

        Args:
            logits_nchw: (N, classes, H, W).
            instances_nchw: (N, 3, h, w), in pixels of the image whatever their own size; enlarged bilinearly, pixel
                areas aligned.

        Returns:
            (N, classes + 3, H, W).
        """
        if instances_nchw.shape[-2:] != logits_nchw.shape[-2:]:
            instances_nchw = functional.interpolate(instances_nchw, size=logits_nchw.shape[-2:], mode="bilinear")
        return torch.cat([logits_nchw, instances_nchw], dim=1)
