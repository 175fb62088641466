"""How much memory a forward pass takes, known before a run."""

import torch
from torch import Tensor, nn

_PROBE_PX = 64
"""Side of the small tile that is run; a multiple of every network's stride."""


def forward_bytes(network: nn.Module, bands: int, tile_px: int, batch: int) -> int:
    """An upper bound of the float32 bytes that one forward pass holds at once, weights included.

    Counted are the weights, the input, and what all of the network's innermost modules give out, as if nothing
    were freed before the end; freeing makes up for the kernels' own workspace. It is measured on a tile of
    64 px and grows with the area. (torch's meta device would do without numbers, but loads torch's compiler,
    which takes seconds.)

    Args:
        network: On the CPU, in evaluation mode.
        bands: Its input channels.
        tile_px: Side of a tile.
        batch: Tiles in one pass.
    """
    sizes: list[int] = []

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append(output.numel() * 4)

    hooks = [module.register_forward_hook(count) for module in network.modules() if not any(module.children())]
    image_nchw = torch.zeros(1, bands, _PROBE_PX, _PROBE_PX)
    with torch.inference_mode():
        network(image_nchw)
    for hook in hooks:
        hook.remove()
    weights = sum(tensor.numel() * 4 for tensor in network.state_dict().values())
    # Networks see whole multiples of their stride, for which the probe's side stands.
    probes = (-(-tile_px // _PROBE_PX)) ** 2
    return weights + batch * probes * (image_nchw.numel() * 4 + sum(sizes))
