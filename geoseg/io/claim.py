"""Who works on a folder in an object store: an object that its owner renews, and that others watch.

The lease of a lock service without the service. No clocks are compared: who wants the folder watches the claim, and
takes it once its version has not changed for longer than an owner lets pass. Every change is conditional on the
version that was read, so that of several who would take it one does.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from geoseg.errors import RunFolderError, StoppedError
from geoseg.io.bucket import BucketPath, Version
from geoseg.io.fence import CLAIM, Held, parse_claim
from geoseg.progress import warn


@dataclass(frozen=True, slots=True)
class Lease:
    """How long a claim holds.

    Attributes:
        renew_s: Seconds between renewals.
        dead_s: An owner who has not renewed for so long is taken for dead.
        believed_s: For so long who read that a claim is his own need not read it again before he writes.
    """

    renew_s: float = 5.0
    dead_s: float = 30.0
    believed_s: float = 1.0


@contextmanager
def claimed(folder: BucketPath, lease: Lease = Lease()) -> Iterator[BucketPath]:
    """Hold a folder against all other processes, wherever they run.

    Args:
        folder: The folder.
        lease: How long the claim holds.

    Yields:
        The folder, of which what is written is refused once another process holds it.

    Raises:
        RunFolderError: Another process is working on it, or it cannot be written.
    """
    owner = uuid4().hex
    claim = folder / CLAIM
    try:
        version = _take(claim, owner, lease)
    except (StoppedError, FileNotFoundError) as error:
        raise RunFolderError(_not_reached(folder, error)) from error
    ended = threading.Event()
    keeper = _Keeper(claim, owner, version)
    renewing = threading.Thread(target=keeper.keep, args=(ended, lease.renew_s), daemon=True)
    renewing.start()
    try:
        yield replace(folder, held=Held(folder.key, owner, lease.believed_s))
    finally:
        ended.set()
        renewing.join()
        keeper.release()


def refuse_claimed(folder: BucketPath, lease: Lease = Lease()) -> None:
    """Refuse a folder that a process is working on.

    Raises:
        RunFolderError: One is, or the folder cannot be read.
    """
    try:
        _, _, alive = _watch(folder / CLAIM, lease)
    except StoppedError as error:
        raise RunFolderError(str(error)) from error
    if alive:
        raise RunFolderError(f"a process is working on {folder}: wait for it")


def _not_reached(folder: BucketPath, error: Exception) -> str:
    if isinstance(error, StoppedError):
        return f"{error} or name another folder with -o"
    return f"expected to write to {folder}, there is no bucket {folder.bucket}: make it, or name another with -o"


def _take(claim: BucketPath, owner: str, lease: Lease) -> Version:
    """Claim a folder; returns the version of the claim.

    Raises:
        RunFolderError: Another process holds it.
    """
    content = _content(owner)
    made = claim.create(content)
    if made is not None:
        return made
    there, version, alive = _watch(claim, lease, owner)
    if version is not None and there.get("owner") == owner:  # the answer to one's own claim was lost
        return version
    taken = None
    if not alive:
        taken = claim.create(content) if version is None else claim.swap(content, version)
    if taken is None:
        where = f" on {there['host']}" if there.get("host") else ""
        raise RunFolderError(
            f"another process{where} is working on {claim.parent}: wait for it, or name another folder with -o"
        )
    return taken


def _watch(claim: BucketPath, lease: Lease, myself: str = "") -> tuple[dict[str, Any], Version | None, bool]:
    """What a claim says, its version, and whether its owner lives; of none, nothing."""
    try:
        there, version = _read(claim)
    except FileNotFoundError:
        return {}, None, False
    if there.get("owner") in {None, myself} or _is_dead_here(there):
        return there, version, False
    warn(f"{claim.parent} was not given back by the process that worked on it; watching whether it still does")
    until = time.monotonic() + lease.dead_s
    while time.monotonic() < until:
        time.sleep(min(lease.renew_s, max(0.0, until - time.monotonic())))
        try:
            there, now = _read(claim)
        except FileNotFoundError:
            return {}, None, False
        if now != version:
            return there, now, there.get("owner") is not None
    return there, version, False


def _read(claim: BucketPath) -> tuple[dict[str, Any], Version]:
    content, version = claim.read_version()
    return parse_claim(content), version


def _content(owner: str | None, beat: int = 0) -> bytes:
    said = {"owner": owner, "host": socket.gethostname(), "pid": os.getpid(), "world": _world(), "beat": beat}
    return json.dumps(said if owner is not None else {"owner": None}).encode()


def _world() -> str:
    """What a process's number means something in: this start of the machine, and the container."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    pids = Path("/proc/self/ns/pid")
    if not boot.is_file():
        return ""
    return f"{boot.read_text().strip()} {pids.readlink()}"


def _is_dead_here(there: dict[str, Any]) -> bool:
    """Whether a claim's owner ran where this process runs, and does no more."""
    pid = there.get("pid")
    if not _world() or there.get("world") != _world() or not isinstance(pid, int):
        return False
    return not Path(f"/proc/{pid}").exists()


class _Keeper:
    """Renews a claim until it is given back or lost.

    Args:
        claim: The object.
        owner: Who holds it.
        version: Its version.
    """

    def __init__(self, claim: BucketPath, owner: str, version: Version) -> None:
        self._claim = claim
        self._owner = owner
        self._version: Version | None = version
        self._beat = 0

    def keep(self, ended: threading.Event, renew_s: float) -> None:
        """Renew the claim now and then; once it is lost, what is written is refused (`BucketPath.refuse_lost`)."""
        while self._version is not None and not ended.wait(renew_s):
            self._beat += 1
            try:
                self._swap(_content(self._owner, self._beat))
            except StoppedError as error:
                # The store may answer again: as long as nobody else takes the claim it holds.
                warn(f"the claim to {self._claim.parent} was not renewed: {error}")

    def release(self) -> None:
        """Give the claim back, unless it is lost."""
        if self._version is not None:
            try:
                self._swap(_content(None))
            except StoppedError as error:
                warn(f"the claim to {self._claim.parent} was not given back: {error}")

    def _swap(self, content: bytes) -> None:
        before = self._version
        if before is None:
            return
        now = self._claim.swap(content, before)
        if now is None:
            with suppress(FileNotFoundError):
                there, version = _read(self._claim)
                if there.get("owner") == self._owner:  # the answer to a renewal of one's own was lost
                    now = version
        self._version = now
