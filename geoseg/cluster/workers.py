"""A training on Ray Train: several workers, one loop, checkpoints in a storage, and accidents that cost little."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ray
import ray.train
from ray.exceptions import RayError
from ray.train.torch import TorchConfig, TorchTrainer
from torch import nn

from geoseg.cluster.board import Board
from geoseg.cluster.facts import check_storage, files_of, software, stamps, try_storage
from geoseg.cluster.places import refuse_too_many
from geoseg.cluster.session import ray_session
from geoseg.cluster.trainee import Task, train_as_told
from geoseg.cluster.watch import Watch
from geoseg.config import TrainConfig
from geoseg.config.options import WorkerOptions
from geoseg.errors import GeosegError, StoppedError
from geoseg.io.gdal_environment import gdal_environment
from geoseg.predict import choose_device
from geoseg.runner import one_line
from geoseg.settled import Settled
from geoseg.train.checkpoint import Progress, load_progress
from geoseg.train.scenes import Source
from geoseg.train.start import Start
from geoseg.train.steps import Step
from geoseg.train.stopping import stops

_FAILURES = 3
"""Times that workers may die; they begin again from the last checkpoint each time. Nodes that a cloud takes back
are not counted."""

_LOOK_S = 0.2
"""Between looks at the board."""

_FAREWELL_S = 15.0
"""How long workers that are asked to stop may take to finish a step and keep it."""


class RayWorkers:
    """A workplace of workers on Ray, as `geoseg.fitting.Workplace` describes it.

    Args:
        options: How many, where, and where checkpoints are kept.
        device: As `--device`: "cpu", or "cuda" for a GPU for each; None takes GPUs where the cluster has some.
        threads: CPU threads of each; by default this machine's cores divided among them, on a cluster 1.
        folder: Keeps checkpoints where the options name no storage.
        failures: Times that workers may die.

    Attributes:
        device: What they train on.
        workers: How many.
        storage: Where checkpoints are kept, if the options say so.
    """

    def __init__(
        self,
        options: WorkerOptions,
        device: str | None,
        threads: int | None,
        folder: Path,
        failures: int = _FAILURES,
    ) -> None:
        if device not in {None, "cpu", "cuda"}:
            raise GeosegError(
                f"expected --device cpu or cuda with --workers, got {device}: each worker gets a GPU of its own"
            )
        self.workers = options.number or 1
        self.storage = options.storage
        if self.storage is not None and "://" not in self.storage:
            self.storage = str(Path(self.storage).absolute())
        self._address = options.address
        cores = 1 if options.address is not None else len(os.sched_getaffinity(0)) // self.workers
        self._threads = threads or max(1, cores)
        self._folder = folder
        self._failures = failures
        self._asked = device
        self.device = device or "cpu"
        self._open = ExitStack()
        self._own = False

    def __enter__(self) -> Self:
        """Connect to Ray, and see whether it has room.

        Raises:
            ConfigError: The storage cannot be written.
            GeosegError: The cluster can never have so many workers.
            StoppedError: No cluster answers.
        """
        if self.storage is not None:
            check_storage(self.storage)
        with ExitStack() as stack:
            self._own = stack.enter_context(ray_session(self._address, self.workers * self._threads))
            if self._asked is None and ray.cluster_resources().get("GPU", 0) > 0:  # type: ignore[no-untyped-call]
                self.device = "cuda"
            refuse_too_many(self.workers, self._threads, gpu=self.device == "cuda")
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def own_device(self) -> str:
        """What this process judges the model on: the workers' kind, where this machine has it."""
        return choose_device(None if self.device == "cuda" else "cpu")

    def fit(
        self,
        config: TrainConfig,
        root: Path,
        sources: tuple[Source, ...],
        network: nn.Module,  # noqa: ARG002  # the workers make it themselves
        start: Start,  # noqa: ARG002  # likewise
        settled: Settled,
        folder: Path,
        report: Callable[[Step], None],
    ) -> Progress:
        """As `Workplace` says; a worker's death costs what was done since the last checkpoint.

        Raises:
            GeosegError: As `geoseg.fitting.fit_network` says, or a worker lacks data, software or the storage.
            StoppedError: Workers died too often, or Ray is gone.
            KeyboardInterrupt: A signal asked to stop; the step was kept, if the workers could in time.
        """
        storage, run = self.storage or str(self._folder), f"geoseg-{settled.identity.fingerprint[:16]}"
        mark = try_storage(storage, run)
        config = _with_whole_path(config)
        task = Task(
            config.model_dump_json(),
            str(root.absolute()),
            sources,
            settled.to_json(),
            self.device,
            self._threads,
            storage,
            run,
            mark,
            software(),
            stamps(files_of(sources)),
        )
        board = ray.remote(num_cpus=0)(Board).remote()
        attempt = _Attempt(self._trainer(task, board))
        with _quiet(), stops() as stop:
            attempt.begin()
            watch = Watch(board, report, self._failures)
            while attempt.runs:
                watch.look()
                if stop.asked and watch.ask_to_stop() > _FAREWELL_S:
                    break
                if watch.error is not None and self._own:
                    break  # Ray is ended with its workers; a caller's goes on, so they end by themselves
                attempt.wait(_LOOK_S)
            watch.look()
            if stop.asked:
                raise KeyboardInterrupt
            if watch.error is not None:
                raise watch.error
        checkpoint = attempt.outcome(self._failures)
        checkpoint.to_directory(str(folder))
        return load_progress(folder)

    def _trainer(self, task: Task, board: Any) -> TorchTrainer:  # noqa: ANN401  # Ray's handles have no type
        gpu = self.device == "cuda"
        threads = {"OMP_NUM_THREADS": str(self._threads), "MKL_NUM_THREADS": str(self._threads)}
        return TorchTrainer(
            train_as_told,
            train_loop_config={"task": task, "board": board},
            # Gradients go from GPU to GPU; small facts need not wait for them.
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpu else "gloo"),
            scaling_config=ray.train.ScalingConfig(
                num_workers=self.workers,
                use_gpu=gpu,
                resources_per_worker={"CPU": self._threads, **({"GPU": 1} if gpu else {})},
            ),
            run_config=ray.train.RunConfig(  # type: ignore[call-arg]  # checkers see the one before version 2
                name=task.run,
                storage_path=task.storage,
                failure_config=ray.train.FailureConfig(max_failures=self._failures),
                checkpoint_config=ray.train.CheckpointConfig(num_to_keep=2),
                worker_runtime_env={"env_vars": {**gdal_environment(), **threads}},
            ),
        )


