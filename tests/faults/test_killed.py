"""Processes that die: the driver in every stage, workers at random, both by signals from outside."""

import math
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from harness import ALONE, WORKERS, Mapping, commits, content, kill, wait_for_commits, workers_of

from geoseg.io.run_folder import OF_FOLDER, RunFolder

pytestmark = pytest.mark.slow

STAGES = (
    "mosaic",
    "overviews",
    "cog",
    "objects",
    "seams",
    "outlines",
    "whole",
    "boxes",
    "overlaps",
    "splits",
    "features",
    "roads",
    "skeleton",
    "pieces",
    "network",
    "layers",
    "preview",
    "project",
    "page",
    "stac",
)
"""In their order: a run that is killed in one has done all before it."""

BY_WORKERS = ("mosaic", "objects", "outlines", "whole", "features", "skeleton", "pieces", "layers")
"""Of these the ones that are killed with workers at them, each of which starts Ray anew."""


def test_these_are_the_stages(undisturbed: Path) -> None:
    assert {folder.name for folder in (undisturbed / "ledger").iterdir()} == {*STAGES, OF_FOLDER}


def points(count: int) -> dict[int, str]:
    """After how many of a stage's commits the driver is killed: each number once."""
    return {count: "last", (count + 1) // 2: "middle", 1: "first"}


def killed_in_turn(
    mapping: Mapping, options: Sequence[str], undisturbed: Path, run: Path, stages: Sequence[str], when: str
) -> None:
    """One run, which is killed in each stage in turn and goes on to be killed in the next."""
    before: dict[str, dict[str, int]] = {}
    for stage in stages:
        count = len(commits(undisturbed, stage))
        chosen = [number for number, name in points(count).items() if name == when]
        if not chosen:
            continue
        (point,) = chosen
        process = mapping.start(run, *options)
        wait_for_commits(run, stage, point, process)
        ended = kill(process)
        after = {name: commits(run, name) for name in stages}
        assert len(after[stage]) >= min(point, count), ended
        # Workers that outlive their driver may still commit what they had; nothing beyond that is done twice.
        for name, markers in before.items():
            assert markers.items() <= after[name].items(), f"{name} was done again when killed in {stage}"
        before = after
    again = mapping.finish(run, *options)
    assert again.returncode == 0, again.stderr
    for name, markers in before.items():
        assert markers.items() <= commits(run, name).items(), f"{name} was done again"
    record = RunFolder(run).record()
    assert record is not None
    assert "mosaic" not in record["stages"] or record["stages"]["mosaic"]["units"] == 0
    assert content(run) == content(undisturbed)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("when", "options", "stages"),
    [
        ("first", ALONE, STAGES),
        ("middle", WORKERS, BY_WORKERS),
        ("middle", ALONE, [stage for stage in STAGES if stage not in BY_WORKERS]),
        ("last", ALONE, STAGES),
    ],
    ids=["first", "middle-by-workers", "middle", "last"],
)
def test_the_driver_is_killed_in_every_stage(
    mapping: Mapping, undisturbed: Path, tmp_path: Path, when: str, options: Sequence[str], stages: Sequence[str]
) -> None:
    killed_in_turn(mapping, options, undisturbed, tmp_path / "run", stages, when)


@pytest.mark.timeout(1500)
def test_the_driver_is_killed_while_objects_are_told_apart(
    panoptic_mapping: Mapping, undisturbed_panoptic: Path, tmp_path: Path
) -> None:
    stages = ("mosaic", "instances", "painted", "outlines")
    assert {folder.name for folder in (undisturbed_panoptic / "ledger").iterdir()} >= {*stages}
    killed_in_turn(panoptic_mapping, WORKERS, undisturbed_panoptic, tmp_path / "run", stages, "middle")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("stage", "options"), [("mosaic", WORKERS), ("objects", ALONE)])
def test_a_signal_stops_the_run_cleanly(
    mapping: Mapping, undisturbed: Path, tmp_path: Path, number: signal.Signals, stage: str, options: Sequence[str]
) -> None:
    run = tmp_path / "run"
    process = mapping.start(run, *options)
    wait_for_commits(run, stage, 2, process)
    # A terminal sends Ctrl-C to the whole group, kill and Kubernetes send SIGTERM to the process.
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    ended = process.end(timeout_s=60)
    said = ended.stderr
    assert ended.returncode == 130, ended
    assert said.splitlines()[-1].startswith("stopped: go on with: geoseg map ")
    assert f" -o {run} " in said.splitlines()[-1]
    record = RunFolder(run).record()
    assert record is not None
    assert record["status"] == "stopped"
    assert "Traceback" not in said
    assert "RuntimeWarning" not in said
    before = commits(run, "mosaic")
    assert mapping.finish(run, *options).returncode == 0
    assert before.items() <= commits(run, "mosaic").items()
    assert content(run) == content(undisturbed)


def units(run: Path) -> int:
    """How many markers of finished units there are."""
    return sum(1 for _ in (run / "ledger").rglob("*.json"))


@pytest.mark.timeout(900)
def test_a_random_worker_is_killed_every_six_seconds(mapping: Mapping, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    dice = random.Random(5)  # noqa: S311  # whom it hits is no secret
    killed = 0
    for _ in range(20):
        process = mapping.start(run, *WORKERS)
        last, done = -math.inf, units(run)
        while process.poll() is None:
            time.sleep(0.05)
            # Workers take seconds to load their libraries, and on some machines many: one is only killed when
            # something was done since the last time.
            if time.monotonic() - last > 6 and units(run) > done and (workers := workers_of(process)):
                os.kill(dice.choice(workers), signal.SIGKILL)
                last, done = time.monotonic(), units(run)
                killed += 1
        ended = process.end()
        if ended.returncode == 0:
            break
        assert ended.returncode in {1, 4}, ended.stderr
    assert killed > 0
    record = RunFolder(run).record()
    assert record is not None
    assert record["status"] == "complete"
    assert content(run) == content(undisturbed)


@pytest.mark.timeout(600)
def test_a_second_process_on_the_same_run_is_refused(mapping: Mapping, undisturbed: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = mapping.start(run, *ALONE)
    wait_for_commits(run, "mosaic", 1, first)
    second = mapping.finish(run, *ALONE)
    ended = first.end()
    assert second.returncode == 2
    assert "another process is working on" in second.stderr
    assert ended.returncode == 0, ended.stderr
    assert content(run) == content(undisturbed)


@pytest.mark.timeout(600)
def test_a_killed_driver_leaves_no_process(mapping: Mapping, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = mapping.start(run, *WORKERS)
    wait_for_commits(run, "mosaic", 1, process)
    workers = workers_of(process)
    assert workers
    kill(process)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.2)
    left = subprocess.run(["ps", "-o", "pid,stat,cmd"], check=True, capture_output=True, text=True).stdout
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers), left
