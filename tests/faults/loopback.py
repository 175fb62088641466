"""A web server on the loopback address that serves what a test gives it, and misbehaves as it is told."""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        method: GET or HEAD.
        path: From the root, with the query.
        part: First and last byte asked for, or None for all.
        headers: By lower-case name.
    """

    method: str
    path: str
    part: tuple[int, int] | None
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """How a request is answered instead.

    Attributes:
        status: Answer with this status, or None to answer as usual.
        headers: With these headers.
        wait_s: After so many seconds.
        reset: Close the connection in the middle of the answer.
    """

    status: int | None = None
    headers: tuple[tuple[str, str], ...] = ()
    wait_s: float = 0.0
    reset: bool = False


Misbehaviour = Callable[[Request, int], Fault | None]
"""Of a request and how many of this path came before it: what goes wrong, or None."""


@dataclass(slots=True)
class Web:
    """The server as a test sees it.

    Attributes:
        origin: "http://127.0.0.1:PORT".
        files: Bytes by path from the root, without a query.
        requests: All that was asked for, in order.
        misbehave: What goes wrong.
        etag: Whether answers carry an ETag and the time of change.
        ranges: Whether parts of files are served.
    """

    origin: str
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    misbehave: Misbehaviour = lambda _request, _before: None
    etag: bool = True
    ranges: bool = True

    def put(self, path: str, content: bytes) -> str:
        """Serve a file; returns its address."""
        self.files[path] = content
        return self.origin + path

    def asked(self, path: str) -> int:
        """How many requests came for a path."""
        return sum(request.path.partition("?")[0] == path for request in self.requests)


def first(count: int, fault: Fault) -> Misbehaviour:
    """The first requests of each path go wrong, all others well."""
    return lambda _request, before: fault if before < count else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web

    def do_GET(self) -> None:  # the name that http.server calls
        path = self.path.partition("?")[0]
        part = self._part()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, part, headers)
        fault = self.web.misbehave(request, self.web.asked(path)) or Fault()
        self.web.requests.append(request)
        time.sleep(fault.wait_s)
        content = self.web.files.get(path)
        if fault.status is not None:
            self._answer(fault.status, b"", dict(fault.headers))
        elif content is None:
            self._answer(404, b"", {})
        else:
            self._serve(content, part, fault)

    do_HEAD = do_GET  # noqa: N815

    def _serve(self, content: bytes, part: tuple[int, int] | None, fault: Fault) -> None:
        headers = dict(fault.headers)
        if self.web.etag:
            headers |= {"ETag": f'"{hash(content):x}"', "Last-Modified": "Wed, 21 Oct 2026 07:28:00 GMT"}
        if part is None or not self.web.ranges:
            status, body = 200, content
        elif part[0] >= len(content):
            self._answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        else:
            last = min(part[1], len(content) - 1)
            status, body = 206, content[part[0] : last + 1]
            headers["Content-Range"] = f"bytes {part[0]}-{last}/{len(content)}"
        if fault.reset:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self._answer(status, body, headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _part(self) -> tuple[int, int] | None:
        unit, _, asked = self.headers.get("Range", "").partition("=")
        start, _, last = asked.partition("-")
        if unit != "bytes" or not start.isdigit():
            return None
        return int(start), int(last) if last else 2**62

    def log_message(self, *_: object) -> None:
        """Tests speak for themselves."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # slow answers are given up by those who asked

    def handle_error(self, *_: object) -> None:
        """Clients that go away are what some tests are about."""


@contextmanager
def loopback_server() -> Iterator[Web]:
    """A server for as long as the context lasts."""
    handler = type("Handler", (_Handler,), {})
    with _Server(("127.0.0.1", 0), handler) as server:
        web = Web(f"http://127.0.0.1:{server.server_address[1]}")
        handler.web = web  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def server_elsewhere(files: dict[str, bytes]) -> Iterator[str]:
    """The origin of a server in another process: GDAL may hold this one's lock while it waits for an answer."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(files, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def _serve(files: dict[str, bytes], pipe: Connection) -> None:
    with loopback_server() as web:
        web.files.update(files)
        pipe.send(web.origin)
        pipe.recv()
