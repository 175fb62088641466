"""A network on the device that it is trained on, and what that device can do."""

import torch
from torch import nn

from geoseg.errors import ConfigError


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on a device, with its convolutions in channels-last order, which is faster on CPU and GPU."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    return network


def check_sync_batch_norm(device: torch.device, *, asked: bool) -> None:
    """Refuse synchronized batch normalization where torch has none.

    Args:
        device: Where training is to be.
        asked: Whether the recipe asks for it.

    Raises:
        ConfigError: It does, and the device is no GPU.
    """
    if asked and device.type != "cuda":
        raise ConfigError(
            f"expected a CUDA device for training.sync_batch_norm, got {device.type}: remove it, or use "
            "architecture.normalization: group, which needs no exchange"
        )


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that a device does not train in.

    Args:
        precision: "fp32", "bf16" or "fp16".
        device: Where training is to be.

    Raises:
        ConfigError: It is fp16, and the device no GPU: its small range needs scaled gradients, and CPUs are no
            faster in it.
    """
    if precision == "fp16" and device.type != "cuda":
        raise ConfigError(
            f"training.precision: fp16 is for CUDA, this run is on {device.type}: take fp32, or bf16, which has "
            "the range of fp32"
        )
