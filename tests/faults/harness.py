"""Runs of the command that can be disturbed from outside, and what they leave behind."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.cli import main
from geoseg.io.place import Place, file_sha256, name_within
from geoseg.io.run_folder import RunFolder

WORKERS = ("--workers", "2")
"""By Ray."""

ALONE = ("--local",)
"""In the command's own process."""

# Commands are forked from a process that has loaded their libraries, and nothing else: that alone takes seconds.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["geoseg.commands.map"])


def _command(arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """The command, in a process of its own that writes to files of a folder."""
    # A process group of its own, so that a terminal's Ctrl-C can be sent to it.
    os.setsid()
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY), stream)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["geoseg", *arguments]
    main()


class Running:
    """The command, running.

    Args:
        arguments: Of `geoseg`.
        environment: Beside the one of the tests, as that is now: the process forked from is older.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="geoseg-test-"))
        for name in ("out", "err"):  # read also of one that is killed before it opens them
            (self._folder / name).touch()
        self._process = _FORKS.Process(target=_command, args=(arguments, os.environ | environment, self._folder))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Its exit status, or none while it runs."""
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """To this process alone."""
        os.kill(self.pid, number)

    def end(self, timeout_s: float = 400) -> "Ended":
        """Wait until it has ended."""
        self._process.join(timeout_s)
        status = self._process.exitcode
        if status is None:
            os.killpg(self.pid, signal.SIGKILL)
        said = Ended(status, (self._folder / "out").read_text(), (self._folder / "err").read_text())
        shutil.rmtree(self._folder)
        assert status is not None, f"still running after {timeout_s} s: {said.stderr}"
        return said


@dataclass(frozen=True, slots=True)
class Ended:
    """What a command left: its exit status (of a signal: below 0) and what it wrote."""

    returncode: int | None
    stdout: str
    stderr: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """A scene and a model, to be mapped by the command into folders.

    Attributes:
        scene: The scene.
        model: The model package.
        options: Of every run.
        environment: Of every run, beside the one of the tests.
    """

    scene: Path
    model: Path
    options: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, run: Place, *options: str) -> Running:
        """The command, running."""
        command = ["map", str(self.scene), "-o", str(run), "--model", str(self.model), *self.options, *options]
        return Running(command, self.environment)

    def finish(self, run: Place, *options: str) -> Ended:
        """The command, to its end."""
        return self.start(run, *options).end()


def content(run: Place) -> dict[str, str]:
    """sha256 of every array's every file and of all else that a user keeps, by path."""
    files: list[Place] = [file for file in (run / "mosaic.zarr").rglob("*") if file.is_file()]
    files += [*(run / "layers").iterdir(), *(run / "stac").iterdir(), run / "classes.tif", run / "preview.png"]
    return {name_within(file, run): file_sha256(file) for file in files}


def commits(run: Path, stage: str) -> dict[str, int]:
    """When each unit of a stage was committed, by its key, in nanoseconds."""
    ledger = RunFolder(run).ledger(stage)
    return {key: (ledger.folder / f"{key}.json").stat().st_mtime_ns for key in ledger.done()}


def wait_for_commits(run: Path, stage: str, count: int, process: Running) -> None:
    """Return as soon as a stage has so many commits, or the process ended."""
    folder = RunFolder(run).ledger(stage).folder
    while process.poll() is None:
        if folder.is_dir() and sum(file.suffix == ".json" for file in folder.iterdir()) >= count:
            return
        time.sleep(0.0005)


def kill(process: Running) -> Ended:
    """SIGKILL to a process alone, if it has not ended: what it started finds out by itself."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    return process.end()


def workers_of(process: Running) -> list[int]:
    """Process ids of the Ray actors below a process."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
            except (OSError, ValueError):
                continue  # it ended while it was looked at
    found = []
    for pid, name in names.items():
        above = pid
        while above != process.pid and above in parents:
            above = parents[above]
        if above == process.pid and name.startswith("ray::WorkerProcess"):
            found.append(pid)
    return found
