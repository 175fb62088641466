"""From a configuration to a model package: check what is asked for, train, pack."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from geoseg.agreement import annotated_twice
from geoseg.config import TrainConfig, load_train_config, write_config
from geoseg.config.options import TrainOptions, WorkerOptions
from geoseg.data_arguments import DataArguments, config_from_arguments
from geoseg.errors import ConfigError, GeosegError, StoppedError
from geoseg.fitting import OwnProcess, Workplace
from geoseg.labelled_data import checked_sources, data_folder
from geoseg.packing import Trained, pack
from geoseg.predict import choose_device
from geoseg.runner import is_disk_full
from geoseg.settled import settle
from geoseg.threads import torch_threads
from geoseg.train.claim import Claim
from geoseg.train.device import check_precision, check_sync_batch_norm
from geoseg.train.freeze import Frozen
from geoseg.train.progress import training_progress
from geoseg.train.start import Start, seeded

_MAX_SEED = 2**32 - 1


def train_package(
    given: Path | DataArguments,
    output: Path,
    data_root: Path | None,
    *,
    options: TrainOptions,
    skip_bad: bool,
    device: str | None,
    threads: int | None,
    tensorboard: bool = False,
    workers: WorkerOptions = WorkerOptions(),  # noqa: B008  # a frozen value
) -> Trained | None:
    """Train, choose, judge and show; arguments and errors as in `geoseg.train_model`.

    A run that was begun in the same output goes on; None where nothing is left to do.
    """
    if threads is not None and threads < 1:
        raise GeosegError(f"expected at least 1 thread, got {threads}")
    if workers.number is not None and workers.number < 1:
        raise GeosegError(f"expected at least 1 worker, got {workers.number}")
    if options.seed is not None and not 0 <= options.seed <= _MAX_SEED:
        raise GeosegError(f"expected a seed from 0 to {_MAX_SEED}, got {options.seed}")
    if isinstance(given, DataArguments):
        config, root = config_from_arguments(given, output.name, options), Path.cwd()
    else:
        config, root = load_train_config(given, options), data_folder(data_root, given)
    if workers.asked:
        root = root.absolute()  # workers have working folders of their own
    if config.start_from is not None:
        config = config.model_copy(update={"training": config.training.for_fine_tuning()})
    try:
        with torch_threads(threads), _workplace(output, device, threads, workers) as workplace:
            return _train(config, output, root, skip_bad, workplace, tensorboard)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise StoppedError(f"the disk of {output} is full: make room, then run the same command again") from error


def _workplace(
    output: Path, device: str | None, threads: int | None, workers: WorkerOptions
) -> AbstractContextManager[Workplace]:
    if not workers.asked:
        return nullcontext(OwnProcess(choose_device(device)))
    from geoseg.cluster.workers import RayWorkers  # noqa: PLC0415  # Ray takes seconds to load; one process needs none

    return RayWorkers(workers, device, threads, _folder_of(output).absolute())


def _train(
    config: TrainConfig,
    output: Path,
    root: Path,
    skip_bad: bool,
    workplace: Workplace,
    tensorboard: bool,
) -> Trained | None:
    settings = config.training
    check_precision(settings.precision, torch.device(workplace.device))
    check_sync_batch_norm(torch.device(workplace.device), asked=settings.sync_batch_norm)
    # Before anything is written or measured, since what does not fit together is refused here.
    start = Start.of(config, root)
    sources, skipped = checked_sources(config, root, skip_bad=skip_bad)
    annotated_twice(config, sources, root)
    names = config.label_set().names
    network = seeded(start, names, settings.seed)
    Frozen(network, settings.freeze, norms=settings.freeze_norm)
    folder = _training_folder(output)
    settled = settle(config, sources, start, workplace.workers)
    claim = Claim(settled.identity, workplace.workers, workplace.storage)
    if claim.stake(folder) and (output / "card.json").exists():
        return None
    write_config(folder / "config.yaml", config)

    events = folder / "events" if tensorboard else None
    samples = settings.batch * settings.accumulate * workplace.workers
    with training_progress(names, samples, events) as report:
        done = workplace.fit(config, root, sources, network, start, settled, folder, report)

    kind, own = workplace.device.partition(":")[0], workplace.own_device
    trained = pack(config, root, sources, skipped, start, settled, done, folder, output, kind, own)
    claim.finish(folder)
    return trained


def _folder_of(output: Path) -> Path:
    """Where checkpoints, log and report of a model lie."""
    return output.with_name(output.name + ".training")


def _training_folder(output: Path) -> Path:
    """Where checkpoints lie; refused when another model is in the way."""
    folder = _folder_of(output)
    if (output / "card.json").exists() and not folder.exists():
        raise ConfigError(f"expected a new output, {output} is a model already, of another run: choose another -o")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another -o") from error
    return folder
