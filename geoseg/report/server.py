"""A web server for this machine's own browsers: a few known paths on the loopback address, read by ranges.

Any page in a browser can send requests to the loopback address, also under a name of its own that it has point
there (DNS rebinding), so only requests that name this server's own address are answered.
"""

import hashlib
import io
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from geoseg.errors import GeosegError

LOOPBACK = "127.0.0.1"

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_COPY_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class Resource:
    """What a path of the server leads to.

    Attributes:
        content: Bytes, or the file that holds them.
        media_type: What they are.
        policy: Content-Security-Policy of a page; for all else nothing is allowed.
    """

    content: bytes | Path
    media_type: str
    policy: str = "default-src 'none'; sandbox"

    def etag(self) -> str:
        """Tells one content from another: a strong validator (RFC 9110, section 8.8.1).

        Raises:
            OSError: The file is gone.
        """
        if isinstance(self.content, bytes):
            named = self.content
        else:
            status = self.content.stat()
            named = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}".encode()
        return f'"{hashlib.sha256(named).hexdigest()[:32]}"'

    def open(self) -> tuple[BinaryIO, int]:
        """The content to be read, and how many bytes it has.

        Raises:
            OSError: The file is gone.
        """
        if isinstance(self.content, bytes):
            return io.BytesIO(self.content), len(self.content)
        stream = self.content.open("rb")
        return stream, self.content.stat().st_size


class LoopbackServer(ThreadingHTTPServer):
    """Serves some resources to this machine alone, until it is closed.

    Args:
        resources: What each path leads to, such as "/" or "/layers.pmtiles"; no other path leads anywhere.
        port: To listen on; 0 for any that is free.

    Raises:
        GeosegError: The port is taken, or not ours to take.
    """

    daemon_threads = True

    def __init__(self, resources: Mapping[str, Resource], port: int = 0) -> None:
        self.resources = dict(resources)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise GeosegError(
                f"cannot listen on {LOOPBACK}:{port} ({error.strerror}): name another with --port, or leave it out"
            ) from error

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def server_bind(self) -> None:
        """Listen, without asking a name server what this machine is called."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]


class _Handler(BaseHTTPRequestHandler):
    """Answers one request after the other of a connection."""

    protocol_version = "HTTP/1.1"
    server_version = "geoseg"
    sys_version = ""
    timeout = 30
    server: LoopbackServer

    def handle(self) -> None:
        """Answer until the browser has enough: it drops connections as it likes."""
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        """A resource, or a range of it."""
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        """What a GET would say of it."""
        self._answer(with_content=False)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002  # http.server's signature
        """An error without a page: also what http.server answers to methods that there are none of."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            code = HTTPStatus.METHOD_NOT_ALLOWED
        self.close_connection = True
        self._head(code, 0, {"Allow": "GET, HEAD"} if code == HTTPStatus.METHOD_NOT_ALLOWED else {})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # http.server's signature
        """Say nothing: a map asks for hundreds of ranges."""

    def _answer(self, *, with_content: bool) -> None:
        port = self.server.server_port
        if self.headers.get("Host") not in (f"{LOOPBACK}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        resource = self.server.resources.get(unquote(urlsplit(self.path).path))
        if resource is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            etag = resource.etag()
            stream, size = resource.open()
        except OSError:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        with stream:
            self._send(resource, etag, stream, size, with_content=with_content)

    def _send(self, resource: Resource, etag: str, stream: BinaryIO, size: int, *, with_content: bool) -> None:
        said = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Type": resource.media_type,
            "Content-Security-Policy": resource.policy,
        }
        if etag in _tags(self.headers.get("If-None-Match", "")):
            self._head(HTTPStatus.NOT_MODIFIED, None, said)
            return
        span = None
        # A range is that of one version: of another, all is sent (RFC 9110, section 13.1.5).
        if self.command == "GET" and self.headers.get("If-Range", etag) == etag:
            span = byte_range(self.headers.get("Range", ""), size)
        if span is None:
            span = range(size)
            self._head(HTTPStatus.OK, size, said)
        elif not span:
            self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, {"Content-Range": f"bytes */{size}"})
            return
        else:
            said["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
            self._head(HTTPStatus.PARTIAL_CONTENT, len(span), said)
        if with_content:
            stream.seek(span.start)
            left = len(span)
            while left and (part := stream.read(min(_COPY_BYTES, left))):
                self.wfile.write(part)
                left -= len(part)

    def _head(self, code: int, length: int | None, said: Mapping[str, str]) -> None:
        self.send_response(code)
        if length is not None:
            self.send_header("Content-Length", str(length))
        always = {
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in {**always, **said}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()


def byte_range(asked: str, size: int) -> range | None:
    """The bytes that a Range header asks for (RFC 9110, section 14.1.2).

    Args:
        asked: The header.
        size: How many bytes there are.

    Returns:
        Which of them, none where the range lies beyond; None where the header is to be ignored: it is not
        understood, or asks for several ranges, which a server need not give.
    """
    found = _RANGE.fullmatch(asked.strip())
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    start, stop = int(first), min(size, int(last) + 1) if last else size
    if last and int(last) < start:
        return None
    return range(start, max(start, stop))


def _tags(header: str) -> list[str]:
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]
