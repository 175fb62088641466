"""Jobs that are submitted, on a cluster that was started for them."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import geopandas
import grpc
import pytest
import requests
import shapely
import yaml
from bucket import BucketServer, reached
from head import Head, ray_head
from hypothesis import given
from hypothesis import strategies as st
from ray.job_submission import JobDetails, JobSubmissionClient
from training_command import below

from geoseg import cli
from geoseg.cluster.submission import _Tail, attempt_of, exit_code
from geoseg.commands.submit import follow
from geoseg.errors import GeosegError, StoppedError
from geoseg.io.bucket import BucketPath
from geoseg.io.fence import CLAIM
from geoseg.io.place import Place, file_sha256, name_within

Command = Callable[..., int]


@pytest.fixture(scope="module")
def head(bucket: BucketServer) -> Iterator[Head]:
    """Its nodes know the keys of a bucket; the jobs that are sent to it need not."""
    with reached(bucket), ray_head(cpus=2) as started:
        yield started


@pytest.fixture
def run(head: Head, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A command of this process that talks to the cluster; gives its exit code."""
    for name, value in head.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", head.dashboard)

    def command(*words: object) -> int:
        monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return int(left.value.code or 0)

    return command


def content(run_folder: Place) -> dict[str, str]:
    """sha256 of every file of the mosaic, of the layers, and of the class raster."""
    files: list[Place] = [run_folder / "classes.tif"]
    for name in ("mosaic.zarr", "layers"):
        files += [file for file in (run_folder / name).rglob("*") if file.is_file()]
    return {name_within(file, run_folder): file_sha256(file) for file in files}


def driver_of(run_folder: BucketPath) -> int:
    """The process of the job that writes a run: it holds the claim."""
    pid = int(json.loads((run_folder / CLAIM).read_bytes())["pid"])
    assert b"--submitted-by" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return pid


