"""A moving average of a network's weights, which is often better than the last ones."""

import copy
from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


class Ema:
    """The exponential moving average of a network (Polyak and Juditsky 1992; Tarvainen and Valpola 2017).

    After the t-th step, average = d x average + (1 - d) x weights with d = min(decay, (1 + t) / (10 + t)), so that
    the first weights are soon forgotten (as TensorFlow's ExponentialMovingAverage with `num_updates`). Batch
    statistics are averaged likewise; whole numbers are copied.

    Attributes:
        model: The averaged network, in evaluation mode.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Begin with the network as it is.

        Args:
            model: Stays as it is; it is copied.
            decay: From 0 to below 1.
        """
        self.model = copy.deepcopy(model).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self._updates = 0

    def update(self, model: nn.Module) -> None:
        """Take in the network after a step."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        with torch.no_grad():
            for own, new in zip(_tensors(self.model), _tensors(model), strict=True):
                if own.is_floating_point():
                    own.lerp_(new, 1 - decay)
                else:
                    own.copy_(new)

    def state_dict(self) -> dict[str, Any]:
        """All that it needs to go on."""
        return {"model": self.model.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self._updates = int(state["updates"])


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    return chain(model.parameters(), model.buffers())
