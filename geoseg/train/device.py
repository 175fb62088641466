"""Where a network computes: the device that was asked for, or an error."""

import torch
from torch import nn

from geoseg.errors import ConfigError


def choose_device(name: str) -> torch.device:
    """The device that was asked for; no other one is taken instead.

    Args:
        name: "cpu", "cuda" or "cuda:N".

    Raises:
        ConfigError: It is none of these, or this machine does not have it.
    """
    kind, _, number = name.partition(":")
    if name != "cpu" and not (kind == "cuda" and (number.isdecimal() or name == "cuda")):
        raise ConfigError(f"expected --device cpu, cuda or cuda:N, got {name!r}")
    if kind == "cuda":
        found = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(number or 0) >= found:
            raise ConfigError(f"expected a CUDA device for --device {name}, this machine has {found}; use cpu")
    return torch.device(name)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, with its convolutions in channels-last order, which is faster on both kinds."""
    network.to(device)
    # torch's own stubs leave this keyword of Module.to out.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # see above
    return network
