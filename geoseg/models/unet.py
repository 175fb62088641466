"""U-Nets: the classic one (Ronneberger et al. 2015), and one whose encoder is a ResNet.

Both take images of any size, and give logits of the same size; with an instance branch, heat and offsets behind.
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from geoseg.models.blocks import DoubleConv, initialize_he, initialize_head, pad_to_multiple, scaled_channels
from geoseg.models.instances import Beside, InstanceDecoder
from geoseg.models.normalization import Normalization
from geoseg.models.resnet import ResNetEncoder, ResNetVariant


class UNet(nn.Module):
    """U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger et al. 2015, figure 1).

    It deviates from the paper in two ways: convolutions are padded, so that the output has the input's size
    and skips need no cropping, and each is followed by normalization (and so has no bias).

    Args:
        bands: Input channels.
        classes: Output channels.
        width: Factor on every channel count (see `scaled_channels`); 1 is the paper's 64 to 1024.
        normalization: Of what follows each convolution.
        instances: Whether it has an instance branch.
    """

    stride_px = 16

    def __init__(
        self,
        bands: int,
        classes: int,
        width: float = 1.0,
        normalization: Normalization = "batch",
        *,
        instances: bool = False,
    ) -> None:
        super().__init__()
        channels = [scaled_channels(count, width) for count in (64, 128, 256, 512, 1024)]
        self.down = nn.ModuleList(
            DoubleConv(before, after, normalization) for before, after in pairwise([bands, *channels])
        )
        self.pool = nn.MaxPool2d(2)
        deepest_first = channels[::-1]
        steps = list(pairwise(deepest_first))
        self.up = nn.ModuleList(nn.ConvTranspose2d(deep, fine, 2, stride=2) for deep, fine in steps)
        self.merge = nn.ModuleList(DoubleConv(2 * fine, fine, normalization) for _, fine in steps)
        self.head = nn.Conv2d(channels[0], classes, 1)
        initialize_he(self)
        initialize_head(self.head)
        self.instances, self.beside = None, Beside()
        if instances:
            outputs = [scaled_channels(count, width) for count in (256, 128, 64)]
            self.instances = InstanceDecoder(channels[-1], channels[-2:0:-1], outputs, normalization)

    def forward(self, image_nchw: Tensor) -> Tensor:
        """Class logits of every pixel.

        Args:
            image_nchw: Normalized images, float32 of shape (N, bands, H, W), H, W >= 1.

        Returns:
            Logits, float32 of shape (N, classes, H, W); with an instance branch (N, classes + 3, H, W), see
            `CentreHeads`.
        """
        height_px, width_px = image_nchw.shape[-2:]
        features_nchw = self.down[0](pad_to_multiple(image_nchw, self.stride_px))
        skips = []
        for down in self.down[1:]:
            skips.append(features_nchw)
            features_nchw = down(self.pool(features_nchw))
        centres_nchw = None if self.instances is None else self.instances(features_nchw, skips[:0:-1])
        for up, merge in zip(self.up, self.merge, strict=True):
            features_nchw = merge(torch.cat([skips.pop(), up(features_nchw)], dim=1))
        logits_nchw = self.head(features_nchw)
        if centres_nchw is not None:
            logits_nchw = self.beside(logits_nchw, centres_nchw)
        return logits_nchw[..., :height_px, :width_px]


class ResNetUNet(nn.Module):
    """A U-Net on a ResNet encoder, as segmentation_models.pytorch made it known (`smp.Unet`).

    Five times: double the size (nearest neighbour), append the encoder's features of that stride (none at
    full size), two convolutions. The channel counts, and so the number of parameters, are `smp.Unet`'s.

    The last of these steps are the dearest. A decoder that ends at stride 2 or 4 leaves out one or two of them; the
    head is then on that stride, and its logits are brought to the image's size, bilinear with pixel areas aligned,
    as DeepLabV3+ does (Chen et al. 2018).

    Args:
        encoder: Depth of the encoder.
        bands: Input channels.
        classes: Output channels.
        width: Factor on every channel count (see `scaled_channels`).
        decoder_stride: Input pixels per pixel of the decoder's last features.
        normalization: Of what follows each convolution.
        instances: Whether it has an instance branch.
    """

    stride_px = 32

    def __init__(
        self,
        encoder: ResNetVariant,
        bands: int,
        classes: int,
        width: float = 1.0,
        decoder_stride: Literal[1, 2, 4] = 1,
        normalization: Normalization = "batch",
        *,
        instances: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = ResNetEncoder(encoder, bands, width, normalization=normalization)
        *skips, deepest = self.encoder.channels
        steps = {1: 5, 2: 4, 4: 3}[decoder_stride]
        outputs = [scaled_channels(count, width) for count in (256, 128, 64, 32, 16)][:steps]
        inputs = [deepest, *outputs[:-1]]
        self.decoder = nn.ModuleList(
            DoubleConv(before + skip, after, normalization)
            for before, skip, after in zip(inputs, [*skips[::-1], 0][:steps], outputs, strict=True)
        )
        self.head = nn.Conv2d(outputs[-1], classes, 3, padding=1)
        # A module, since memory is announced by what modules give out.
        self.enlarge = None if decoder_stride == 1 else nn.Upsample(scale_factor=decoder_stride, mode="bilinear")
        initialize_he(self.decoder)
        initialize_head(self.head)
        self.instances, self.beside = None, Beside()
        if instances:
            halves = [scaled_channels(count, width) for count in (128, 64, 32, 16)]
            self.instances = InstanceDecoder(deepest, skips[::-1], halves, normalization)

    def forward(self, image_nchw: Tensor) -> Tensor:
        """Class logits of every pixel.

        Args:
            image_nchw: Normalized images, float32 of shape (N, bands, H, W), H, W >= 1.

        Returns:
            Logits, float32 of shape (N, classes, H, W); with an instance branch (N, classes + 3, H, W), see
            `CentreHeads`.
        """
        height_px, width_px = image_nchw.shape[-2:]
        *skips, features_nchw = self.encoder(pad_to_multiple(image_nchw, self.stride_px))
        centres_nchw = None if self.instances is None else self.instances(features_nchw, skips[::-1])
        for convolutions in self.decoder:
            features_nchw = functional.interpolate(features_nchw, scale_factor=2, mode="nearest")
            if skips:
                features_nchw = torch.cat([features_nchw, skips.pop()], dim=1)
            features_nchw = convolutions(features_nchw)
        logits_nchw = self.head(features_nchw)
        if self.enlarge is not None:
            logits_nchw = self.enlarge(logits_nchw)
        if centres_nchw is not None:
            logits_nchw = self.beside(logits_nchw, centres_nchw)
        return logits_nchw[..., :height_px, :width_px]
