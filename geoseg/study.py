"""From a study to its table: train each run in a process of its own, then time what came of it."""

import fcntl
import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geoseg.config import TrainConfig
from geoseg.config.study import Study, load_study
from geoseg.errors import ConfigError, GeosegError, StoppedError
from geoseg.labelled_data import data_folder, sources_of
from geoseg.models.package import LoadedModel, load_package
from geoseg.predict import Numerics
from geoseg.processes import Command, last_words, run_commands
from geoseg.report.study_table import StudyRow, StudyTable, cut_short
from geoseg.speed import measure_speed, numerics_here
from geoseg.study_runs import Measured, StoredRun
from geoseg.train.device import check_precision
from geoseg.train.start import Start

_LOCK = ".study.lock"

_UNDISTURBED = 0.7
"""Least share of the CPU that a model is timed with; threads that wait for each other have a little less than 1."""

_STOPPED = (130, -signal.SIGTERM)
"""Exit codes of a training that was asked to stop: once it listens, and before."""


@dataclass(frozen=True, slots=True)
class Conducted:
    """How a study went.

    Attributes:
        table: Its finished runs.
        files: table.csv, table.json and table.md.
    """

    table: StudyTable
    files: tuple[Path, ...]


def conduct_study(
    given: Path,
    output: Path,
    data_root: Path | None,
    *,
    threads: int | None,
    jobs: int,
    device: str | None,
    only: Sequence[str] | None,
    tell: Callable[[str], None],
) -> Conducted:
    """Train the runs of a study that are not finished, and write its table.

    All that can be checked is checked before the first run begins. A run that fails is noted, and the others go on.
    Each finished model has the scores of its card on the whole regions of split val; its network is timed while no
    run trains.

    Args:
        given: The study's file.
        output: Folder of the study; STUDY/RUN and STUDY/RUN.training are what `geoseg train` makes.
        data_root: Where paths of the configurations start; else as `data_folder` says, of the base's file.
        threads: CPU threads of a training, and of what is timed; all when not given, divided among the jobs.
        jobs: Runs that train at a time.
        device: As `--device`.
        only: Names of the runs to train; all when not given. The table has all that are finished.
        tell: Told in a line what begins and ends.

    Raises:
        ConfigError: The study, one of its configurations, or the data root is wrong, or the folder holds a run of
            another configuration.
        GeosegError: There is no such run or device, a file is missing, or somebody else works on the folder.
        StoppedError: The disk is full; the same call goes on.
        KeyboardInterrupt: It was asked to stop; the trainings were, too, and go on with the same call.
    """
    study = load_study(given)
    chosen = _chosen(study, only)
    if jobs < 1:
        raise GeosegError(f"expected at least 1 job, got {jobs}")
    if threads is not None and threads < 1:
        raise GeosegError(f"expected at least 1 thread, got {threads}")
    root, numerics = data_folder(data_root, study.base), numerics_here(device, threads)
    runs = tuple(StoredRun(run, output) for run in study.runs)
    for one in runs:
        one.check()
    waiting = [one for one in runs if one.run.name in chosen and not one.finished]
    _check_data(waiting, root, numerics.device)
    for image in study.left_out:
        tell(f"left out: {image} of split test, which no choice may see")
    with _owned(output) as lock:
        for one in waiting:
            one.write_config()
        at_work = _AtWork(study, runs, output, root, numerics, jobs, device, threads, tell)
        return at_work.to_the_end(waiting, lock)


