"""A run of a study on disk: its model, what its training left, and what was noted and measured of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg.config import load_train_config
from geoseg.config.study import StudyRun, differing_key
from geoseg.errors import ConfigError, StoppedError
from geoseg.models.package import CARD_NAME, load_card
from geoseg.report.figure_file import write_whole
from geoseg.report.training_facts import CurvePoint, read_curve
from geoseg.runner import is_disk_full


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Attempt(_Part):
    """A process that trained a run, or a part of it.

    Attributes:
        beside: How many runs trained at a time, itself included.
        seconds: From its start to its end; None where this process did not see the end.
        exit_code: None likewise.
    """

    beside: int
    seconds: float | None = None
    exit_code: int | None = None


class Measured(_Part):
    """What a study measured of a finished model.

    Attributes:
        identity: Of the model.
        speed: What `Speed.to_json` gives.
    """

    # Earlier versions noted scores, too, which the card has.
    model_config = ConfigDict(extra="ignore", frozen=True)

    identity: str
    speed: dict[str, Any]


class Record(_Part):
    """What a study notes of a run.

    Attributes:
        attempts: The processes that trained it, in order; none of those that trained it before this study.
        whole: Whether the first of them began it.
        measured: What was measured of its model.
    """

    attempts: tuple[Attempt, ...] = ()
    whole: bool = False
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run in the folder of a study.

    Attributes:
        run: What it is.
        study: The folder.
    """

    run: StudyRun
    study: Path

    @property
    def model(self) -> Path:
        """The model package."""
        return self.study / self.run.name

    @property
    def training(self) -> Path:
        """What the training leaves beside it."""
        return self.study / f"{self.run.name}.training"

    @property
    def config_file(self) -> Path:
        """The configuration that it is trained by."""
        return self.study / f"{self.run.name}.yaml"

    @property
    def log(self) -> Path:
        """What the processes that trained it said."""
        return self.study / f"{self.run.name}.log"

    @property
    def finished(self) -> bool:
        """Whether there is a model with its figures.

        Raises:
            ModelError: There is a card that is none.
        """
        return (self.model / CARD_NAME).is_file() and "val" in load_card(self.model).metrics

    def check(self) -> None:
        """Refuse what another configuration left here.

        Raises:
            ConfigError: A model or a checkpoint lies here that another configuration gave, or nobody knows which.
        """
        left = [path for path in (self.model / CARD_NAME, self.training / "last.pt") if path.exists()]
        said = self.training / "config.yaml"
        if not said.exists():
            if left:
                raise ConfigError(
                    f"{left[0]} is there, but not {said}, which says what it was trained by: choose another -o, or "
                    "move it away"
                )
            return
        key = differing_key(load_train_config(said), self.run.config)
        if key is not None and left:
            raise ConfigError(
                f"run {self.run.name}: {left[0]} is of another configuration, {key} differs from {said}: choose "
                "another -o, or move it away"
            )

    def write_config(self) -> None:
        """Write the configuration that it is trained by.

        Raises:
            StoppedError: The disk is full.
            ConfigError: It cannot be written for another reason.
        """
        text = yaml.safe_dump(self.run.values, sort_keys=False, allow_unicode=True, width=100)
        _write(self.config_file, f"# Run {self.run.name} of a study, written by `geoseg study`.\n{text}")

    def record(self) -> Record:
        """What was noted of it; nothing where there is no file.

        Raises:
            ConfigError: The file is none of ours.
        """
        path = self._record_file
        try:
            return Record.model_validate_json(path.read_bytes()) if path.exists() else Record()
        except (OSError, ValidationError) as error:
            raise ConfigError(
                f"{path}: expected what `geoseg study` noted of {self.run.name}; delete it (its minutes are lost)"
            ) from error

    def note_start(self, beside: int) -> None:
        """Note that a process begins to train it, or goes on.

        Args:
            beside: How many runs train at a time, itself included.

        Raises:
            ConfigError: The record cannot be read or written.
            StoppedError: The disk is full.
        """
        record = self.record()
        anew = not (self.training / "last.pt").exists()
        before = () if anew else record.attempts
        whole = anew or (record.whole and bool(before))
        self._keep(record.model_copy(update={"attempts": (*before, Attempt(beside=beside)), "whole": whole}))

    def note_end(self, exit_code: int, seconds: float) -> None:
        """Note that the process has ended.

        Args:
            exit_code: Of the process.
            seconds: That it took.

        Raises:
            ConfigError: The record cannot be read or written.
            StoppedError: The disk is full.
        """
        record = self.record()
        *before, last = record.attempts
        ended = last.model_copy(update={"seconds": seconds, "exit_code": exit_code})
        self._keep(record.model_copy(update={"attempts": (*before, ended)}))

    def note_measured(self, measured: Measured) -> None:
        """Note what was measured; errors as `note_end`."""
        self._keep(self.record().model_copy(update={"measured": measured}))

    def curve(self) -> tuple[CurvePoint, ...]:
        """Its validations.

        Raises:
            ConfigError: Its log.csv cannot be read.
        """
        return read_curve(self.training / "log.csv")

    def minutes(self) -> tuple[float | None, str | None, int | None]:
        """How long it took, by what ("processes" or "log"), and how many runs trained at a time.

        By the processes where all that trained it are known; else by its log, which leaves out what comes before
        the first step and after the last validation of each part.

        Raises:
            ConfigError: The record or log.csv cannot be read.
        """
        record = self.record()
        seen = [attempt.seconds for attempt in record.attempts if attempt.seconds is not None]
        if record.whole and seen and len(seen) == len(record.attempts):
            return sum(seen) / 60, "processes", max(attempt.beside for attempt in record.attempts)
        seconds = logged_seconds([point.seconds for point in self.curve()])
        return (None, None, None) if seconds is None else (seconds / 60, "log", None)

    @property
    def _record_file(self) -> Path:
        return self.study / f"{self.run.name}.json"

    def _keep(self, record: Record) -> None:
        _write(self._record_file, record.model_dump_json(indent=2) + "\n")


def logged_seconds(seconds: Sequence[float]) -> float | None:
    """How long a training took, by the seconds in its log, which count from 0 again where it was gone on with.

    Args:
        seconds: At each validation, since its part began.

    Returns:
        The seconds of all parts together; None without a validation.
    """
    if not seconds:
        return None
    # A part ends where the next value is smaller.
    ends = [one for one, after in pairwise(seconds) if after < one]
    return sum(ends) + seconds[-1]


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        if is_disk_full(error):
            raise StoppedError(
                f"the disk is full: {path} was not written; make room, and the same command goes on"
            ) from error
        raise ConfigError(f"{path} cannot be written: {error.strerror}; name another -o") from error
