"""The last layer of a network, of which its logits are a linear function."""

import torch
from torch import nn

from geoseg.errors import ModelError


def divide_logits(network: nn.Module, temperature: float) -> None:
    """Fold a temperature into a network, in place: from then on its logits are divided by it.

    Every network here ends in a convolution named `head`; what DeepLabV3+ does after it (interpolation) is linear
    too, so dividing weights and bias divides the logits. Probabilities are calibrated so (Guo et al. 2017, On
    calibration of modern neural networks, section 4.2) wherever the network is used, with no further code.

    Args:
        network: Of any architecture of `geoseg.models.architecture`.
        temperature: Positive.

    Raises:
        ModelError: The network has no such layer.
        ValueError: The temperature is not positive and finite.
    """
    if not 0 < temperature < float("inf"):
        raise ValueError(f"expected a positive temperature, got {temperature}")
    head = getattr(network, "head", None)
    if not isinstance(head, nn.Conv2d):
        raise ModelError(f"expected a network that ends in a convolution named head, got {type(network).__name__}")
    with torch.no_grad():
        head.weight /= temperature
        if head.bias is not None:
            head.bias /= temperature
