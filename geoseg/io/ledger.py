"""The ledger: what of a run is done, kept in storage beside the mosaic and never inside it.

A marker is written after everything that it vouches for, in one step, so that a marker that exists is true.
Resuming is the plan minus the markers; that an output exists proves nothing (an all-nodata chunk is not stored).
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


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
        write_json(self.folder / f"{key}.json", record)

    def record(self, key: str) -> dict[str, Any]:
        """What `commit` wrote for a unit."""
        loaded: dict[str, Any] = json.loads((self.folder / f"{key}.json").read_text())
        return loaded


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step: readers see the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
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
