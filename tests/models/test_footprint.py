"""The memory of a forward pass, measured on a small one."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from geoseg.models.architecture import Architecture, build
from geoseg.models.footprint import forward_bytes

ARCHITECTURES = (
    Architecture("unet", 4, 3, 0.125),
    Architecture("unet_resnet18", 4, 3, 0.125),
    Architecture("unet_resnet18", 4, 255, 0.125, decoder_stride=4),
    Architecture("unet_resnet50", 4, 3, 0.125, normalization="group"),
    Architecture("deeplabv3plus_resnet18", 4, 3, 0.125),
    Architecture("unet_resnet18", 4, 3, 0.125, instances=True),
    Architecture("deeplabv3plus_resnet18", 4, 3, 0.125, instances=True),
)
NAMES = ("unet", "unet_resnet18", "unet_resnet50", "deeplabv3plus_resnet18")


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_it_bounds_what_a_pass_of_that_size_gives_out(architecture: Architecture) -> None:
    network = build(architecture).eval()
    said = forward_bytes(network, 4, 128, 2)
    given = [sum(tensor.numel() * 4 for tensor in network.state_dict().values()), 2 * 4 * 128 * 128 * 4]

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        given.append(output.numel() * 4)

    for module in network.modules():
        if not any(module.children()):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(2, 4, 128, 128))
    # A pooled value does not grow with the tile, but is counted as if it did.
    assert sum(given) <= said <= 1.01 * sum(given)
    assert forward_bytes(network, 4, 65, 2) == said


def test_planning_does_not_load_torchs_compiler() -> None:
    program = (
        "import sys; from geoseg.models.architecture import Architecture, build; "
        "from geoseg.models.footprint import forward_bytes; "
        f"[forward_bytes(build(Architecture(name, 3, 5, 0.125)).eval(), 3, 64, 1) for name in {NAMES}]; "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
