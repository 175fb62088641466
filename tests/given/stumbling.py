"""An object store that misbehaves: it stands before one that does not."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

from bucket import BucketServer

Trouble = Literal["500", "503", "403", "lost", "cut", "slow"]
"""An answer with a status, none at all though all was done, half of one, one that takes its time."""

FAULTS: tuple[Trouble, ...] = ("500", "lost", "503", "cut", "slow")
"""Those that pass."""

Misbehave = Callable[[str, str, int], Trouble | None]
"""Of a method, a path and how many requests came before: what goes wrong, if anything."""

_OF_THE_CONNECTION = {"content-length", "transfer-encoding", "connection"}


class _Front(ThreadingHTTPServer):
    """Forwards requests.

    Args:
        server: Where to.
        misbehave: What goes wrong.
    """

    daemon_threads = True

    def __init__(self, server: BucketServer, misbehave: Misbehave) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = server.address.removeprefix("http://")
        self.misbehave = misbehave
        self.numbers = itertools.count()

    def handle_error(self, request: object, client_address: object) -> None:
        """Who asked went away, which is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    """Forwards one connection's requests."""

    protocol_version = "HTTP/1.1"
    server: _Front

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it has there
        """Nothing."""

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        trouble = self.server.misbehave(self.command, self.path, next(self.server.numbers))
        if trouble in {"500", "503", "403"}:
            self._answer(int(trouble), [], b"<Error><Code>Trouble</Code></Error>")
            return
        if trouble == "slow":
            time.sleep(0.5)
        connection = HTTPConnection(self.server.behind, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers.items()))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        self.close_connection = trouble in {"lost", "cut"}
        if trouble != "lost":
            half = len(content) // 2 if trouble == "cut" else len(content)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, answer.getheaders(), content[:half], length or str(len(content)))

    def _answer(
        self, status: int, headers: Iterable[tuple[str, str]], content: bytes, length: str | None = None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _OF_THE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward  # noqa: N815  # the names that it looks for


@contextmanager
def stumbling(server: BucketServer, misbehave: Misbehave) -> Iterator[BucketServer]:
    """The same server behind one that misbehaves.

    Args:
        server: Keeps the objects.
        misbehave: Is asked of each request, by several threads.
    """
    front = _Front(server, misbehave)
    serving = threading.Thread(target=front.serve_forever, daemon=True)
    serving.start()
    try:
        yield BucketServer(f"http://127.0.0.1:{front.server_address[1]}", server.bucket)
    finally:
        front.shutdown()
        front.server_close()
        serving.join()
