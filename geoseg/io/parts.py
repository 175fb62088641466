"""A file on a web server, read in parts: as long as it is the same file, and never less than was asked for."""

import io
from collections import OrderedDict

from geoseg.errors import SceneError
from geoseg.io.addresses import Address, shown
from geoseg.io.answers import Answer, RemoteError, ask

CHUNK_BYTES = 65536
"""Least that is asked for: the chunks of a file are asked for and kept whole."""

_MOST_AHEAD = 32
"""Who reads on where they stopped is given up to so many chunks at once."""

_KEPT_CHUNKS = 128


class RemoteFile:
    """A file on a web server, its parts kept for a while, for handles that read it.

    Args:
        address: Where it is.
        head: What was answered when its first bytes were asked for: the version that is read. The whole first chunk
            need not be asked for again.

    Attributes:
        failure: What went wrong first, or None. Whatever was read since may be wrong.
        size: Bytes.
    """

    def __init__(self, address: Address, head: Answer) -> None:
        self.failure: SceneError | None = None
        self.size = head.size or 0
        self._address = address
        self._found_at = head.address
        self._version = version_of(head)
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._next = -1
        self._ahead = 1
        if len(head.body) == min(CHUNK_BYTES, self.size):
            self._kept[0], self._next = head.body, 1

    def handle(self) -> "Handle":
        """A new handle at its beginning."""
        return Handle(self)

    def part(self, start: int, stop: int) -> bytes:
        """Some bytes, or none where something went wrong."""
        if self.failure is not None or stop <= start:
            return b""
        first, last = start // CHUNK_BYTES, (stop - 1) // CHUNK_BYTES
        try:
            chunks = self._chunks(first, last)
        except SceneError as error:
            self.failure = error
            return b""
        return b"".join(chunks)[start - first * CHUNK_BYTES :][: stop - start]

    def _chunks(self, first: int, last: int) -> list[bytes]:
        """Chunks of the file, those that lack asked for in one go."""
        missing = [number for number in range(first, last + 1) if number not in self._kept]
        fetched: dict[int, bytes] = {}
        if missing:
            self._ahead = min(_MOST_AHEAD, 2 * self._ahead) if missing[0] == self._next else 1
            # At the end of what was asked for begins what is asked for next, more often than not.
            end = min(max(missing[-1] + 1, missing[0] + self._ahead), -(-self.size // CHUNK_BYTES))
            body = self._fetch(missing[0] * CHUNK_BYTES, min(end * CHUNK_BYTES, self.size))
            self._next = end
            for number in range(missing[0], end):
                at = (number - missing[0]) * CHUNK_BYTES
                fetched[number] = body[at : at + CHUNK_BYTES]
        chunks = []
        for number in range(first, last + 1):
            if number in self._kept:
                self._kept.move_to_end(number)
                chunks.append(self._kept[number])
            else:
                chunks.append(fetched[number])
        self._kept.update(fetched)
        while len(self._kept) > _KEPT_CHUNKS:
            self._kept.popitem(last=False)
        return chunks

    def _fetch(self, start: int, stop: int) -> bytes:
        try:
            answer = ask(self._found_at, start, stop - start)
        except RemoteError:
            if self._found_at == self._address:
                raise
            # What it was redirected to may have been signed for a while only.
            answer = ask(self._address, start, stop - start)
        if not answer.partial or version_of(answer) != self._version or len(answer.body) != stop - start:
            raise RemoteError(f"{shown(self._address.text)} changed while it was read: expected the file of before")
        self._found_at = answer.address
        return answer.body


class Handle(io.RawIOBase):
    """A place in a file, as GDAL wants it: it never raises, and what went wrong is asked of the file afterwards.

    GDAL may open a file several times, and seeks and closes each of them by itself.
    """

    def __init__(self, file: RemoteFile) -> None:
        super().__init__()
        self._file = file
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The byte that is read next."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def read(self, count: int = -1) -> bytes:
        """Bytes from here on, or none where something went wrong."""
        size = self._file.size
        found = self._file.part(self._position, size if count < 0 else min(size, self._position + count))
        self._position += len(found)
        return found


def version_of(answer: Answer) -> tuple[int | None, str, str]:
    """What an answer says of the whole file: bytes, ETag and time of change."""
    return answer.size, answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
