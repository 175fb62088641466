"""What opens doors (keys of a bucket, signatures in addresses, Ray's token) is written nowhere."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from bucket import bucket_server
from loopback import loopback_server
from pyarrow.fs import FileSelector, FileType

WriteRaster = Callable[..., Path]


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where Ray keeps its logs: with a short name, since sockets lie there, too."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_run_that_used_credentials_tells_of_none(
    write_raster: WriteRaster, tiny_model: Path, tmp_path: Path, ray_folder: Path
) -> None:
    """One scene of a private bucket, one behind a signed address, RUN in the bucket: all is searched."""
    rng = np.random.default_rng(1)
    near, far = (write_raster(rng.integers(0, 255, (3, 64, 64), np.uint8), tiled=True) for _ in range(2))
    key, signature, token = (secrets.token_hex(16) for _ in range(3))
    with bucket_server() as server, loopback_server() as web:
        with server.files().open_output_stream(f"{server.bucket}/near.tif") as stream:
            stream.write(near.read_bytes())
        run = f"s3://{server.bucket}/runs/1"
        signed = f"{web.put('/far.tif', far.read_bytes())}?X-Amz-Expires=60&X-Amz-Signature={signature}"
        environment = os.environ | {
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": key,
            "AWS_REGION": "us-east-1",
            "AWS_S3_ENDPOINT": server.address.removeprefix("http://"),
            "AWS_HTTPS": "NO",
            "AWS_VIRTUAL_HOSTING": "FALSE",
            "RAY_TMPDIR": str(ray_folder),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": token,
        }
        words = ["map", f"s3://{server.bucket}/near.tif", signed, "-o", run, "--model", tiny_model]
        words += ["--workers", "1", "--device", "cpu", "--tile-size", "64", "--simplify", "0", "--no-network"]
        done = subprocess.run(
            [sys.executable, "-m", "geoseg", *map(str, words), "--json"],
            env=environment,
            capture_output=True,
            check=False,
            timeout=250,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert any(signature in request.path for request in web.requests), "it was needed"
        refused = subprocess.run(
            [
                sys.executable,
                "-m",
                "geoseg",
                "map",
                f"https://me:{key}@example.org/a.tif?sig={signature}",
                "-o",
                "r",
            ],
            capture_output=True,
            check=False,
            cwd=tmp_path,
        )
        assert refused.returncode == 2
        kept = server.files().get_file_info(FileSelector(f"{server.bucket}/runs/1", recursive=True))
        objects = [one.path for one in kept if one.type == FileType.File]
        written = {path: server.files().open_input_stream(path).read() for path in objects}
    said = {"stdout": done.stdout, "stderr": done.stderr, "refused": refused.stderr + refused.stdout}
    assert b"near.tif" in said["stdout"]
    logs = [file for file in ray_folder.rglob("*") if file.is_file()]
    assert any(file.name.startswith("raylet") for file in logs)
    assert {"run.json", "plan.json", "zarr.json", "item.json", "report.html", "map.qgs", ".owner"} <= {
        path.rpartition("/")[2] for path in written
    }
    said |= {str(file): file.read_bytes() for file in logs} | written
    for secret in (key, signature, token):
        assert [name for name, content in said.items() if secret.encode() in content] == []
