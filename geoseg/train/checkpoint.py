"""Checkpoints of a training run: the last state to go on from, and the best weights."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoseg.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands.

    Attributes:
        iteration: Iterations done.
        best_iteration: Iterations done when the best weights were kept; 0 when none were.
        best_miou: Their validation mIoU; -1 when none were.
    """

    iteration: int
    best_iteration: int
    best_miou: float


def save_checkpoint(
    folder: Path, fingerprint: str, progress: Progress, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write everything that the run needs to go on, replacing the last checkpoint at once."""
    state = {
        "fingerprint": fingerprint,
        "progress": asdict(progress),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
    }
    _replace(folder / "last.pt", state)


def load_checkpoint(
    folder: Path, fingerprint: str, model: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> Progress | None:
    """Restore what `save_checkpoint` wrote.

    Args:
        folder: Where it lies.
        fingerprint: Of the run that wants to go on.
        model: Gets the weights.
        optimizer: Gets its state.
        device: Where the model is.

    Returns:
        Where the run stood, or None when there is no checkpoint.

    Raises:
        ConfigError: The checkpoint belongs to a run with another configuration, or cannot be read.
    """
    path = folder / "last.pt"
    if not path.exists():
        return None
    state = _load(path, device)
    if state.get("fingerprint") != fingerprint:
        raise ConfigError(
            f"{path} belongs to a run with another configuration or other data: expected {fingerprint[:12]}, got "
            f"{str(state.get('fingerprint'))[:12]}; restore the configuration, or choose another output"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"].cpu())
    return Progress(**state["progress"])


def save_best(folder: Path, model: nn.Module) -> None:
    """Keep the weights as the best so far."""
    _replace(folder / "best.pt", {"model": model.state_dict()})


def load_best(folder: Path, model: nn.Module, device: torch.device) -> None:
    """Put the best weights into a model.

    Raises:
        ConfigError: There are none, or they cannot be read.
    """
    path = folder / "best.pt"
    if not path.exists():
        raise ConfigError(f"expected the weights of a validated run in {path}, there are none: train first")
    model.load_state_dict(_load(path, device)["model"])


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        # weights_only: tensors and plain containers, nothing that runs code.
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a checkpoint ({error}); delete it to start anew") from error
    return dict(state)


def _replace(path: Path, state: dict[str, Any]) -> None:
    """Write beside the file, then rename: a reader sees the old state or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as stream:
        torch.save(state, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
