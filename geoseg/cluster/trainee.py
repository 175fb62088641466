"""A worker of a training: checks its machine, takes up the last checkpoint, and does its part of each step."""

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from geoseg.cluster.board import Reporter
from geoseg.cluster.facts import refuse_data, refuse_software, refuse_storage, software, stamps
from geoseg.config import TrainConfig
from geoseg.errors import GeosegError, SceneError, StoppedError
from geoseg.fitting import fit_network
from geoseg.settled import Settled
from geoseg.train.checkpoint import Progress, load_progress
from geoseg.train.scenes import Source
from geoseg.train.start import Start, seeded
from geoseg.train.steps import Step
from geoseg.train.stopping import Stop
from geoseg.train.team import Team


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker is told: plain values, no code of the user's.

    Attributes:
        config: The configuration as JSON.
        root: Folder that its paths start from.
        sources: Its scenes, as the driver checked and divided them.
        settled: As JSON.
        device: "cpu" or "cuda".
        threads: CPU threads of each worker.
        storage: Where checkpoints are kept.
        run: Name of the run's folder there.
        mark: What the driver wrote there.
        software: The driver's versions.
        stamps: Of the data's files, as the driver sees them.
    """

    config: str
    root: str
    sources: tuple[Source, ...]
    settled: dict[str, Any]
    device: str
    threads: int
    storage: str
    run: str
    mark: tuple[str, str]
    software: dict[str, str]
    stamps: dict[str, str]


def train_as_told(told: dict[str, Any]) -> None:
    """A worker's part of a training, from the last checkpoint on; Ray Train calls it, again after an accident.

    Args:
        told: "task", a `Task`, and "board", the actor that hears how it goes.

    Raises:
        GeosegError: It cannot go on; the board knows.
    """
    task: Task = told["task"]
    board = told["board"]
    if ray.get(board.is_over.remote()):  # started again after an error that no start mends
        return
    torch.set_num_threads(task.threads)
    team = Team.of_processes()
    here = f"worker {team.rank} on {socket.gethostname()}"
    try:
        with _named(here, GeosegError):
            _check(task, team)
            config = TrainConfig.model_validate_json(task.config)
            start = Start.of(config, Path(task.root))
        # What one worker alone can meet is said with its name; the rest is the same on all of them.
        with _named(here, SceneError, StoppedError):
            _train(task, config, start, board, team)
    except KeyboardInterrupt:  # as the board asked; the step was kept
        return
    except GeosegError as error:
        ray.get(board.fail.remote(error))
        raise


@contextmanager
def _named(here: str, *kinds: type[GeosegError]) -> Iterator[None]:
    """Say where an error of some kinds was met."""
    try:
        yield
    except kinds as error:
        raise type(error)(f"{here}: {error}") from error


def _check(task: Task, team: Team) -> None:
    """Refuse, before anything is computed, what this machine does not have as the driver has it."""
    refuse_software(task.software, software())
    refuse_data(task.stamps, stamps(task.stamps))
    refuse_storage(task.storage, task.run, task.mark, team.rank)


def _train(task: Task, config: TrainConfig, start: Start, board: Any, team: Team) -> None:  # noqa: ANN401  # Ray's
    settled = Settled.from_json(task.settled, config)
    network = seeded(start, config.label_set().names, config.training.seed)
    device = ray.train.torch.get_device() if task.device == "cuda" else torch.device("cpu")
    stop = Stop()
    with tempfile.TemporaryDirectory(prefix="geoseg-train-") as name:
        folder = Path(name)
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is not None:
            checkpoint.to_directory(folder)

        def commit(progress: Progress) -> None:
            # Every worker reports, since Ray waits for all; the leader's folder has all that is needed to go on.
            kept = ray.train.Checkpoint.from_directory(folder) if team.leads else None
            ray.train.report({"iteration": progress.iteration, "best_miou": progress.best_miou}, kept)

        def ignore(_: Step) -> None:
            pass

        reporter = Reporter(board, stop)
        if team.leads:
            ray.get(board.begin.remote(load_progress(folder).iteration if checkpoint is not None else 0))
        with reporter.sending() if team.leads else nullcontext():
            fit_network(
                config,
                task.sources,
                network,
                start,
                settled,
                device,
                folder,
                reporter.report if team.leads else ignore,
                team=team,
                stop=stop,
                commit=commit,
            )
