"""Whether a run on disk is still what its markers say, byte by byte."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import RunFolderError
from geoseg.io.ledger import file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.outcome import MosaicState


@dataclass(frozen=True, slots=True)
class Difference:
    """A file that is not what its marker vouches for.

    Attributes:
        path: Within the RUN folder.
        expected: sha256 that the marker names, or None if no marker knows the file.
        found: sha256 of the file, or None if it is missing.
        unit: Stage and unit of the marker, or None.
    """

    path: str
    expected: str | None
    found: str | None
    unit: str | None

    def line(self) -> str:
        """The difference in words."""
        by = "" if self.unit is None else f" ({self.unit})"
        if self.expected is None:
            return f"{self.path}: no marker knows this file"
        if self.found is None:
            return f"{self.path}: missing{by}, expected sha256 {self.expected}"
        return f"{self.path}: expected sha256 {self.expected}{by}, got {self.found}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Attributes:
        files: How many files are as their markers say.
        differences: Those that are not.
        missing_blocks: How many blocks of the plan have no marker.
        numerics: Each kind of numerics, with the keys of the blocks that were computed on it.
    """

    files: int
    differences: tuple[Difference, ...]
    missing_blocks: int
    numerics: tuple[tuple[dict[str, Any], tuple[str, ...]], ...]


def verify_run(path: Path) -> Verification:
    """Hash all files of a run again and compare them with its markers.

    Args:
        path: The RUN folder.

    Raises:
        RunFolderError: There is no run, or a marker is damaged.
    """
    run = RunFolder(path)
    plan = run.existing_plan()
    if plan is None:
        raise RunFolderError(f"expected a RUN folder that geoseg map wrote, got {path}")
    good = 0
    differences: list[Difference] = []
    stored: set[str] = set()
    for unit, name, expected in _vouched_for(run):
        file = path / name
        found = file_sha256(file) if file.is_file() else None
        if found == expected:
            good += found is not None
        else:
            differences.append(Difference(name, expected, found, unit))
        stored.add(name)
    if run.mosaic.path.exists():
        strays = (f"mosaic.zarr/{chunk}" for chunk in run.mosaic.chunk_files())
        differences += [
            Difference(name, None, file_sha256(path / name), None) for name in sorted(strays) if name not in stored
        ]
    done = run.ledger("mosaic").done()
    return Verification(good, tuple(differences), plan["blocks"] - len(done), tuple(_numerics(run)))


def _vouched_for(run: RunFolder) -> Iterator[tuple[str, str, str | None]]:
    """Stage and unit, path within the RUN folder, and sha256 (None: not stored) of all that markers name."""
    ledger = run.path / "ledger"
    for stage in sorted(folder.name for folder in ledger.iterdir()) if ledger.exists() else []:
        for key, record in run.ledger(stage).records():
            unit = f"{stage} {key}"
            for chunk, sha256 in record.get("chunks", {}).items():
                yield unit, f"mosaic.zarr/{chunk}", sha256
            for name, sha256 in record.get("files", {}).items():
                yield unit, name, sha256
            for output in record.get("outputs", []):
                if output["sha256"] is not None:
                    yield unit, output["path"], output["sha256"]


def _numerics(run: RunFolder) -> Iterator[tuple[dict[str, Any], tuple[str, ...]]]:
    kinds = [kind for kind, _ in MosaicState.of(run.ledger("mosaic")).numerics]
    keys: list[list[str]] = [[] for _ in kinds]
    for key, record in run.ledger("mosaic").records():
        if record["valid_px"]:
            keys[kinds.index(record["numerics"])].append(key)
    yield from ((kind, tuple(names)) for kind, names in zip(kinds, keys, strict=True))
