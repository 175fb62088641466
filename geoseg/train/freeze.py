"""Stages of an encoder, and statistics of normalization, that stay as they are while the rest learns."""

from typing import get_args

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

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

    def __init__(self, network: nn.Module, stages: int | tuple[Stage, ...], *, norms: bool = False) -> None:
        """Freeze stages of a network, in place.

        Args:
            network: As training begins; its weights in these stages take no gradient from now on.
            stages: By name, or the first so many.
            norms: Whether all batch normalization that has measured statistics keeps them; its scales and offsets
                go on learning outside of the stages.

        Raises:
            ConfigError: The network has no such stages, or no statistics to keep.
        """
        self._modules: tuple[nn.Module, ...] = ()
        if stages:
            known = encoder_stages(network)
            names = list(known)[:stages] if isinstance(stages, int) else stages
            self._modules = tuple(module for name in names for module in known[name])
        for module in self._modules:
            module.requires_grad_(requires_grad=False)
        if norms:
            self._modules += _measured(network)

    def hold(self) -> None:
        """Keep batch statistics: to be called after the network was put into training mode."""
        for module in self._modules:
            module.eval()


def _measured(network: nn.Module) -> tuple[nn.Module, ...]:
    """The batch normalizations of a network whose statistics are not those that torch begins with."""
    # What SyncBatchNorm and BatchNorm2d are alike.
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        raise ConfigError(
            "training.freeze_norm: expected a network with batch normalization, got one without (group "
            "normalization has no statistics): remove it"
        )
    measured = tuple(layer for layer in layers if not _is_fresh(layer))
    if not measured:
        raise ConfigError(
            "training.freeze_norm: expected statistics to keep, got a network that begins from chance and has "
            "measured none: name start_from or architecture.encoder_weights, or remove it"
        )
    return measured


def _is_fresh(layer: _BatchNorm) -> bool:
    """Whether its statistics are still 0 and 1."""
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None  # no network here goes without
    assert variance is not None
    return bool((mean == 0).all()) and bool((variance == 1).all())
