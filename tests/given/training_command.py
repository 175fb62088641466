"""`geoseg train` on Ray, as a process that can be disturbed from outside."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bucket import BucketServer
from pyarrow.fs import FileSelector, FileSystem, LocalFileSystem

CHECKPOINTS_EVERY = 3
"""Iterations."""


@dataclass(frozen=True, slots=True)
class Command:
    """`geoseg train` with two workers, in a process of its own."""

    data: Path
    model: Path
    config: str = "long.yaml"
    storage: str | None = None
    server: BucketServer | None = None

    @property
    def words(self) -> list[str]:
        files = ["--config", str(self.data / self.config), "-o", str(self.model), "--data-root", str(self.data)]
        storage = [] if self.storage is None else ["--storage", self.storage]
        return ["train", *files, "--workers", "2", "--threads", "1", "--device", "cpu", *storage]

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "geoseg.cli", *self.words]
        environment = os.environ | ({} if self.server is None else self.server.environment)
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def finish(self) -> tuple[int, str]:
        process = self.start()
        _, said = process.communicate(timeout=240)
        return process.returncode, said

    def committed(self) -> int:
        """How many checkpoints were ever committed, told by the steps of the newest one."""
        files: FileSystem = LocalFileSystem() if self.server is None else self.server.files()
        where = str(self.model.parent) if self.server is None else self.server.bucket
        try:
            there = files.get_file_info(FileSelector(where, recursive=True))
            found = [one.path for one in there if one.base_name == "checkpoint_manager_snapshot.json"]
            if not found:
                return 0
            newest = json.loads(files.open_input_stream(found[0]).read())["latest_checkpoint_result"]
        except (OSError, ValueError):  # it is being written
            return 0
        return 0 if newest is None else int(newest["metrics"]["iteration"]) // CHECKPOINTS_EVERY

    def wait(self, process: subprocess.Popen[str], checkpoints: int) -> None:
        """Return as soon as so many checkpoints were committed, or the process ended."""
        while process.poll() is None and self.committed() < checkpoints:
            time.sleep(0.02)

    def sha256(self) -> str:
        return hashlib.sha256((self.model / "weights.safetensors").read_bytes()).hexdigest()


def trainees(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers below a process."""
    return [pid for pid in below(process.pid) if name_of(pid).startswith("ray::RayTrainWorker")]


def below(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):  # it ended while it was looked at
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""
