"""The RUN folder: where everything of a run lies, whose it is, and who is working on it."""

import fcntl
import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic

from geoseg.errors import RunFolderError
from geoseg.io.claim import claimed, refuse_claimed
from geoseg.io.fence import CLAIM
from geoseg.io.ledger import Ledger, write_json
from geoseg.io.mosaic import Mosaic
from geoseg.io.place import Place, PlaceT_co, below, file_sha256, move_files, remove_all, write_whole

_LOCK = ".lock"

OF_FOLDER = "folder"
"""The stage in the ledger of what belongs to the folder itself: plan.json, run.json, report.html, the mosaic's
metadata."""

_RESULTS = (
    "run.json",
    "report.html",
    "stac",
    "map.qgs",
    "preview.png",
    "classes.tif",
    "classes.qml",
    "classes",
    "layers",
    "ledger",
    "mosaic.zarr",
    "plan.json",
)
"""What a run writes."""


@dataclass(frozen=True, slots=True)
class RunFolder(Generic[PlaceT_co]):
    """The paths of a run.

    Attributes:
        path: The folder that the user named.
    """

    path: PlaceT_co

    @property
    def plan_file(self) -> PlaceT_co:
        """What the run was asked for."""
        return below(self.path, "plan.json")

    @property
    def run_file(self) -> PlaceT_co:
        """What became of it."""
        return below(self.path, "run.json")

    @property
    def report_file(self) -> PlaceT_co:
        """The same as a page to look at."""
        return below(self.path, "report.html")

    @property
    def mosaic(self) -> Mosaic[PlaceT_co]:
        """The raster result."""
        return Mosaic(below(self.path, "mosaic.zarr"))

    @property
    def mending(self) -> str:
        """What to do about a file of it that is missing or damaged."""
        return f"geoseg verify {shlex.quote(str(self.path))} --mend, then repeat its geoseg map command"

    @property
    def layers(self) -> PlaceT_co:
        """Folder of the vector results."""
        return below(self.path, "layers")

    def ledger(self, stage: str) -> Ledger[PlaceT_co]:
        """The markers of a stage."""
        return Ledger(below(self.path, f"ledger/{stage}"))

    def existing_plan(self) -> dict[str, Any] | None:
        """The plan of the run that lies here, or None if the folder is new or empty.

        Raises:
            RunFolderError: The folder holds something else.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunFolderError(f"-o expects a folder, got a file: {self.path}")
        if not self.path.exists() or all(map(_comes_before_the_plan, self.path.iterdir())):
            return None
        if not self.plan_file.is_file():
            raise RunFolderError(
                f"{self.path} holds other files but no plan.json: expected a new or empty folder, or one that "
                "geoseg map wrote; name another with -o"
            )
        try:
            plan = json.loads(self.plan_file.read_text())
        except ValueError as error:  # no JSON, or no text at all
            raise RunFolderError(f"{self.plan_file} is damaged ({error}): name another folder with -o") from error
        if not isinstance(plan, dict):
            raise RunFolderError(f"{self.plan_file} is damaged (no JSON object): name another folder with -o")
        return plan

    def record(self) -> dict[str, Any] | None:
        """What run.json says, or None if there is none yet."""
        if not self.run_file.is_file():
            return None
        record: dict[str, Any] = json.loads(self.run_file.read_text())
        return record

    def write_plan(self, plan: Mapping[str, Any]) -> None:
        """Write plan.json, and a marker that vouches for it."""
        self._write_vouched(self.plan_file, plan)

    def write_record(self, record: Mapping[str, Any]) -> None:
        """Write run.json, and a marker that vouches for it."""
        self._write_vouched(self.run_file, record)

    def write_report(self, page: str) -> None:
        """Write report.html, and a marker that vouches for it."""
        self.forget_report()
        write_whole(self.report_file, page.encode())
        marker = {"files": {self.report_file.name: file_sha256(self.report_file)}}
        self.ledger(OF_FOLDER).commit(self.report_file.stem, marker)

    def forget_report(self) -> None:
        """Remove report.html: what it says is not true any more."""
        self.ledger(OF_FOLDER).forget(self.report_file.stem)
        self.report_file.unlink(missing_ok=True)

    def forget_record(self) -> None:
        """Remove run.json: what it says is not true any more."""
        self.run_file.unlink(missing_ok=True)
        self.ledger(OF_FOLDER).forget(self.run_file.stem)

    def create_mosaic(self, create: Callable[[Mosaic], None]) -> None:
        """Make the mosaic's groups and empty arrays, or those files of it again that no marker vouches for.

        Args:
            create: Makes them in a folder that does not exist yet.
        """
        ledger = self.ledger(OF_FOLDER)
        if self.mosaic.path.exists() and "mosaic" in ledger.done():
            return
        ledger.forget("mosaic")
        beside = self.path if isinstance(self.path, Path) else None
        with TemporaryDirectory(prefix=".mosaic.", suffix=".partial", dir=beside) as folder:
            new = Path(folder) / "mosaic.zarr"
            create(Mosaic(new))
            names = [file.relative_to(new) for file in sorted(new.rglob("*")) if file.is_file()]
            files = {f"{self.mosaic.path.name}/{name.as_posix()}": file_sha256(new / name) for name in names}
            if isinstance(self.mosaic.path, Path) and not self.mosaic.path.exists():
                new.rename(self.mosaic.path)
            else:
                move_files(new, self.mosaic.path)
        ledger.commit("mosaic", {"files": files})

    def _write_vouched(self, file: Place, content: Mapping[str, Any]) -> None:
        ledger = self.ledger(OF_FOLDER)
        # A marker that exists is true: there is none while the file is replaced.
        ledger.forget(file.stem)
        write_json(file, content)
        ledger.commit(file.stem, {"files": {file.name: file_sha256(file)}})

    def sweep(self) -> int:
        """Remove what killed processes left half written; returns how many files and folders.

        In an object store nothing is there before it is whole.
        """
        if not isinstance(self.path, Path):
            return 0
        leftovers = list(self.path.rglob("*.partial"))
        for path in leftovers:
            # A folder that went before took what lay in it along.
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        return len(leftovers)

    def results(self) -> tuple[Place, ...]:
        """What a run writes, as far as it is there: all that `clear` removes."""
        return tuple(path for path in (self.path / name for name in _RESULTS) if path.exists())

    def clear(self) -> None:
        """Remove a run, so that another can begin; files that are not of a run stay.

        The plan goes last: a folder that is cleared half way is still known as a run's.
        """
        for path in self.results():
            remove_all(path)

    @contextmanager
    def owned(self) -> Iterator["RunFolder[Place]"]:
        """Hold the folder against other processes: on a disk those of this machine, in an object store all.

        Yields:
            The folder to write to.

        Raises:
            RunFolderError: Another process is working on it, or it cannot be written.
        """
        if not isinstance(self.path, Path):
            with claimed(self.path) as path:
                yield RunFolder(path)
            return
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise RunFolderError(f"cannot write to {self.path}: {error.strerror}; name another with -o") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(
                    f"another process is working on {self.path}: wait for it, or name another folder with -o"
                ) from error
            yield self

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Keep processes on this machine from working on the folder, as long as it is read; it may be read-only.

        Of a folder in an object store it is only seen to that none works on it at first.

        Raises:
            RunFolderError: A process is working on it.
        """
        if not isinstance(self.path, Path):
            refuse_claimed(self.path)
            yield
            return
        try:
            lock = (self.path / _LOCK).open("r")
        except FileNotFoundError:
            # Copied without it: nobody has begun to work on it here.
            yield
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(f"a process is working on {self.path}: wait for it") from error
            yield


def _comes_before_the_plan(file: Place) -> bool:
    """Whether a run that was killed while it started may have left this file in its new folder."""
    return file.name in {_LOCK, CLAIM} or (file.name.startswith(".plan.json.") and file.name.endswith(".partial"))
