"""A training on Ray: what two workers do, alone, killed, and with the driver killed; and what is refused before."""

import csv
import json
import os
import re
import shlex
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import world
import yaml
from affine import Affine
from bucket import bucket_server
from training_command import CHECKPOINTS_EVERY, Command, trainees

from geoseg.cluster.board import Board, News
from geoseg.cluster.facts import (
    check_storage,
    files_of,
    refuse_data,
    refuse_software,
    refuse_storage,
    software,
    stamps,
    try_storage,
)
from geoseg.cluster.places import places
from geoseg.cluster.trainee import Task
from geoseg.cluster.workers import RayWorkers
from geoseg.config.options import TrainOptions, WorkerOptions
from geoseg.datasets.label_files import RasterFile, VectorFile, VectorFiles
from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.io.gdal_environment import gdal_environment
from geoseg.models.package import load_package
from geoseg.packing import Trained
from geoseg.train.checkpoint import Identity
from geoseg.train.claim import Claim
from geoseg.train.scenes import Source
from geoseg.train.steps import Step
from geoseg.training import train_package


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two small scenes with labels, and a configuration of a short training."""
    root = tmp_path_factory.mktemp("labelled")
    for number, split in enumerate(("train", "val")):
        image_chw, ids_hw = world.world(number, 128, 192)
        transform = Affine(1, 0, 320000 + 2000 * number, 0, -1, 2770000)
        world.write(root / f"{split}.tif", image_chw, "EPSG:32640", transform)
        world.write(root / f"{split}_label.tif", ids_hw[None] + np.uint8(1), "EPSG:32640", transform, nodata=0)
    names = ("building", "road", "vegetation", "water", "other")
    config = {
        "kind": "train",
        "name": "workers",
        "description": "a made-up world",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet", "width": 0.0625},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [{"name": name, "layer": None, "kind": "stuff", "color": "#000000"} for name in names],
        "label_values": {number + 1: name for number, name in enumerate(names)},
        "data": [
            {"image": f"{split}.tif", "labels": f"{split}_label.tif", "split": split} for split in ("train", "val")
        ],
        "training": {"crop_px": 64, "batch": 2, "iterations": 4, "validate_every": 2, "lr": 0.01, "ema": 0.9},
    }
    (root / "short.yaml").write_text(yaml.safe_dump(config))
    training = {"iterations": 18, "validate_every": 6, "checkpoint_every": CHECKPOINTS_EVERY}
    longer = {**config, "training": {**config["training"], **training}}  # type: ignore[dict-item]  # a section
    (root / "long.yaml").write_text(yaml.safe_dump(longer))
    return root


def train(data: Path, model: Path, config: str, workers: WorkerOptions) -> Trained | None:
    return train_package(
        data / config,
        model,
        data,
        options=TrainOptions(),
        skip_bad=False,
        device="cpu",
        threads=1,
        workers=workers,
    )


def test_drivers_to_skip_and_threads_reach_the_workers(tmp_path: Path) -> None:
    workers = RayWorkers(WorkerOptions(2), "cpu", 3, tmp_path)
    task = Task("", "", (), {}, "cpu", 3, str(tmp_path), "run", ("", ""), {}, {})
    config: Any = workers._trainer(task, None).run_config
    said = config.worker_runtime_env["env_vars"]
    assert said["GDAL_SKIP"] == gdal_environment()["GDAL_SKIP"]
    assert (said["OMP_NUM_THREADS"], said["MKL_NUM_THREADS"]) == ("3", "3")


@pytest.mark.slow
def test_two_workers_write_a_model(own_ray: None, data: Path, tmp_path: Path) -> None:
    storage = WorkerOptions(2, storage=str(tmp_path / "kept"))
    trained = train(data, tmp_path / "model", "short.yaml", storage)
    assert trained is not None
    assert (trained.iterations, trained.planned) == (4, 4)
    card = load_package(tmp_path / "model").card
    recipe = card.training["recipe"]
    assert isinstance(recipe, dict)
    assert recipe["workers"] == 2
    folder = tmp_path / "model.training"
    rows = list(csv.DictReader((folder / "log.csv").open(newline="")))
    assert [row["iteration"] for row in rows] == ["2", "4"]
    (run,) = (tmp_path / "kept").iterdir()
    assert not list(folder.glob("geoseg-*"))
    # The newest checkpoint holds all that is needed to go on, and no more are kept than two.
    kept = sorted(path for path in run.glob("checkpoint_*") if path.is_dir())
    assert 1 <= len(kept) <= 2
    assert {path.name for path in kept[-1].iterdir()} == {"best.pt", "last.pt", "log.csv"}
    assert train(data, tmp_path / "model", "short.yaml", storage) is None
    with pytest.raises(ConfigError, match=r"expected --storage .*kept, with which the run .* was begun, got none"):
        train(data, tmp_path / "model", "short.yaml", WorkerOptions(2))


@pytest.fixture(scope="module")
def undisturbed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The weights of a run that nothing happened to."""
    command = Command(data, tmp_path_factory.mktemp("undisturbed") / "model")
    code, said = command.finish()
    assert code == 0, said
    return command.sha256()


