"""Runs of the command that can be disturbed from outside, and what they leave behind."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.io.run_folder import RunFolder

WORKERS = 2


@dataclass(frozen=True, slots=True)
class Mapping:
    """A scene and a model, to be mapped by the command into folders.

    Attributes:
        scene: The scene.
        model: The model package.
        options: Of every run.
    """

    scene: Path
    model: Path
    options: tuple[str, ...] = ("--workers", str(WORKERS), "--block-size", "512", "--min-area", "60")
    environment: dict[str, str] = field(default_factory=dict)

    def start(self, run: Path, *options: str) -> subprocess.Popen[str]:
        """The command, running; in a process group of its own, so that a terminal's Ctrl-C can be sent to it."""
        command = ["map", str(self.scene), "-o", str(run), "--model", str(self.model), *self.options, *options]
        return subprocess.Popen(
            [sys.executable, "-m", "geoseg.cli", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | self.environment,
            start_new_session=True,
        )

    def finish(self, run: Path, *options: str) -> subprocess.CompletedProcess[str]:
        """The command, to its end."""
        process = self.start(run, *options)
        out, err = process.communicate(timeout=240)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def content(run: Path) -> dict[str, str]:
    """sha256 of every array's every file and of all else that a user keeps, by path."""
    files = [file for file in (run / "mosaic.zarr").rglob("*") if file.is_file()]
    files += [*(run / "layers").iterdir(), *(run / "stac").iterdir(), run / "classes.tif", run / "preview.png"]
    return {file.relative_to(run).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def commits(run: Path, stage: str) -> dict[str, int]:
    """When each unit of a stage was committed, by its key, in nanoseconds."""
    ledger = RunFolder(run).ledger(stage)
    return {key: (ledger.folder / f"{key}.json").stat().st_mtime_ns for key in ledger.done()}


def wait_for_commits(run: Path, stage: str, count: int, process: subprocess.Popen[str]) -> None:
    """Return as soon as a stage has so many commits, or the process ended."""
    folder = RunFolder(run).ledger(stage).folder
    while process.poll() is None:
        if folder.is_dir() and sum(file.suffix == ".json" for file in folder.iterdir()) >= count:
            return
        time.sleep(0.0005)


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL to a process alone: what it started finds out by itself."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def workers_of(process: subprocess.Popen[str]) -> list[int]:
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
