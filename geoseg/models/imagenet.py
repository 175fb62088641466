"""Encoders that start from torchvision's ImageNet weights, read from a local file.

Those weights expect red, green and blue in this order, as numbers of mean 0 and standard deviation 1 over ImageNet;
a model's own normalization over its training regions comes close to that.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from geoseg.errors import ModelError
from geoseg.models.resnet import ResNetEncoder
from geoseg.models.weights import load_state

_CLASSIFIER = ("fc.weight", "fc.bias")
_COUNTER = "num_batches_tracked"  # files older than torch 0.4.1 lack these; nothing here depends on them
_STEM = "conv1.weight"


def load_encoder_weights(encoder: ResNetEncoder, path: Path) -> None:
    """Load torchvision's weights of a ResNet into an encoder of the same depth, in place.

    Loading is strict: the classifier (`fc.weight`, `fc.bias`) is dropped, every other tensor of the file must
    have its place in the encoder, and every weight of the encoder must be in the file. On an error nothing is
    loaded. Any output stride will do, it changes no weight. A stem for other bands than three is made by
    `adapt_stem`; one that is in the file already for as many bands as the encoder has is taken as it is.

    Args:
        encoder: Of width 1, with batch normalization.
        path: A `.pth`, `.pt` or `.safetensors` file with a state dict (see `load_state`: nothing is executed).

    Raises:
        ModelError: The encoder is not of width 1, or has no batch normalization; or the file cannot be read, or is
            not of this network (it names the tensors that are missing, unknown, of a wrong shape or not finite).
    """
    if encoder.width != 1:
        raise ModelError(
            f"expected an encoder of width 1 for the weights in {path}, got width {encoder.width}: "
            "set architecture.width to 1, or train without encoder weights"
        )
    if encoder.normalization != "batch":
        raise ModelError(
            f"expected batch normalization for the weights in {path}, got {encoder.normalization}: set "
            "architecture.normalization to batch, or train without encoder weights"
        )
    own = encoder.state_dict()
    state = {name: tensor for name, tensor in load_state(path).items() if name not in _CLASSIFIER}
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        raise ModelError(
            f"{path} holds weights of another network: missing {_listed(missing)}; unknown {_listed(unknown)}"
        )
    state[_STEM] = _stem(state[_STEM], own[_STEM].shape[1], path)
    _check(state, own, path)
    encoder.load_state_dict({**own, **state})


def adapt_stem(weight: Tensor, bands: int) -> Tensor:
    """The first convolution of a network for red, green and blue, made for another number of bands.

    With three or more, the filters of red, green and blue are dealt out to the bands in turn (red, green, blue,
    red, ...), each divided by the number of bands that get it; with one or two, each band gets the mean of the
    three times 3 / bands. Either way they add up to what they were: an image with the same value in all bands
    gives the response that it gave in grey.

    Args:
        weight: Shape (channels, 3, height, width).
        bands: Input channels of the result.

    Returns:
        Weights of shape (channels, `bands`, height, width).
    """
    if bands < 3:
        return weight.sum(dim=1, keepdim=True).expand(-1, bands, -1, -1) / bands
    colors = torch.arange(bands, device=weight.device) % 3
    shared_by = torch.bincount(colors)[colors].to(weight.dtype)
    return weight[:, colors] / shared_by[:, None, None]


def _stem(weight: Tensor, bands: int, path: Path) -> Tensor:
    """The file's first convolution for a number of bands."""
    if weight.ndim != 4 or weight.shape[1] not in (3, bands):
        raise ModelError(f"expected {_STEM} in {path} for 3 or {bands} bands, got shape {tuple(weight.shape)}")
    return weight if weight.shape[1] == bands else adapt_stem(weight.float(), bands)


def _check(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that do not fit the encoder's, the first by name."""
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ModelError(
                f"expected {name} of shape {tuple(own[name].shape)} in {path}, got {tuple(tensor.shape)}: "
                "the weights are of another network"
            )
        if name.endswith(_COUNTER):
            continue
        if not tensor.is_floating_point():
            raise ModelError(f"expected {name} in {path} as floating-point numbers, got {tensor.dtype}")
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name} in {path} holds NaN or infinity")


def _listed(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    shown = "".join(char if char.isprintable() else "?" for char in ", ".join(names[:4])[:300])
    return f"{shown}{more}"
