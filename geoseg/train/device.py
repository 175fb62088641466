"""A network on the device that it is trained on."""

import torch
from torch import nn


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, with its convolutions in channels-last order, which is faster on CPU and GPU."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network
