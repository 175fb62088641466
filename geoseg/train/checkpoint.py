"""Checkpoints of a training run: the last state to go on from, and the best weights."""

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

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
        validated: Iterations done at the last validation.
        stale: Validations since the best.
        stopped: Whether the run ended early.
        losses: Of the iterations since the last validation.
    """

    iteration: int = 0
    best_iteration: int = 0
    best_miou: float = -1.0
    validated: int = 0
    stale: int = 0
    stopped: bool = False
    losses: tuple[float, ...] = ()


class Stateful(Protocol):
    """A part of a run that can be kept: a network, an optimizer, an average, a scale."""

    def state_dict(self) -> dict[str, Any]:
        """All that it needs to go on: tensors, numbers and plain containers of them."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Go on from what `state_dict` gave."""
        ...


def save_checkpoint(
    folder: Path, fingerprint: str, progress: Progress, parts: Mapping[str, Stateful], device: torch.device
) -> None:
    """Write everything that the run needs to go on, replacing the last checkpoint at once.

    Args:
        folder: Gets last.pt.
        fingerprint: Of the run.
        progress: Where it stands.
        parts: What changes in it, by name.
        device: Where it computes; its random numbers go on, too.

    Raises:
        StoppedError: It cannot be written.
    """
    state = {
        "fingerprint": fingerprint,
        "progress": asdict(progress),
        "rng": torch.get_rng_state(),
        **({"device_rng": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}),
        **{name: part.state_dict() for name, part in parts.items()},
    }
    _replace(folder / "last.pt", state)


def load_checkpoint(
    folder: Path, fingerprint: str, parts: Mapping[str, Stateful], device: torch.device
) -> Progress | None:
    """Restore what `save_checkpoint` wrote.

    Args:
        folder: Where it lies.
        fingerprint: Of the run that wants to go on.
        parts: Get their states, by the names that they were saved under.
        device: Where the run computes.

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
        # Older checkpoints were written after validations only, and do not say so.
        progress = Progress(**{"validated": state["progress"]["iteration"], **state["progress"]})
        for name, part in parts.items():
            part.load_state_dict(state[name])
        torch.set_rng_state(state["rng"].cpu())
        if device.type == "cuda" and "device_rng" in state:
            torch.cuda.set_rng_state(state["device_rng"].cpu(), device)
        return progress


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
