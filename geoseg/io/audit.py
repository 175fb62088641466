"""Whether the files of a run are what its markers say, and what is to be done again where they are not."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from geoseg.errors import RunFolderError
from geoseg.io.place import Place, file_sha256, name_within
from geoseg.io.run_folder import RunFolder

_AT_ONCE = 4096
"""Files that are hashed at a time; a region has millions."""

_THREADS = 4


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not what its marker vouches for, or a marker that is none.

    Attributes:
        path: Within the RUN folder.
        expected: sha256 that the marker names; None if no marker knows the file, or for a marker itself.
        found: sha256 of the file, or None if it is missing.
        unit: Stage and key of the marker, or None.
        damage: What is wrong with a marker, in words, or None.
    """

    path: str
    expected: str | None
    found: str | None
    unit: tuple[str, str] | None
    damage: str | None = None

    def line(self) -> str:
        """The difference in words."""
        by = "" if self.unit is None else f" ({' '.join(self.unit)})"
        if self.damage is not None:
            return f"{self.path}: {self.damage}"
        if self.expected is None:
            return f"{self.path}: no marker knows this file"
        if self.found is None:
            return f"{self.path}: missing{by}, expected sha256 {self.expected}"
        return f"{self.path}: expected sha256 {self.expected}{by}, got {self.found}"


@dataclass(frozen=True, slots=True)
class Audit:
    """What all markers and files of a run were found to be.

    Attributes:
        files: How many files are as their markers say.
        differences: Those that are not.
    """

    files: int
    differences: tuple[Difference, ...]


def audit(run: RunFolder) -> Audit:
    """Hash every file of a run again."""
    files = 0
    differences: list[Difference] = []
    stored: set[str] = set()
    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in _batches(_vouched_for(run)):
            found = pool.map(lambda one: _hash(run.path / one.path), batch)
            for one, sha256 in zip(batch, found, strict=True):
                stored.add(one.path)
                if one.damage is not None:
                    differences.append(one)
                elif sha256 == one.expected:
                    files += sha256 is not None
                else:
                    differences.append(Difference(one.path, one.expected, sha256, one.unit))
    strays = sorted(name for name in _written(run) if name not in stored)
    differences += [Difference(name, None, _hash(run.path / name), None) for name in strays]
    return Audit(files, tuple(differences))


def forget(run: RunFolder, differences: Iterable[Difference]) -> int:
    """Remove the markers whose files differ, and files that no marker knows: the work is then done again.

    Returns:
        How many units lost their marker.
    """
    units = set()
    for one in differences:
        if one.unit is None:
            (run.path / one.path).unlink(missing_ok=True)
            continue
        stage, key = one.unit
        run.ledger(stage).forget(key)
        units.add(one.unit)
    return len(units)


def _vouched_for(run: RunFolder) -> Iterator[Difference]:
    """What all markers name, as differences that may turn out to be none; and markers that are damaged."""
    ledger = run.path / "ledger"
    for stage in sorted(folder.name for folder in ledger.glob("*/")):
        for key in sorted(run.ledger(stage).done()):
            unit = (stage, key)
            try:
                record = run.ledger(stage).record(key)
            except RunFolderError as error:
                yield Difference(f"ledger/{stage}/{key}.json", None, None, unit, str(error))
                continue
            outputs = {output["path"]: output["sha256"] for output in record.get("outputs", []) if output["sha256"]}
            chunks = {f"mosaic.zarr/{name}": sha256 for name, sha256 in record.get("chunks", {}).items()}
            for path, sha256 in (chunks | record.get("files", {}) | outputs).items():
                yield Difference(path, sha256, None, unit)


def _written(run: RunFolder) -> Iterator[str]:
    """Files that only a run writes, and that markers must know: chunks, what stages leave to the next, outputs."""
    if run.mosaic.path.exists():
        yield from (f"mosaic.zarr/{file}" for file in run.mosaic.chunk_files())
    yield from (name_within(file, run.path) for file in (run.path / "ledger").rglob("*.npz"))
    try:
        outputs = json.loads(run.run_file.read_text())["outputs"]
        names = [str(output["path"]) for output in outputs]
    except (OSError, ValueError, LookupError, TypeError):
        return  # there is no record, or it is damaged, which its marker tells
    yield from (name for name in names if (run.path / name).is_file())


def _batches(differences: Iterator[Difference]) -> Iterator[list[Difference]]:
    batch: list[Difference] = []
    for one in differences:
        batch.append(one)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    yield batch


def _hash(file: Place) -> str | None:
    try:
        return file_sha256(file)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
