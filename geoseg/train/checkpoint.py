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
from geoseg.train.team import ALONE, Team


@dataclass(frozen=True, slots=True)
class Identity:
    """What a run is, as far as its checkpoints are concerned.

    Attributes:
        fingerprint: Of all that its weights depend on: data, model, recipe.
        architecture: Of its network, in words, for messages; empty where nobody said.
    """

    fingerprint: str
    architecture: str = ""

    def refuse(self, other: "Identity", place: object) -> None:
        """Refuse to go on with what another run left.

        Args:
            other: What that run was.
            place: Where it lies.

        Raises:
            ConfigError: The runs are not the same.
        """
        if self.fingerprint == other.fingerprint:
            return
        if self.architecture and other.architecture and self.architecture != other.architecture:
            raise ConfigError(
                f"{place} belongs to a run of another architecture: expected {self.architecture}, got "
                f"{other.architecture}; restore the configuration, or choose another output"
            )
        raise ConfigError(
            f"{place} belongs to a run with another configuration or other data: expected {self.fingerprint[:12]}, "
            f"got {other.fingerprint[:12]}; restore the configuration, or choose another output"
        )


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
    folder: Path,
    identity: Identity,
    progress: Progress,
    parts: Mapping[str, Stateful],
    device: torch.device,
    team: Team = ALONE,
) -> None:
    """Write everything that the run needs to go on, replacing the last checkpoint at once.

    Args:
        folder: Gets last.pt, from the leader.
        identity: Of the run.
        progress: Where it stands.
        parts: What changes in it, by name; the same on all workers.
        device: Where it computes; its random numbers go on, too.
        team: The workers, each with random numbers of its own.

    Raises:
        StoppedError: It cannot be written.
    """
    own = {"rng": torch.get_rng_state()}
    if device.type == "cuda":
        own["device_rng"] = torch.cuda.get_rng_state(device)
    of_workers = team.gather(own)
    if not team.leads:
        return
    state = {
        "fingerprint": identity.fingerprint,
        "architecture": identity.architecture,
        "progress": asdict(progress),
        **of_workers[0],
        "rng_of_others": of_workers[1:],
        **{name: part.state_dict() for name, part in parts.items()},
    }
    _replace(folder / "last.pt", state)


def load_checkpoint(
    folder: Path,
    identity: Identity,
    parts: Mapping[str, Stateful],
    device: torch.device,
    team: Team = ALONE,
) -> Progress | None:
    """Restore what `save_checkpoint` wrote.

    Args:
        folder: Where it lies, on each worker.
        identity: Of the run that wants to go on.
        parts: Get their states, by the names that they were saved under.
        device: Where the run computes.
        team: As many workers as the run had.

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
        came = Identity(str(state["fingerprint"]), str(state.get("architecture", "")))
    identity.refuse(came, path)
    with _refusing(path):
        # Older checkpoints were written after validations only, and do not say so.
        progress = Progress(**{"validated": state["progress"]["iteration"], **state["progress"]})
        for name, part in parts.items():
            part.load_state_dict(state[name])
        own = state if team.leads else state["rng_of_others"][team.rank - 1]
        torch.set_rng_state(own["rng"].cpu())
        if device.type == "cuda" and "device_rng" in own:
            torch.cuda.set_rng_state(own["device_rng"].cpu(), device)
        return progress


def load_identity(folder: Path) -> Identity | None:
    """What run a folder's checkpoint is of; None where there is no checkpoint.

    Raises:
        ConfigError: It cannot be read.
    """
    path = folder / "last.pt"
    if not path.exists():
        return None
    with _refusing(path):
        state = _load(path, torch.device("cpu"))
        return Identity(str(state["fingerprint"]), str(state.get("architecture", "")))


def load_progress(folder: Path) -> Progress:
    """Where the run of a folder's checkpoint stood.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    path = folder / "last.pt"
    with _refusing(path):
        return Progress(**_load(path, torch.device("cpu"))["progress"])


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
        raise StoppedError(
            f"{path} cannot be written: {error.strerror}; make room, then run the same command again"
        ) from error
