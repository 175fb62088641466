"""Where jobs may be sent, and who answers there."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

import pytest

from geoseg.cluster.dashboard import Dashboard, dashboard_at, refuse_others
from geoseg.errors import GeosegError, StoppedError

HERE = "http://127.0.0.1:8265"
AWAY = "http://10.0.0.1:8265"

Serve = Callable[[int, str], str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a token of local Rays, and nothing said of another one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("local\n")
    return tmp_path


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Servers on loopback that give one answer to everything, to those who show the token "right"."""
    with ExitStack() as stack:

        def start(status: int, body: str) -> str:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    shown = self.headers.get("Authorization")
                    self.send_response({None: 401, "Bearer right": status}.get(shown, 403))
                    self.send_header("Location", "http://127.0.0.1:1/")
                    self.end_headers()
                    self.wfile.write(body.encode())

                def log_message(self, *_words: object) -> None:
                    pass

            server = HTTPServer(("127.0.0.1", 0), Handler)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ray://10.0.0.1:10001", "Ray Client"),
        ("10.0.0.1:8265", "expected the address of a cluster's dashboard"),
        ("auto", "expected the address"),
        ("", "expected the address"),
        ("ftp://127.0.0.1", "expected the address"),
        ("http://127.0.0.1:8265/jobs", "expected the address"),
        ("http://127.0.0.1:port", "expected the address"),
        ("http://me:secret@127.0.0.1:8265", "with a user"),
        ("http://127.0.0.1:8265?token=secret", "with a user, query"),
    ],
)
def test_what_is_no_dashboard_is_refused(address: str, words: str) -> None:
    with pytest.raises(GeosegError, match=words) as refused:
        dashboard_at(address, insecure=True)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("address", [HERE, "http://localhost:1", "http://[::1]:8265/", "http://127.8.0.1:8265"])
def test_this_machine_gets_its_own_token(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dashboard_at(address, insecure=False) == Dashboard(address.rstrip("/"), "local")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert dashboard_at(address, insecure=False).headers == {}


@pytest.mark.parametrize("address", [AWAY, "http://head:8265", "http://127.0.0.1.example.org:8265"])
def test_nobody_else_is_sent_jobs_in_the_clear(address: str) -> None:
    with pytest.raises(GeosegError, match=r"^expected an https address, or a token .*--insecure$"):
        dashboard_at(address, insecure=False)
    assert dashboard_at(address, insecure=True).token is None
    # TLS protects what a proxy may ask for; this machine's token is none of its business.
    assert dashboard_at(address.replace("http:", "https:"), insecure=False).token is None


def test_a_token_that_is_named_opens_another_machine(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "token").write_text("of a file")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "token"))
    assert dashboard_at(AWAY, insecure=False).headers == {"Authorization": "Bearer of a file"}
    assert "unencrypted" in capsys.readouterr().err
    monkeypatch.setenv("RAY_AUTH_TOKEN", "said")
    made = dashboard_at(AWAY, insecure=False)
    assert made.headers == {"Authorization": "Bearer said"}
    assert "said" not in repr(made)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "nowhere"))
    with pytest.raises(GeosegError, match=r"expected a token in .*nowhere, .*there is none$"):
        dashboard_at(HERE, insecure=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert dashboard_at(AWAY, insecure=False).headers == {"Authorization": "Bearer local"}


def test_the_right_dashboard_is_taken(serve: Serve) -> None:
    refuse_others(Dashboard(serve(200, json.dumps({"ray_version": version("ray")})), "right"))


@pytest.mark.parametrize(
    ("token", "status", "body", "words"),
    [
        (None, 200, "{}", "wants a token, and there is none here"),
        ("wrong", 200, "{}", "wants a token, and the one here is another one"),
        (
            "right",
            200,
            '{"ray_version": "1.0.0"}',
            "expected Ray .*, as on this machine, got 1.0.0: install",
        ),
        ("right", 200, "<html>", "something else answers"),
        ("right", 200, "[]", "something else answers"),
        ("right", 404, "{}", "something else answers there .status 404."),
        ("right", 302, "", "something else answers there .status 302."),
    ],
)
def test_others_are_refused_in_a_line(serve: Serve, token: str | None, status: int, body: str, words: str) -> None:
    with pytest.raises(GeosegError, match=words) as refused:
        refuse_others(Dashboard(serve(status, body), token))
    assert not isinstance(refused.value, StoppedError)
    assert "\n" not in str(refused.value)


def test_silence_is_told_from_a_refusal() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(StoppedError, match=r"^no Ray dashboard answers at .*: start the cluster, or forward"):
            refuse_others(Dashboard(f"http://127.0.0.1:{taken.getsockname()[1]}", None))