@dataclass(slots=True)
class _AtWork:
    """A study under way."""

    study: Study
    runs: tuple[StoredRun, ...]
    folder: Path
    root: Path
    numerics: Numerics
    jobs: int
    device: str | None
    threads: int | None
    tell: Callable[[str], None]
    failed: dict[str, str] = field(default_factory=dict)
    timed: frozenset[str] = frozenset()

    def to_the_end(self, waiting: Sequence[StoredRun], lock: int) -> Conducted:
        self.measure()
        by_name = {one.run.name: one for one in waiting}

        def began(command: Command) -> None:
            by_name[command.name].note_start(min(self.jobs, len(waiting)))
            number = list(by_name).index(command.name) + 1
            self.tell(f"{command.name}: begins, {number} of {len(waiting)}; what it says is in {command.log}")

        def ended(command: Command, code: int, seconds: float) -> None:
            self.end(by_name[command.name], code, seconds)
            # Beside other trainings a model would look slower than it is.
            if self.jobs == 1 and code == 0:
                self.measure()

        run_commands([self.command(one) for one in waiting], self.jobs, (lock,), began, ended)
        table = self.measure()
        return Conducted(table, table.write(self.folder))

    def command(self, one: StoredRun) -> Command:
        threads = self.threads
        if threads is None and self.jobs > 1:
            threads = max(1, torch.get_num_threads() // self.jobs)
        words = ["train", "--config", str(one.config_file), "-o", str(one.model), "--data-root", str(self.root)]
        words += [] if threads is None else ["--threads", str(threads)]
        words += [] if self.device is None else ["--device", self.device]
        return Command(one.run.name, tuple(words), one.log)

    def end(self, one: StoredRun, code: int, seconds: float) -> None:
        name = one.run.name
        one.note_end(code, seconds)
        if code == 0:
            self.tell(f"{name}: done in {seconds / 60:.1f} min")
            return
        if code in _STOPPED:
            self.failed[name] = "stopped; the same command goes on"
            self.tell(f"{name}: {self.failed[name]}")
            return
        words = last_words(one.log).removeprefix("error: ")
        why = f"killed by signal {-code}" if code < 0 else words or f"exit code {code}, nothing said"
        self.failed[name] = f"{why} (exit code {code})" if code > 0 and words else why
        self.tell(f"{name}: failed, {self.failed[name]}")

    def measure(self) -> StudyTable:
        """Time the models that were not, and write the table."""
        rows = tuple(row for one in self.runs if one.finished and (row := self.row_or_why(one)) is not None)
        known = {row.run for row in rows} | set(self.failed)
        unfinished = tuple(one.run.name for one in self.runs if one.run.name not in known)
        failed = dict(self.failed)
        table = StudyTable(self.study.name, self.study.description, rows, failed, unfinished, self.notes(rows))
        table.write(self.folder)
        return table

    def notes(self, rows: Sequence[StudyRow]) -> tuple[str, ...]:
        said = self.numerics
        machine = f"{said.device}, {said.threads} thread(s), {said.precision}"
        notes = [f"Ground Mpx/s: the network alone as geoseg map runs it, on {machine}; km2/h at its resolution."]
        if any(row.minutes_by == "log" for row in rows):
            notes.append(
                "Where table.json says minutes_by log, they go from the first step to the last validation."
            )
        if any((row.beside or 1) > 1 for row in rows):
            notes.append(
                "Some runs trained beside others, which makes their minutes longer (beside in table.json)."
            )
        slowed = [one.run.name for one in self.runs if (m := one.record().measured) is not None and _disturbed(m)]
        if slowed:
            notes.append(
                f"Other work ran while {', '.join(slowed)} was timed, which looks slower than it is: the same "
                "command times it again."
            )
        notes += [f"No run saw {image} of split test." for image in self.study.left_out]
        return tuple(notes)

    def row_or_why(self, one: StoredRun) -> StudyRow | None:
        """The row of a finished run; a failure where it cannot be timed."""
        try:
            return self.row(one)
        except StoppedError:
            raise
        except GeosegError as error:
            self.failed[one.run.name] = str(error)
            self.tell(f"{one.run.name}: failed, {error}")
            return None

    def row(self, one: StoredRun) -> StudyRow:
        model = load_package(one.model)
        speed, scores = self.measured(one, model).speed, model.card.metrics["val"]
        done, recipe = model.card.training, model.card.training["recipe"]
        assert isinstance(recipe, dict)  # as train/card.py writes it
        best, iterations, planned = (
            _number(value) for value in (done["iteration"], done["iterations"], recipe["iterations"])
        )
        validations = [point.iteration for point in one.curve()]
        minutes, by, beside = one.minutes()
        return StudyRow(
            run=one.run.name,
            differs=one.run.differs,
            miou=scores.miou,
            miou_interval=scores.miou_interval,
            iou=scores.iou,
            best_iteration=best,
            iterations=iterations,
            planned=planned,
            cut_short=cut_short(sum(iteration <= best for iteration in validations), len(validations)),
            minutes=minutes,
            minutes_by=by,
            beside=beside,
            parameters=sum(parameter.numel() for parameter in model.build().parameters()),
            weights_bytes=model.card.weights.bytes,
            ground_resolution_m=model.imagery.ground_resolution_m,
            ground_mpx_per_s=float(speed["ground_mpx_per_s"]),
            ground_km2_per_h=float(speed["ground_km2_per_h"]),
        )

    def measured(self, one: StoredRun, model: LoadedModel) -> Measured:
        """What was measured of a model, on the numerics of today; measured now where it was not."""
        found = one.record().measured
        here = self.numerics.fingerprint()
        timed, self.timed = self.timed, self.timed | {one.run.name}
        if found is not None and found.identity == model.identity and here.items() <= found.speed.items():
            if one.run.name in timed or not _disturbed(found):
                return found
            self.tell(f"{one.run.name}: timed again, other work ran beside it")
            speed = measure_speed(model, self.device, self.threads).to_json()
            # What is faster was disturbed less.
            faster = max(speed, found.speed, key=lambda speed: float(speed["ground_mpx_per_s"]))
            again = found.model_copy(update={"speed": faster})
            one.note_measured(again)
            return again
        self.tell(f"{one.run.name}: timed")
        measured = Measured(
            identity=model.identity, speed=measure_speed(model, self.device, self.threads).to_json()
        )
        one.note_measured(measured)
        return measured


def _disturbed(measured: Measured) -> bool:
    """Whether a model was timed while other work had the CPU."""
    share = measured.speed.get("cpu_share")
    return share is not None and float(share) < _UNDISTURBED


def _number(value: object) -> int:
    assert isinstance(value, int)  # as train/card.py writes it
    return value


def _chosen(study: Study, only: Sequence[str] | None) -> frozenset[str]:
    names = [run.name for run in study.runs]
    for name in only or ():
        if name not in names:
            raise GeosegError(f"expected --only with some of the runs {', '.join(names)}, got {name}")
    return frozenset(names if only is None else only)


def _check_data(waiting: Sequence[StoredRun], root: Path, device: str) -> None:
    """Refuse a run whose files are not there, or that does not fit the device or what it starts from.

    Raises:
        GeosegError: As the run itself would, but named.
    """
    looked_at: set[str] = set()
    for one in waiting:
        config = one.run.config
        try:
            check_precision(config.training.precision, torch.device(device))
            Start.of(config, root)
            # Most runs of a study have the same data.
            key = _data_of(config)
            if key not in looked_at:
                sources_of(config, root)
            looked_at.add(key)
        except GeosegError as error:
            raise type(error)(f"run {one.run.name}: {error}") from error


def _data_of(config: TrainConfig) -> str:
    return json.dumps(config.model_dump(mode="json", exclude={"name", "architecture", "training"}), sort_keys=True)


@contextmanager
def _owned(folder: Path) -> Iterator[int]:
    """Hold the folder against other processes on this machine; gives the descriptor of its lock.

    Trainings hold it, too: those that a killed study left behind keep others from training the same run.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another -o") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is working on {folder}, a study or a training that one left: wait for it, or "
                "name another -o"
            ) from error
        yield lock.fileno()
