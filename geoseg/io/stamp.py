"""Whether files are still those that were planned with, told from their size and time of change."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from geoseg.errors import InputChangedError


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was.

    Attributes:
        path: Absolute path.
        size: Bytes.
        changed_ns: Time of its last change, nanoseconds since 1970.
    """

    path: str
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: str) -> Self:
        """A file as it is now."""
        status = os.stat(path)  # noqa: PTH116  # a path as text, as GDAL takes it
        return cls(path, status.st_size, status.st_mtime_ns)


def refuse_changes(stamps: Iterable[Stamp]) -> None:
    """Compare files with what they were.

    Raises:
        InputChangedError: One was changed or removed.
    """
    for before in stamps:
        try:
            now = Stamp.of(before.path)
        except FileNotFoundError as error:
            raise InputChangedError(
                f"{before.path} was removed during the run, which stops here so that nothing is mixed: put it "
                "back, then run the same command again"
            ) from error
        if now != before:
            raise InputChangedError(
                f"{before.path} changed during the run (it had {before.size} bytes, has {now.size}, or was written "
                "again), which stops here so that nothing is mixed: put the old file back and run the same command "
                "again, or map the new one with --fresh"
            )
