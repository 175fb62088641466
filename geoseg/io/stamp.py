"""Whether files are still those that were planned with, told from their size and time of change.

Of a file on a server these are what it says, with its ETag; it is asked once in 30 seconds at most, however many
blocks are done in between (`geoseg.io.identity.identify`).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from geoseg.errors import InputChangedError
from geoseg.io.addresses import is_remote, place_of
from geoseg.io.answers import RemoteError
from geoseg.io.identity import identify

_GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was.

    Attributes:
        path: Absolute path, or address without its query.
        size: Bytes.
        changed_ns: Time of its last change, nanoseconds since 1970.
        version: What else a server says of it.
        address: Where to ask, if that is not `path`; never shown, since it may hold a signature.
    """

    path: str
    size: int
    changed_ns: int
    version: str = ""
    address: str = field(default="", repr=False, compare=False)

    @classmethod
    def of(cls, path: str) -> Self:
        """A file as it is now, or of a server's as it was a moment ago.

        Raises:
            FileNotFoundError: There is none.
            SceneError: Its server does not say.
        """
        if is_remote(path):
            name, address = place_of(path)
            try:
                now = identify(path)
            except RemoteError as error:
                if error.status in _GONE:
                    raise FileNotFoundError(name) from error
                raise
            return cls(name, now.size, now.changed_ns, now.etag or now.content, address)
        status = os.stat(path)  # noqa: PTH116  # a path as text, as GDAL takes it
        return cls(path, status.st_size, status.st_mtime_ns)


def refuse_changes(stamps: Iterable[Stamp]) -> None:
    """Compare files with what they were.

    Raises:
        InputChangedError: One was changed or removed.
        SceneError: A server does not say.
    """
    for before in stamps:
        try:
            now = Stamp.of(before.address or before.path)
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
