"""Nodes are looked at before the first unit, and when they come; one that cannot do the work is named."""

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from geoseg.cluster.runner import RayRunner
from geoseg.errors import ModelError, StoppedError
from geoseg.runner import Unit


@dataclass(frozen=True)
class Opens:
    """Says where and when it was opened, later on all nodes but one; that one may be the only one that can.

    Attributes:
        folder: For what it says.
        quick: The node.
        picky: Whether others cannot open it.
        late_s: How much later the others open it.
    """

    folder: Path
    quick: str
    picky: bool = False
    late_s: float = 0.0

    def open(self) -> Callable[[int], dict[str, Any]]:
        node = ray.get_runtime_context().get_node_id()
        if node != self.quick:
            if self.picky:
                raise ModelError("there is no model at /mnt/model")
            time.sleep(self.late_s)
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"opened-{os.getpid()}").touch()

        def work(number: int) -> dict[str, Any]:
            (self.folder / f"unit-{number}").touch()
            time.sleep(0.05)
            return {"node": node}

        return work


@dataclass(frozen=True)
class Deadly:
    def open(self) -> Callable[[int], dict[str, Any]]:
        os._exit(1)


def units(count: int) -> list[Unit[int]]:
    return [Unit(f"unit-{number}", number) for number in range(count)]


def look_at_nodes(folder: Path) -> dict[str, Any]:
    """What becomes of jobs on a cluster of one node, to which another one comes; on stderr, what is said of it."""
    arguments = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, connect=True, head_node_args=arguments)
    try:
        (head,) = (node["NodeID"] for node in ray.nodes())  # type: ignore[no-untyped-call]  # Ray's own
        said = io.StringIO()
        with RayRunner(2, 1, gpu=False) as runner, redirect_stderr(said):
            reports = runner.run(Opens(folder, head, picky=True), units(5000))
            nodes = {next(reports).result["node"]}
            later = cluster.add_node(num_cpus=1)
            while "without this worker" not in said.getvalue():
                nodes.add(next(reports).result["node"])
            nodes.update(next(reports).result["node"] for _ in range(100))
            reports.close()
        refused = ""
        with RayRunner(2, 1, gpu=False) as runner:
            try:
                list(runner.run(Opens(folder / "nothing", head, picky=True), units(4)))
            except ModelError as error:
                refused = str(error)
        slow = folder / "slow"
        with RayRunner(2, 1, gpu=False) as runner:
            both = {report.result["node"] for report in runner.run(Opens(slow, head, late_s=1.5), units(40))}
        return {
            "said": said.getvalue(),
            "left out": nodes == {head},
            "refused": refused,
            "both": both == {head, later.node_id},
            "opened_ns": max(file.stat().st_mtime_ns for file in slow.glob("opened-*")),
            "begun_ns": min(file.stat().st_mtime_ns for file in slow.glob("unit-*")),
        }
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's own


@pytest.mark.slow
def test_no_unit_is_done_before_each_node_can_and_later_ones_are_left_out(tmp_path: Path) -> None:
    words = [sys.executable, __file__, str(tmp_path)]  # apart from the Ray of other tests
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["left out"]
    assert seen["said"].count("without this worker") == 1
    assert "there is no model at /mnt/model; the run goes on without this worker" in seen["said"]
    assert re.match(r"node .+: there is no model at /mnt/model$", seen["refused"])
    assert seen["both"]
    assert seen["opened_ns"] <= seen["begun_ns"]


def test_work_that_kills_whoever_opens_it_is_not_tried_forever(own_ray: None) -> None:
    with (
        RayRunner(1, 1, gpu=False) as runner,
        pytest.raises(StoppedError, match=r"^worker processes died 3 times while they opened their work"),
    ):
        list(runner.run(Deadly(), units(2)))


if __name__ == "__main__":
    print(json.dumps(look_at_nodes(Path(sys.argv[1]))))  # noqa: T201  # to the test
