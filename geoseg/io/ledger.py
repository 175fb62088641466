"""The ledger: what of a run is done, kept in storage beside the mosaic and never inside it.

A marker is written after everything that it vouches for, in one step, so that a marker that exists is true.
Resuming is the plan minus the markers; that an output exists proves nothing (an all-nodata chunk is not stored).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from geoseg.errors import RunFolderError

_OWN_HASH = "marker_sha256"
"""Key of a marker's hash of all its other keys: it vouches for files, and itself has only this."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The markers of one stage of a run, a file for each unit of work.

    Attributes:
        folder: RUN/ledger/STAGE.
    """

    folder: Path

    def done(self) -> frozenset[str]:
        """Keys of the units that are finished."""
        return frozenset(file.stem for file in self.folder.glob("*.json"))

    def commit(self, key: str, record: Mapping[str, Any]) -> None:
        """Mark a unit as finished, after all that it wrote."""
        write_json(self.folder / f"{key}.json", {**record, _OWN_HASH: canonical_hash(record)})

    def record(self, key: str) -> dict[str, Any]:
        """What `commit` wrote for a unit.

        Raises:
            RunFolderError: The marker is damaged: a whole one is written in one step, so something else wrote it.
        """
        file = self.folder / f"{key}.json"
        try:
            loaded = json.loads(file.read_text())
        except ValueError as error:  # no JSON, or no text at all
            raise RunFolderError(f"{file} is damaged ({error}): remove it, and its work is done again") from error
        if not isinstance(loaded, dict):
            raise RunFolderError(f"{file} is damaged (no JSON object): remove it, and its work is done again")
        if loaded.pop(_OWN_HASH, None) != canonical_hash(loaded):
            raise RunFolderError(
                f"{file} is damaged (its own sha256 does not match): remove it, and its work is done again"
            )
        return loaded

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key and record of every finished unit, in the order of the keys, one in memory at a time."""
        for key in sorted(self.done()):
            yield key, self.record(key)

    def done_for(self, depends: str) -> frozenset[str]:
        """Keys of the units that were finished for what the stage depends on now; other markers are removed.

        Args:
            depends: Hash of all that the stage's results depend on, which its markers name as "depends".
        """
        done = set()
        for key, record in self.records():
            if record.get("depends") == depends:
                done.add(key)
            else:
                self.forget(key)
        return frozenset(done)

    def forget(self, key: str) -> None:
        """Remove a marker: its unit is to be done again."""
        (self.folder / f"{key}.json").unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two processes or threads may write the same marker: a unit whose answer was lost is done again.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)


def canonical_hash(content: Mapping[str, Any]) -> str:
    """sha256 of a JSON object, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
