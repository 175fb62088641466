"""How much memory a forward pass takes, known before any weight is loaded."""

import torch
from torch import Tensor, nn

from geoseg.models.architecture import Architecture, build


def forward_bytes(architecture: Architecture, tile_px: int, batch: int) -> int:
    """An upper bound of the float32 bytes that one forward pass holds at once, weights included.

    The network runs on torch's meta device, where tensors have shapes but no storage. Counted are the weights,
    the input, and what all of its innermost modules give out, as if nothing were freed before the end; freeing
    makes up for the kernels' own workspace.
    """
    sizes: list[int] = []

    def count(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.append(output.numel() * 4)

    with torch.device("meta"):
        network = build(architecture).eval()
        for module in network.modules():
            if not any(module.children()):
                module.register_forward_hook(count)
        image_nchw = torch.zeros(batch, architecture.bands, tile_px, tile_px)
        with torch.inference_mode():
            network(image_nchw)
    weights = sum(tensor.numel() * 4 for tensor in network.state_dict().values())
    return weights + image_nchw.numel() * 4 + sum(sizes)
