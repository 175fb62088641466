"""Stages of an encoder that stay as they are while the rest of the network learns."""

from typing import get_args

from torch import nn

from geoseg.config.recipe import Stage
from geoseg.errors import ConfigError
from geoseg.models.deeplab import DeepLabV3Plus
from geoseg.models.unet import ResNetUNet, UNet


def encoder_stages(network: nn.Module) -> dict[Stage, tuple[nn.Module, ...]]:
    """The five stages of a network's encoder, from the image on; of a classic U-Net its way down.

    Raises:
        ConfigError: The network has no encoder that is known.
    """
    names: tuple[Stage, ...] = get_args(Stage)
    match network:
        case ResNetUNet(encoder=encoder) | DeepLabV3Plus(encoder=encoder):
            stem = (encoder.conv1, encoder.bn1)
            layers = [(getattr(encoder, name),) for name in names[1:]]
            return dict(zip(names, [stem, *layers], strict=True))
        case UNet(down=down):
            return {name: (part,) for name, part in zip(names, down, strict=True)}
        case _:
            raise ConfigError(f"training.freeze: {type(network).__name__} has no encoder with stages, remove it")


class Frozen:
    """Parts of a network that no step changes: neither weights nor batch statistics.

    Statistics of a new region under old weights would make other features of them, which the frozen weights after
    them never learned to use; so they stay, too.
    """

    def __init__(self, network: nn.Module, stages: int | tuple[Stage, ...]) -> None:
        """Freeze stages of a network, in place.

        Args:
            network: Its weights in these stages take no gradient from now on.
            stages: By name, or the first so many.

        Raises:
            ConfigError: The network has no such stages.
        """
        self._modules: tuple[nn.Module, ...] = ()
        if not stages:
            return
        known = encoder_stages(network)
        names = list(known)[:stages] if isinstance(stages, int) else stages
        self._modules = tuple(module for name in names for module in known[name])
        for module in self._modules:
            module.requires_grad_(requires_grad=False)

    def hold(self) -> None:
        """Keep batch statistics: to be called after the network was put into training mode."""
        for module in self._modules:
            module.eval()