class _Attempt:
    """Ray Train at work, on a thread of its own: this one hears signals."""

    def __init__(self, trainer: TorchTrainer) -> None:
        self._trainer = trainer
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="trainer", daemon=True)

    def _work(self) -> None:
        try:
            self._result = self._trainer.fit()
        except BaseException as error:  # noqa: BLE001  # carried to the thread that waits
            self._error = error

    def begin(self) -> None:
        self._thread.start()

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)

    def outcome(self, failures: int) -> "ray.train.Checkpoint":
        """The last checkpoint of a training that came to its end."""
        match self._error:
            case None if self._result is not None and self._result.checkpoint is not None:
                return self._result.checkpoint
            case None:
                raise StoppedError("the workers ended without a checkpoint: run the same command again")
            case ray.train.TrainingFailedError() as error:
                raise StoppedError(
                    f"workers died more than {failures} times, the last time of: {_last_line(error)}; what they "
                    "did up to the last checkpoint is kept: see to the cause, then run the same command again"
                ) from error
            case RayError() as error:
                raise StoppedError(
                    f"Ray is gone ({type(error).__name__}: {one_line(error)}): run the same command again"
                ) from error
            case error:
                raise error


def _with_whole_path(config: TrainConfig) -> TrainConfig:
    """The configuration with a model to start from that is found from any working folder."""
    name = config.start_from
    if name is None or not Path(name).is_dir():
        return config
    return config.model_copy(update={"start_from": str(Path(name).absolute())})


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray Train's own reports off the terminal: what a user must know is said in our words."""
    logger = logging.getLogger("ray.train")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
