"""The server of `geoseg view`, asked over the loopback address by Python's own client."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import GeosegError
from geoseg.report.server import LoopbackServer, Resource, byte_range

TILES = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    file = tmp_path_factory.mktemp("served") / "tiles"
    file.write_bytes(TILES)
    resources = {
        "/": Resource(b"<p>page", "text/html", "default-src 'none'"),
        "/layers.pmtiles": Resource(file, "application/vnd.pmtiles"),
        "/gone": Resource(file.with_name("gone"), "text/plain"),
        "/nothing": Resource(b"", "text/plain"),
    }
    with LoopbackServer(resources) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


Answer = tuple[int, dict[str, str], bytes]


def ask(server: LoopbackServer, path: str, method: str = "GET", **headers: str) -> Answer:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_it_listens_on_the_loopback_address_alone(server: LoopbackServer) -> None:
    assert server.socket.getsockname() == ("127.0.0.1", server.server_port)
    assert server.address == f"http://127.0.0.1:{server.server_port}/"
    with pytest.raises(GeosegError, match=r"cannot listen on 127\.0\.0\.1:.* --port"):
        LoopbackServer({}, server.server_port)


def test_a_page_comes_with_its_policy(server: LoopbackServer) -> None:
    status, headers, content = ask(server, "/?from=somewhere")
    assert (status, content) == (200, b"<p>page")
    assert headers["Content-Security-Policy"] == "default-src 'none'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers
    _, headers, _ = ask(server, "/layers.pmtiles")
    assert "sandbox" in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    ["/other", "/gone", "/../etc/passwd", "/layers.pmtiles/", "/%2e%2e/", "/layers.pmtiles%00"],
)
def test_no_other_path_leads_anywhere(server: LoopbackServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "[::1]:{port}"]
)
def test_another_name_of_this_machine_is_not_answered(server: LoopbackServer, host: str) -> None:
    status, _, content = ask(server, "/", Host=host.format(port=server.server_port))
    assert (status, content) == (421, b"")


def test_localhost_is_a_name_of_this_machine(server: LoopbackServer) -> None:
    assert ask(server, "/", Host=f"localhost:{server.server_port}")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_only_reading_is_allowed(server: LoopbackServer, method: str) -> None:
    status, headers, _ = ask(server, "/", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_head_says_what_get_would(server: LoopbackServer) -> None:
    status, of_head, content = ask(server, "/layers.pmtiles", "HEAD", Range="bytes=3-9")
    assert (status, content) == (200, b"")
    of_get = ask(server, "/layers.pmtiles")[1]
    assert {**of_head, "Date": ""} == {**of_get, "Date": ""}
    assert of_get["Content-Length"] == str(len(TILES))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("bytes=0-6", TILES[:7]), ("bytes=100-", TILES[100:]), ("bytes=-5", TILES[-5:]), ("bytes=9-99999", TILES[9:])],
)
def test_ranges_are_parts(server: LoopbackServer, asked: str, expected: bytes) -> None:
    status, headers, content = ask(server, "/layers.pmtiles", Range=asked)
    assert (status, content) == (206, expected)
    start = TILES.index(expected) if len(expected) > 5 else len(TILES) - 5
    assert headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(TILES)}"


@pytest.mark.parametrize("asked", ["bytes=0-1,4-5", "lines=1-2", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b"])
def test_what_is_no_single_range_gets_all(server: LoopbackServer, asked: str) -> None:
    assert ask(server, "/layers.pmtiles", Range=asked)[::2] == (200, TILES)


@pytest.mark.parametrize(("path", "size"), [("/layers.pmtiles", len(TILES)), ("/nothing", 0)])
def test_a_range_beyond_the_end_is_refused(server: LoopbackServer, path: str, size: int) -> None:
    status, headers, content = ask(server, path, Range=f"bytes={size}-")
    assert (status, headers["Content-Range"], content) == (416, f"bytes */{size}", b"")


def test_a_range_is_of_one_version(server: LoopbackServer) -> None:
    etag = ask(server, "/layers.pmtiles")[1]["ETag"]
    assert ask(server, "/layers.pmtiles", Range="bytes=0-1", If_Range=etag)[::2] == (206, TILES[:2])
    assert ask(server, "/layers.pmtiles", Range="bytes=0-1", If_Range='"other"')[::2] == (200, TILES)
    assert ask(server, "/layers.pmtiles", If_None_Match=f'"x", W/{etag}')[::2] == (304, b"")


def test_a_file_that_changes_gets_another_etag(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"one")
    resource = Resource(file, "text/plain")
    before = resource.etag()
    assert resource.etag() == before
    file.write_bytes(b"other")
    assert resource.etag() != before


@settings(max_examples=40)
@given(st.binary(max_size=12), st.integers(0, 15), st.integers(0, 15))
def test_a_range_is_the_slice(content: bytes, first: int, last: int) -> None:
    size = len(content)
    cut = byte_range(f"bytes={first}-{last}", size)
    if last < first:
        assert cut is None
    else:
        assert cut is not None
        assert bytes(content[i] for i in cut) == content[first : last + 1]
    tail = byte_range(f"bytes=-{last}", size)
    assert tail is not None
    assert bytes(content[i] for i in tail) == (content[-last:] if last else b"")
