"""The ledger: what of a run is done, kept in storage beside the mosaic and never inside it.

A marker is written after everything that it vouches for, in one step, so that a marker that exists is true.
Resuming is the plan minus the markers; that an output exists proves nothing (an all-nodata chunk is not stored).
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from geoseg.errors import RunFolderError, StoppedError
from geoseg.io.bucket import BucketPath
from geoseg.io.place import Place, PlaceT_co, write_whole

_OWN_HASH = "marker_sha256"
"""Key of a marker's hash of all its other keys: it vouches for files, and itself has only this."""

_OWNER = "marker_owner"
"""Key of who wrote a marker in an object store."""

_READ_AT_ONCE = 16
"""Markers of an object store, where each takes a while to come."""


@dataclass(frozen=True, slots=True)
class Ledger(Generic[PlaceT_co]):
    """The markers of one stage of a run, a file for each unit of work.

    Attributes:
        folder: RUN/ledger/STAGE.
    """

    folder: PlaceT_co

    def done(self) -> frozenset[str]:
        """Keys of the units that are finished."""
        return frozenset(file.stem for file in self.folder.glob("*.json"))

    def commit(self, key: str, record: Mapping[str, Any]) -> None:
        """Mark a unit as finished, after all that it wrote.

        In an object store a marker is created, and replaces none but one's own: two owners cannot both commit.

        Raises:
            StoppedError: Another owner marked the unit, and found something else.
        """
        content = {**record, _OWN_HASH: canonical_hash(record)}
        file = self.folder / f"{key}.json"
        match file:
            case Path():
                write_json(file, content)
            case BucketPath():
                _commit_once(file, content)

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
        loaded.pop(_OWNER, None)
        if loaded.pop(_OWN_HASH, None) != canonical_hash(loaded):
            raise RunFolderError(
                f"{file} is damaged (its own sha256 does not match): remove it, and its work is done again"
            )
        return loaded

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Key and record of every finished unit, in the order of the keys, a few in memory at a time."""
        keys = sorted(self.done())
        if isinstance(self.folder, Path):
            yield from ((key, self.record(key)) for key in keys)
            return
        with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
            for start in range(0, len(keys), _READ_AT_ONCE):
                batch = keys[start : start + _READ_AT_ONCE]
                yield from zip(batch, pool.map(self.record, batch), strict=True)

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


def _commit_once(file: BucketPath, content: Mapping[str, Any]) -> None:
    """Create a marker in an object store.

    Raises:
        StoppedError: Another owner's is there, and says something else.
    """
    owner = "" if file.held is None else file.held.owner
    text = _json({**content, _OWNER: owner})
    while file.create(text) is None:
        try:
            there, version = file.read_version()
        except FileNotFoundError:  # forgotten since, to be done again
            continue
        before = _parsed(there)
        if there == text:  # the answer to one's own was lost
            return
        if before.pop(_OWNER, None) == owner:
            # A unit that is done again, on other hardware, say. Where it is another by now, that one is looked at.
            if file.swap(text, version) is not None:
                return
        elif before == json.loads(_json(content)):
            return
        else:
            raise StoppedError(f"another process marked {file} as done, and found something else: this one stops")


def _parsed(marker: bytes) -> dict[str, Any]:
    """What a marker says; nothing where it is damaged."""
    try:
        said = json.loads(marker)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def write_json(place: Place, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step: readers see the old content or the new, never a part."""
    write_whole(place, _json(content))


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def canonical_hash(content: Mapping[str, Any]) -> str:
    """sha256 of a JSON object, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
