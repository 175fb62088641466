"""Why a loss or a gradient is not a finite number, in words."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from geoseg.train.batch import Batch

_NAMED = 4
"""Crops that a message lists; the others are counted."""


def explain_loss(value: float, number: int, batch: Batch, logits_nkhw: Tensor) -> str:
    """The cause, looked for in the order of computation: image, network, loss.

    Args:
        value: Of the loss.
        number: Of the iteration, from 1.
        batch: Whose loss it is.
        logits_nkhw: What the network made of it, (image, class, row, column).
    """
    words = f"expected a finite loss, got {value} at iteration {number}"
    broken = [
        name for name, image in zip(batch.names, batch.images_nchw, strict=True) if not np.isfinite(image).all()
    ]
    if broken:
        return (
            f"{words}: the image of {_listed(broken)} holds values that are no numbers; mark them as nodata, or "
            "leave the scene out"
        )
    finite_n = torch.isfinite(logits_nkhw).flatten(1).all(1).tolist()
    lost = [name for name, finite in zip(batch.names, finite_n, strict=True) if not finite]
    if lost:
        return (
            f"{words}: the images are sound, but the network's answer to {_listed(lost)} is not finite; it has "
            "diverged: lower training.lr, set training.clip_norm to 1, or add a warmup"
        )
    return (
        f"{words}: images and the network's answers are finite, but not the loss over {_listed(batch.names)}; "
        "lower training.lr or change training.loss"
    )


def explain_gradient(norm: float, number: int, batches: Sequence[Batch]) -> str:
    """What to do about a gradient that is not finite while the loss is.

    Args:
        norm: Of the gradient.
        number: Of the iteration, from 1.
        batches: Whose gradient it is.
    """
    names = [name for batch in batches for name in batch.names]
    return (
        f"expected a finite gradient, got a length of {norm} at iteration {number} on {_listed(names)} while the "
        "loss was finite; lower training.lr, or change training.loss or training.precision"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} and {len(names) - _NAMED} more"
