"""Whose run a training's folder is, and whether it is done: run.json, written before the first step."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from geoseg.errors import ConfigError
from geoseg.train.checkpoint import Identity, load_identity

_FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Claim:
    """A run that has a folder.

    Attributes:
        identity: Of the run.
        workers: How many train together.
        storage: Where its checkpoints are kept, if not in the folder.
        finished: Whether its model was written and judged.
    """

    identity: Identity
    workers: int = 1
    storage: str | None = None
    finished: bool = False

    @classmethod
    def of(cls, folder: Path) -> "Claim | None":
        """The run that a folder belongs to; None where nothing is said.

        Raises:
            ConfigError: What is said cannot be read.
        """
        path = folder / _FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**values, "identity": Identity(**values["identity"])})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"{path} cannot be read ({error}); choose another output") from error

    def stake(self, folder: Path) -> bool:
        """Take a folder for this run, or find that it is this run's already.

        Returns:
            Whether the run is finished.

        Raises:
            ConfigError: The folder belongs to another run; or it cannot be written.
        """
        there = Claim.of(folder)
        if there is None:
            left = load_identity(folder)  # of a run that was begun before folders were claimed
            if left is not None:
                self.identity.refuse(left, folder / "last.pt")
            _write(self, folder)
            return False
        for option, here, then in (
            ("--workers", self.workers, there.workers),
            ("--storage", self.storage, there.storage),
        ):
            if here != then:
                began = "none" if then is None else then
                raise ConfigError(
                    f"expected {option} {began}, with which the run of {folder} was begun, got "
                    f"{'none' if here is None else here}: say it again, or choose another output"
                )
        self.identity.refuse(there.identity, folder)
        return there.finished

    def finish(self, folder: Path) -> None:
        """Say that nothing is left to do.

        Raises:
            ConfigError: The folder cannot be written.
        """
        _write(replace(self, finished=True), folder)


def _write(claim: Claim, folder: Path) -> None:
    path = folder / _FILE
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(asdict(claim), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another -o") from error