@pytest.mark.slow
def test_a_job_survives_its_driver_and_gives_the_bytes_of_a_local_run(
    run: Command,
    patchwork_scene: Path,
    tiny_model: Path,
    bucket: BucketServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Submit, find it running, kill its driver, submit again, finish; then look at the jobs, and cancel one.

    RUN lies in a bucket, whose keys only the cluster's nodes need.
    """
    out, local, config = bucket.folder("submitted/run"), tmp_path / "local", tmp_path / "map.yaml"
    values: dict[str, Any] = {
        "kind": "map",
        "scenes": [str(patchwork_scene)],
        "output": str(out),
        "model": str(tiny_model),
    }
    values |= {"device": "cpu", "precision": "fp32", "workers": 1, "tile_size": 64, "tile_overlap": 16}
    values |= {"block_size": 512, "simplify": 0, "network": False, "format": ["geojson"]}
    area = shapely.box(320050, 2769500, 320560, 2769960)
    geopandas.GeoSeries([area], crs="EPSG:32640").to_file(tmp_path / "area.gpkg")
    values |= {"aoi": "area.gpkg"}  # beside the configuration, and uploaded with it
    config.write_text(yaml.safe_dump(values))

    assert run("submit", config, "--detach") == 0
    first = capsys.readouterr().err.split()[1]
    while not list((out / "ledger" / "mosaic").glob("*.json")):
        time.sleep(0.001)
    driver = driver_of(out)
    os.kill(driver, signal.SIGSTOP)
    assert run("submit", config, "--detach") == 0
    assert f"{first} at" in (said := capsys.readouterr().err)
    assert "is running already" in said
    os.kill(driver, signal.SIGKILL)
    assert run("jobs", "logs", first, "--follow") == 4
    assert f"the process of job {first} was killed" in capsys.readouterr().err
    assert json.loads((out / "run.json").read_text())["status"] == "running"

    assert run("submit", config) == 0
    said = capsys.readouterr().err
    second = said.split()[1]
    assert (first[:-2], first[-2:], second[-2:]) == (second[:-2], "-1", "-2")
    stages = [json.loads(line)["stage"] for line in said.splitlines() if line.startswith('{"event": "end"')]
    assert {"objects", "page"} <= set(stages)
    assert json.loads((out / "run.json").read_text())["status"] == "complete"

    changed = {**values, "output": str(local), "local": True}
    config.write_text(yaml.safe_dump(changed))
    assert run("map", "--config", config) == 0
    assert content(out) == content(local)
    capsys.readouterr()

    config.write_text(yaml.safe_dump({**values, "output": str(tmp_path / "other")}))
    assert run("submit", config, "--detach") == 0
    third = capsys.readouterr().err.split()[1]
    assert run("jobs", "cancel", third) == 0
    capsys.readouterr()
    assert run("jobs", "list", "--json") == 0
    jobs = {job["job"]: job for job in json.loads(capsys.readouterr().out)}
    assert {name: job["status"] for name, job in jobs.items()} == {
        first: "FAILED",
        second: "SUCCEEDED",
        third: "STOPPED",
    }
    assert (jobs[second]["kind"], jobs[second]["output"], jobs[second]["exit_code"]) == ("map", str(out), 0)
    assert run("jobs", "status", third) == 0
    assert "STOPPED" in capsys.readouterr().out
    assert run("jobs", "logs", "nobody-1") == 2
    assert "no job is named nobody-1" in capsys.readouterr().err


CALLS = (
    "NodeInfoGcsService/GetAllNodeInfo",
    "NodeManagerService/GetNodeStats",
    "ObjectManagerService/Pull",
    "CoreWorkerService/GetCoreWorkerStats",
    "ReporterService/GetTraceback",
    "RayletDriver/ClusterInfo",
)
"""A call of each kind of port that Ray opens: its directory, raylets, their stores, workers, agents, Ray Client."""

NO_ANSWER = {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
"""Of a port of another kind."""


def ports_below(above: int) -> set[int]:
    """The TCP ports at which a process and those that it started listen."""
    open_files: set[str] = set()
    for pid in (above, *below(above)):
        with suppress(OSError):  # it ended while it was looked at
            open_files |= {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()}
    tables = [Path(f"/proc/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
    lines = [line.split() for table in tables for line in table.splitlines()]
    listening = [line for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in open_files]
    return {int(line[1].rpartition(":")[2], 16) for line in listening}


def called(port: int, call: str, token: str | None) -> grpc.StatusCode:
    """How a port answers a call that shows a token, or none."""
    shown = [] if token is None else [("authorization", f"Bearer {token}")]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{call}")(b"", metadata=shown, timeout=3)
        except grpc.RpcError as error:
            status = error.code()
            assert isinstance(status, grpc.StatusCode)
            return status
    return grpc.StatusCode.OK


@pytest.mark.slow
def test_no_port_of_ray_answers_who_has_not_the_token(head: Head) -> None:
    client = JobSubmissionClient(head.dashboard, headers={"Authorization": f"Bearer {head.token}"})
    name = client.submit_job(entrypoint="sleep 300")  # so that there is a worker
    while str(client.get_job_status(name)) != "RUNNING":
        time.sleep(0.1)
    known, metrics, refused = set(), [], 0
    for port in ports_below(head.process):
        for call in CALLS:
            # A port of another kind knows the call as little with the token as without.
            if called(port, call, head.token) in NO_ANSWER:
                continue
            known.add(call)
            assert called(port, call, None) is grpc.StatusCode.UNAUTHENTICATED, (port, call)
            assert called(port, call, "0" * 64) is grpc.StatusCode.UNAUTHENTICATED, (port, call)
        with suppress(requests.exceptions.RequestException):
            answer = requests.get(f"http://127.0.0.1:{port}/api/jobs/", timeout=3)
            metrics += [port] * answer.text.startswith("# HELP")
            refused += answer.status_code == 401
            assert answer.status_code == 401 or port in metrics, (port, answer.text[:200])
    assert known == set(CALLS)
    assert refused >= 2, "the dashboard and an agent"
    client.stop_job(name)
    # Numbers for Prometheus, which has no token to show.
    assert metrics


def job(**said: object) -> JobDetails:
    return JobDetails(type="SUBMISSION", entrypoint="geoseg", submission_id="a-1", **said)


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        ("SUCCEEDED", 0, "", 0),
        ("FAILED", 1, "", 1),
        ("FAILED", 2, "", 2),
        ("FAILED", 70, "", 70),
        ("FAILED", 130, "", 130),
        ("FAILED", -9, "", StoppedError),
        ("FAILED", 137, "Killed", StoppedError),
        ("FAILED", None, "its node died\n", StoppedError),
        ("STOPPED", None, "", StoppedError),
        ("FAILED", 1, "tail:\n/usr/bin/python: No module named geoseg", GeosegError),
        ("FAILED", 127, "sh: 1: python: not found", GeosegError),
    ],
)
def test_the_exit_code_is_the_jobs(
    status: str, code: int | None, message: str, expected: int | type[GeosegError]
) -> None:
    ended = job(status=status, driver_exit_code=code, message=message)
    if isinstance(expected, int):
        assert exit_code(ended) == expected
        return
    with pytest.raises(expected, match=r"^(the cluster has no geoseg|.*job a-1).*: (install|submit)") as refused:
        exit_code(ended)
    assert type(refused.value) is expected
    assert "\n" not in str(refused.value)


def test_a_name_counts_the_attempts_at_the_same() -> None:
    assert attempt_of("0123456789abcdef-12", "0123456789abcdef") == 12
    assert attempt_of("0123456789abcdef-x", "0123456789abcdef") is None
    assert attempt_of("1123456789abcdef-1", "0123456789abcdef") is None
    assert attempt_of(None, "0123456789abcdef") is None


class Log:
    """A cluster whose line breaks: each reading begins at the beginning, and gives a few more letters."""

    def __init__(self, text: str, cuts: list[int]) -> None:
        self._text = text
        self._cuts = iter(cuts)

    async def tail_job_logs(self, _name: str) -> AsyncIterator[str]:
        text = self._text[: next(self._cuts)]
        middle = len(text) // 2
        for part in (text[:middle], text[middle:]):
            yield part


@given(st.text("ab\n", max_size=30), st.lists(st.integers(0, 30), max_size=4))
def test_each_line_is_shown_once_however_often_the_line_breaks(text: str, cuts: list[int]) -> None:
    lines: list[str] = []
    log: Any = Log(text, cuts)
    tail = _Tail(lines.append)
    for _ in cuts:
        asyncio.run(tail.read(log, "a-1"))
    tail.end(text)
    assert lines == text.split("\n")[: None if text.rsplit("\n", maxsplit=1)[-1] else -1]


def test_ctrl_c_leaves_the_job_running(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_name: str, _show: object) -> JobDetails:
        raise KeyboardInterrupt

    jobs: Any = SimpleNamespace(follow=interrupted)
    assert follow(jobs, "a-1", "http://127.0.0.1:8265") == 130
    said = capsys.readouterr().err
    assert said.startswith("the job goes on; ")
    assert "geoseg jobs logs --follow a-1 --address http://127.0.0.1:8265" in said
    assert "geoseg jobs cancel a-1 --address http://127.0.0.1:8265" in said