@pytest.mark.slow
def test_a_killed_worker_costs_time_alone_wherever_checkpoints_lie(
    data: Path, tmp_path: Path, undisturbed: str
) -> None:
    with bucket_server() as server:
        command = Command(data, tmp_path / "model", storage=f"s3://{server.bucket}/kept", server=server)
        process = command.start()
        command.wait(process, 2)
        found = trainees(process)
        assert len(found) == 2
        os.kill(min(found), signal.SIGKILL)
        _, said = process.communicate(timeout=240)
        assert process.returncode == 0, said
        assert "workers died; they go on from iteration " in said
        assert command.sha256() == undisturbed
        assert not list(tmp_path.glob("model.training/geoseg-*"))

        nowhere = replace(command, model=tmp_path / "other", storage="s3://geoseg-test-no-such-bucket/kept")
        code, said = nowhere.finish()
        assert code == 2
        assert re.search(r"^error: --storage s3://geoseg-test-no-such-bucket/kept cannot be written \(.*\n\Z", said)


@pytest.mark.slow
def test_after_a_signal_and_after_a_killed_driver_the_command_goes_on(
    data: Path, tmp_path: Path, undisturbed: str
) -> None:
    command = Command(data, tmp_path / "model")
    process = command.start()
    command.wait(process, 1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == f"stopped: go on with: geoseg {shlex.join(command.words)}"

    process = command.start()
    command.wait(process, 3)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert not (tmp_path / "model").exists()

    code, said = command.finish()
    assert code == 0, said
    steps = [json.loads(line) for line in said.splitlines() if '"train"' in line]
    assert steps[0]["iteration"] > 2 * CHECKPOINTS_EVERY
    assert command.sha256() == undisturbed


@pytest.mark.slow
def test_what_no_start_mends_is_said_once(own_ray: None, data: Path, tmp_path: Path) -> None:
    config = yaml.safe_load((data / "short.yaml").read_text())
    config["training"] |= {"lr": 1e30, "optimizer": "sgd"}
    (data / "hot.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(GeosegError, match=r"expected a finite loss, got .* it has diverged") as stopped:
        train(data, tmp_path / "model", "hot.yaml", WorkerOptions(2))
    assert "\n" not in str(stopped.value)
    assert not (tmp_path / "model").exists()


def test_other_software_is_refused_by_name() -> None:
    own = software()
    assert {"Python", "geoseg", "torch", "numpy", "rasterio", "GDAL", "ray"} == set(own)
    refuse_software(own, own)
    others = {**own, "torch": "1.0", "numpy": "1.0"}
    words = rf"expected torch {re.escape(own['torch'])}, .*got 1\.0 \(and 1 other package\)"
    with pytest.raises(ConfigError, match=words):
        refuse_software(own, others)
    with pytest.raises(ConfigError, match=r"expected ray .* got none"):
        refuse_software(own, {name: one for name, one in own.items() if name != "ray"})


def test_other_data_are_refused_by_name(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("image.tif", "one.tif", "two.gpkg", "three.gpkg", "four.tif")]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(100 + number))
    image, one, two, three, four = map(str, paths)
    remote = "https://example.org/image.tif"
    sources = [
        Source("a", image, RasterFile(one), "train", None),
        Source("b", remote, VectorFiles((VectorFile(two), VectorFile(three))), "train", None),
        Source("c", image, one, "val", None, instances=four),
    ]
    assert files_of(sources) == (image, one, two, three, four)
    there = stamps(files_of(sources))
    refuse_data(there, stamps(there))
    paths[1].write_bytes(b"x" + bytes(100))
    paths[2].unlink()
    words = r"expected the file .*one\.tif \(101 bytes, head \w{12}\), got another one \(101 .*\(and 1 other file\)"
    with pytest.raises(ConfigError, match=words):
        refuse_data(there, stamps(there))
    paths[1].write_bytes(bytes(101))
    with pytest.raises(ConfigError, match=r"two\.gpkg .*there is none: copy or mount"):
        refuse_data(there, stamps(there))


def test_a_storage_that_cannot_be_written_or_is_another_is_refused(tmp_path: Path) -> None:
    mark = try_storage(str(tmp_path / "shared"), "run")
    refuse_storage(str(tmp_path / "shared"), "run", mark, 1)
    with pytest.raises(ConfigError, match="to be a place that all machines share"):
        refuse_storage(str(tmp_path / "own"), "run", mark, 1)
    refuse_storage(f"file://{tmp_path}/shared", "run", mark, 1)
    try_storage(str(tmp_path / "shared"), "run")
    with pytest.raises(ConfigError, match="to be a place that all machines share"):
        refuse_storage(str(tmp_path / "shared"), "run", mark, 1)
    (tmp_path / "file").touch()
    for storage in (str(tmp_path / "file"), "nosuch://bucket/path"):
        with pytest.raises(ConfigError, match=f"--storage {storage} cannot be written") as refused:
            try_storage(storage, "run")
        assert "\n" not in str(refused.value)
        with pytest.raises(ConfigError, match=f"--storage {storage} cannot be written"):
            check_storage(storage)
    check_storage(str(tmp_path / "new" / "place"))
    assert not list((tmp_path / "new" / "place").iterdir())


@pytest.mark.parametrize(
    ("resources", "threads", "gpu", "room"),
    [
        ({"CPU": 5}, 2, False, 2),
        ({"CPU": 1}, 2, False, 0),
        ({}, 1, False, 0),
        ({"CPU": 8, "GPU": 3}, 2, True, 3),
        ({"CPU": 8, "GPU": 3}, 4, True, 2),
        ({"CPU": 8}, 1, True, 0),
    ],
)
def test_a_machine_has_room_for_whole_workers(
    resources: dict[str, float], threads: int, gpu: bool, room: int
) -> None:
    assert places(resources, threads, gpu=gpu) == room


@pytest.mark.parametrize(
    ("number", "device", "words"),
    [
        (5, "cpu", "room for 5 workers of 1 CPU each, it has 1 machine with room for 4: ask for fewer --workers"),
        (1, "cuda", "room for 1 workers of 1 CPU and 1 GPU each, .*, or --device cpu"),
        (1, "cuda:1", "expected --device cpu or cuda with --workers, got cuda:1"),
    ],
)
def test_more_than_a_cluster_can_give_is_refused(
    own_ray: None, tmp_path: Path, number: int, device: str, words: str
) -> None:
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(GeosegError, match=words), RayWorkers(WorkerOptions(number), device, 1, tmp_path):
        pytest.fail("it was not refused")


def test_the_board_keeps_what_nobody_heard_yet() -> None:
    board, step = Board(), Step(1, 2, 0.1, 0.5, None, 1.0)
    board.begin(0)
    assert not board.tell((step, step))
    assert board.news() == News((step, step), (0,), None)
    assert board.news() == News((), (), None)
    assert not board.is_over()
    first = SceneError("first")
    board.fail(first)
    board.fail(SceneError("second"))
    assert board.news().error is first
    board.ask_to_stop()
    assert board.tell(())
    assert board.is_over()


def test_a_claim_is_kept_until_the_run_is_done(tmp_path: Path) -> None:
    claim = Claim(Identity("a" * 64, "unet width 1"), 2, "s3://bucket")
    assert Claim.of(tmp_path) is None
    assert not claim.stake(tmp_path)
    assert not claim.stake(tmp_path)
    assert Claim.of(tmp_path) == claim
    other = replace(claim, identity=Identity("b" * 64, "unet_resnet18 width 0.5"))
    with pytest.raises(ConfigError, match=r"expected unet_resnet18 width 0\.5, got unet width 1;"):
        other.stake(tmp_path)
    claim.finish(tmp_path)
    assert claim.stake(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"run\.json cannot be read"):
        claim.stake(tmp_path)
