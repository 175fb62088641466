"""Where S3 is, and whose keys are used: those that AWS's own tools would use."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from geoseg.errors import StoppedError
from geoseg.io.aws import s3_endpoint
from geoseg.io.bucket import BucketPath
from geoseg.io.stores import open_store


@pytest.mark.parametrize(
    ("said", "endpoint"),
    [
        ({}, None),
        ({"AWS_ENDPOINT_URL": ""}, None),
        ({"AWS_ENDPOINT_URL": "http://a:1"}, "http://a:1"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_ENDPOINT_URL_S3": "https://b"}, "https://b"),
        ({"AWS_ENDPOINT_URL": "http://a:1", "AWS_S3_ENDPOINT": "b"}, "http://a:1"),
        ({"AWS_S3_ENDPOINT": "minio.example.org:9000"}, "https://minio.example.org:9000"),
        ({"AWS_S3_ENDPOINT": "127.0.0.1:9000", "AWS_HTTPS": "NO"}, "http://127.0.0.1:9000"),
        ({"AWS_S3_ENDPOINT": "127.0.0.1:9000", "AWS_HTTPS": "YES"}, "https://127.0.0.1:9000"),
        ({"AWS_S3_ENDPOINT": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000"),
    ],
)
def test_endpoints_are_named_as_the_cloud_or_gdal_does(said: dict[str, str], endpoint: str | None) -> None:
    assert s3_endpoint(said) == endpoint


class _Listener(BaseHTTPRequestHandler):
    """Has nothing, and remembers whose key asked, and of which region."""

    server: "_Server"

    def do_HEAD(self) -> None:
        # AWS4-HMAC-SHA256 Credential=KEY/DAY/REGION/s3/aws4_request, ...
        key, _, region, *_ = self.headers["Authorization"].partition("Credential=")[2].split("/")
        self.server.asked.append((key, region))
        self.send_response(404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name it has there
        """Nothing."""


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Listener)
        self.asked: list[tuple[str, str]] = []


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[_Server]:
    """A store that is named by the environment, which has no keys; the files of profiles lie in `tmp_path`."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    server = _Server()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    open_store.cache_clear()
    serving = threading.Thread(target=server.serve_forever, daemon=True)
    serving.start()
    yield server
    server.shutdown()
    server.server_close()
    serving.join()
    open_store.cache_clear()


KEYS = """
[default]
aws_access_key_id = OFDEFAULT
aws_secret_access_key = secret

[work]
aws_access_key_id = OFWORK
aws_secret_access_key = secret
"""

REGIONS = """
[profile work]
region = eu-north-1

[profile tool]
credential_process = echo '{"Version": 1, "AccessKeyId": "OFTOOL", "SecretAccessKey": "secret"}'
"""


@pytest.mark.parametrize(
    ("said", "asks"),
    [
        ({}, ("OFDEFAULT", "us-east-1")),
        ({"AWS_PROFILE": "work"}, ("OFWORK", "eu-north-1")),
        ({"AWS_PROFILE": "work", "AWS_REGION": "us-west-2"}, ("OFWORK", "us-west-2")),
        ({"AWS_PROFILE": "tool"}, ("OFTOOL", "us-east-1")),
        ({"AWS_ACCESS_KEY_ID": "OWN", "AWS_SECRET_ACCESS_KEY": "own"}, ("OWN", "us-east-1")),
        ({"AWS_PROFILE": "work", "AWS_ACCESS_KEY_ID": "OWN", "AWS_SECRET_ACCESS_KEY": "own"}, ("OWN", "us-east-1")),
    ],
    ids=["default", "profile", "region", "process", "environment", "both"],
)
def test_keys_are_those_of_the_profile_unless_the_environment_has_some(
    s3: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, str], asks: tuple[str, str]
) -> None:
    (tmp_path / "credentials").write_text(KEYS)
    (tmp_path / "config").write_text(REGIONS)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert not BucketPath("s3", "bucket", "a").is_file()
    assert s3.asked == [asks]


def test_a_profile_that_is_not_there_is_named(s3: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(KEYS)
    monkeypatch.setenv("AWS_PROFILE", "wrok")
    with pytest.raises(StoppedError, match=r"profile cannot be had: .*wrok.* check AWS_PROFILE and ~/\.aws"):
        BucketPath("s3", "bucket", "a").is_file()
    assert s3.asked == []
