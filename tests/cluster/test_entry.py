"""Addresses of clusters, and the token that keeps strangers out of a Ray of our own."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from ray.exceptions import AuthenticationError

from geoseg.cluster.entry import keep_token_private, refusal, refuse_silence
from geoseg.errors import GeosegError, StoppedError


@pytest.fixture
def closed_port() -> Iterator[int]:
    """One that is taken, but at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_an_address_without_an_answer_is_refused_at_once(closed_port: int) -> None:
    with pytest.raises(StoppedError, match=rf"no Ray cluster answers at 127\.0\.0\.1:{closed_port}: start it"):
        refuse_silence(f"127.0.0.1:{closed_port}")
    with pytest.raises(StoppedError, match="no Ray cluster answers"):
        refuse_silence("127.0.0.1:99999")


@pytest.mark.parametrize(
    "address", ["", "here", "ray://10.0.0.1:10001", "10.0.0.1:", ":6379", "http://a:8265", "a:b"]
)
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(GeosegError, match="expected --address auto or HOST:PORT") as refused:
        refuse_silence(address)
    assert not isinstance(refused.value, StoppedError)
    assert ("as a job" in str(refused.value)) == address.startswith("ray://")


def test_an_address_that_answers_is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        refuse_silence(f"127.0.0.1:{listening.getsockname()[1]}")
    refuse_silence("auto")


def test_a_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    token = tmp_path / ".ray" / "auth_token"
    before = os.umask(0)
    try:
        keep_token_private(token.parent)
    finally:
        os.umask(before)
    made = token.read_text()
    assert len(made) >= 32
    token.chmod(0o644)
    keep_token_private(token.parent)
    assert token.read_text() == made
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert list(token.parent.iterdir()) == [token]


def test_what_ray_says_is_told_in_a_line() -> None:
    versions = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
    )
    told = refusal(versions, "10.0.0.1:6379")
    assert isinstance(told, GeosegError)
    assert "other versions than this machine: install the same (Version mismatch" in str(told)
    assert "\n" not in str(told)
    assert "wants a token" in str(refusal(AuthenticationError("none"), "10.0.0.1:6379"))
    assert isinstance(refusal(Exception("Timed out waiting"), None), StoppedError)
    assert refusal(RuntimeError("a bug"), None) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong" * 8}],
    ids=["none", "wrong"],
)
def test_who_has_not_the_token_is_refused(own_ray: None, environment: dict[str, str]) -> None:
    address = ray.get_runtime_context().gcs_address
    code = (
        "import sys\n"
        "from geoseg.cluster.session import ray_session\n"
        "from geoseg.errors import GeosegError\n"
        "try:\n"
        "    with ray_session(sys.argv[1], 1): print('in')\n"
        "except GeosegError as error: print(error)\n"
    )
    others = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    asked = subprocess.run(
        [sys.executable, "-c", code, address],
        env=others | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert asked.stdout.startswith(f"no Ray cluster lets this machine in at {address}"), asked
    assert asked.stdout.count("\n") == 1
