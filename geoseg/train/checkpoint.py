"""Checkpoints of a training run: the last state to go on from, and the best weights."""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoseg.errors import ConfigError, StoppedError


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
    """Write everything that the run needs to go on, replacing the last checkpoint at once.

    Raises:
        StoppedError: It cannot be written.
    """
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
    with _refusing(path):
        state = _load(path, device)
        came = str(state["fingerprint"])
    if came != fingerprint:
        raise ConfigError(
            f"{path} belongs to a run with another configuration or other data: expected {fingerprint[:12]}, "
            f"got {came[:12]}; restore the configuration, or choose another output"
        )
    with _refusing(path):
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"].cpu())
        return Progress(**state["progress"])


def save_best(folder: Path, model: nn.Module) -> None:
    """Keep the weights as the best so far.

    Raises:
        StoppedError: They cannot be written.
    """
    _replace(folder / "best.pt", {"model": model.state_dict()})


def load_best(folder: Path, model: nn.Module, device: torch.device) -> None:
    """Put the best weights into a model.

    Raises:
        ConfigError: There are none, or they cannot be read.
    """
    path = folder / "best.pt"
    if not path.exists():
        raise ConfigError(f"expected the weights of a validated run in {path}, there are none: train first")
    with _refusing(path):
        model.load_state_dict(_load(path, device)["model"])


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn what torch raises on a file that is damaged, made up or of another network into our error."""
    try:
        yield
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{path} cannot be read as a checkpoint ({reason}); delete it to start anew") from error


def _load(path: Path, device: torch.device) -> dict[str, Any]:
    # weights_only: tensors and plain containers, nothing that runs code.
    return dict(torch.load(path, map_location=device, weights_only=True))


def _replace(path: Path, state: dict[str, Any]) -> None:
    """Write beside the file, then rename: a reader sees the old state or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise StoppedError(f"{path} cannot be written: {error.strerror}; make room and --resume") from error
