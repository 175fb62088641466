"""Workers that die, hang, come back late or lie on nodes that vanish; and inputs that change meanwhile."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import deadly
import pytest
from deadly import Deadly
from harness import WORKERS, Mapping, commits, content, wait_for_commits
from ray import cloudpickle
from ray.cluster_utils import Cluster

from geoseg.cluster.runner import RayRunner
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import SceneOptions
from geoseg.layering import LayerOptions
from geoseg.layout import TileOptions
from geoseg.mapping import InputOptions, Resources, make_plan
from geoseg.pipeline import map_scene
from geoseg.plan import RunPlan
from geoseg.runner import ItemT, Job, LocalRunner, Report, Unit
from geoseg.verify import verify_run
from geoseg.work.predict import PredictBlocks

# Workers cannot import what lies beside tests.
cloudpickle.register_pickle_by_value(deadly)  # type: ignore[no-untyped-call]  # Ray's

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def plan(mapping: Mapping) -> RunPlan:
    """What the command would plan."""
    return make_plan(
        InputOptions((str(mapping.scene),)),
        mapping.model,
        SceneOptions(),
        TileOptions(block_px=(512, 512)),
        LayerOptions(60, 1),
        Resources(workers=2),
        probability=False,
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[RayRunner]:
    """Two workers for the tests that need no process of their own."""
    with RayRunner(2, 1, gpu=False) as started:
        yield started


def test_a_worker_dies_in_the_middle_of_blocks(
    runner: RayRunner, plan: RunPlan, undisturbed: Path, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    deadly = Deadly(runner, deaths, ["00001-00002", "00002-00001"], 1)
    outcome = map_scene(plan, RunFolder(tmp_path / "run"), deadly, [])
    assert len(list(deaths.iterdir())) == 2
    assert outcome.status == "complete"
    assert content(tmp_path / "run") == content(undisturbed)


def test_a_block_that_always_kills_its_worker_is_named_and_a_later_run_does_just_that(
    runner: RayRunner, plan: RunPlan, undisturbed: Path, tmp_path: Path
) -> None:
    deaths, run = tmp_path / "deaths", RunFolder(tmp_path / "run")
    deaths.mkdir()
    outcome = map_scene(plan, run, Deadly(runner, deaths, ["00001-00002"], 1000), [])
    assert outcome.status == "incomplete"
    assert set(outcome.quarantined) == {"00001-00002"}
    assert "died" in outcome.quarantined["00001-00002"]
    # The rest is there, and what is published says that it is not all.
    assert set(commits(run.path, "mosaic")) == set(commits(undisturbed, "mosaic")) - {"00001-00002"}
    record = run.record()
    assert record is not None
    assert record["status"] == "incomplete"
    for layer in (run.path / "layers").glob("*.geojson"):
        assert json.loads(layer.read_text())["geoseg"]["status"] == "incomplete"
    before = commits(run.path, "mosaic")
    again = Deadly(runner, deaths, [], 0)
    assert map_scene(plan, run, again, []).status == "complete"
    assert set(again.units) == {"00001-00002"}
    assert before.items() <= commits(run.path, "mosaic").items()
    assert content(run.path) == content(undisturbed)


def test_a_zombie_that_writes_late_changes_nothing(plan: RunPlan, undisturbed: Path, tmp_path: Path) -> None:
    """Another process may still do a block that was given up and done elsewhere, and all after it."""
    run = RunFolder(shutil.copytree(undisturbed, tmp_path / "run"))
    job = PredictBlocks(
        run=run,
        region=plan.region,
        model_path=plan.model_path,
        model_identity=plan.model_identity,
        blocks=plan.blocks,
        probability=plan.probability,
        numerics=plan.numerics,
    )
    before = commits(run.path, "mosaic")
    work = job.open()
    late = [plan.blocks.block(1, 2), plan.blocks.block(0, 3)]
    for block in late:
        work(block)
    after = commits(run.path, "mosaic")
    assert {key for key in after if after[key] != before[key]} == {block.key for block in late}
    assert content(run.path) == content(undisturbed)
    assert verify_run(run.path).differences == ()
    # And the run still has nothing to do.
    assert map_scene(plan, run, _Idle(), []).status == "complete"


class _Idle(LocalRunner):
    """Must not be asked for anything."""

    def run(self, job: Job[ItemT], units: Sequence[Unit[ItemT]]) -> Iterator[Report]:
        raise AssertionError(job, units)


def test_machines_come_late_and_go_early(mapping: Mapping, undisturbed: Path, tmp_path: Path) -> None:
    # The head has no room for workers, as of a cluster that is to grow.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        run = tmp_path / "run"
        process = mapping.start(run, *WORKERS, "--address", cluster.address)
        while process.poll() is None and not RunFolder(run).plan_file.exists():
            time.sleep(0.05)
        node = cluster.add_node(num_cpus=1)
        cluster.add_node(num_cpus=1)
        wait_for_commits(run, "mosaic", 4, process)
        cluster.remove_node(node, allow_graceful=False)
        ended = process.end()
        assert ended.returncode == 0, ended.stderr
        assert content(run) == content(undisturbed)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


def test_remote_calls_of_ray_fail(mapping: Mapping, undisturbed: Path, tmp_path: Path) -> None:
    chance = {"num_failures": 40, "req_failure_prob": 15, "resp_failure_prob": 15, "in_flight_failure_prob": 0}
    environment = {
        "RAY_testing_rpc_failure": json.dumps({"CoreWorkerService.grpc_client.PushTask": chance}),
        "RAY_testing_rpc_failure_avoid_intra_node_failures": "0",
    }
    disturbed = Mapping(mapping.scene, mapping.model, mapping.options, environment)
    run = tmp_path / "run"
    for _ in range(5):
        finished = disturbed.finish(run, *WORKERS)
        if finished.returncode == 0:
            break
        assert finished.returncode in {1, 4}, finished.stderr
    assert content(run) == content(undisturbed)


def test_an_input_that_changes_stops_the_run(mapping: Mapping, tmp_path: Path) -> None:
    scene = tmp_path / "scene.tif"
    shutil.copy(mapping.scene, scene)
    moved = Mapping(scene, mapping.model, mapping.options)
    run = tmp_path / "run"
    process = moved.start(run, *WORKERS)
    wait_for_commits(run, "mosaic", 2, process)
    later = scene.stat().st_mtime_ns + 10**9
    os.utime(scene, ns=(later, later))
    ended = process.end()
    assert ended.returncode == 1
    assert "changed" in ended.stderr.splitlines()[-1]
    assert str(scene) in ended.stderr.splitlines()[-1]
    record = RunFolder(run).record()
    assert record is not None
    assert record["status"] == "stopped"
    assert not (run / "layers").exists()
    # Another scene under the same name is another run.
    with scene.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"other")
    refused = moved.finish(run, *WORKERS)
    assert refused.returncode == 2
    assert "fingerprint was" in refused.stderr


def test_a_full_disk_is_resumed_on_ray_too(mapping: Mapping, undisturbed: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "geoseg-test", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        stopped = mapping.finish(disk / "run", *WORKERS)
        assert stopped.returncode == 4, stopped.stderr
        assert "make room" in stopped.stderr
        subprocess.run(["mount", "-o", "remount,size=400m", str(disk)], check=True)
        finished = mapping.finish(disk / "run", *WORKERS)
        assert finished.returncode == 0, finished.stderr
        assert content(disk / "run") == content(undisturbed)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
