"""`geoseg study`: runs that are adopted, trained, resumed, and that fail; and the table of them."""

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from affine import Affine
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.commands.study import study
from geoseg.commands.train import train
from geoseg.config.study import load_study
from geoseg.errors import ConfigError, GeosegError, ModelError
from geoseg.models.package import load_package
from geoseg.study_runs import StoredRun, logged_seconds

WriteRaster = Callable[..., Path]

TRAINING: dict[str, Any] = {"crop_px": 32, "batch": 2, "iterations": 4, "validate_every": 1, "lr": 0.01}


@pytest.fixture(scope="module")
def data(write_raster: WriteRaster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with three scenes, a configuration of them, and a study of it."""
    root = tmp_path_factory.mktemp("study")
    rng = np.random.default_rng(0)
    for number, split in enumerate(("train", "val", "test")):
        at = Affine(1, 0, 320000 + 1000 * number, 0, -1, 2770000)
        light_hw = rng.random((12, 12)).repeat(8, 0).repeat(8, 1) < 0.4
        image_chw = np.where(light_hw, 200, 60) + rng.normal(0, 8, (3, 96, 96))
        write_raster(image_chw.astype(np.uint8), transform=at).rename(root / f"{split}.tif")
        write_raster(np.where(light_hw, 1, 2).astype(np.uint8)[None], transform=at).rename(
            root / f"{split}_labels.tif"
        )
    config = {
        "kind": "train",
        "name": "squares",
        "description": "bright squares",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet", "width": 0.0625},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [
            {"name": "square", "layer": "squares", "kind": "thing", "color": "#ffffff"},
            {"name": "ground", "layer": None, "kind": "stuff", "color": "#000000"},
        ],
        "label_values": {1: "square", 2: "ground"},
        "data": [
            {"image": f"{split}.tif", "labels": f"{split}_labels.tif", "split": split}
            for split in ("train", "val", "test")
        ],
        "training": TRAINING,
    }
    (root / "base.yaml").write_text(yaml.safe_dump(config))
    write_study(root, "study.yaml", {"plain": None, "wide": {"architecture": {"width": 0.125}}})
    return root


def write_study(root: Path, name: str, runs: dict[str, Any]) -> Path:
    said = {"kind": "study", "name": "tricks", "description": "what helps", "base": "base.yaml", "runs": runs}
    (root / name).write_text(yaml.safe_dump(said, sort_keys=False))
    return root / name


def words(data: Path, output: Path, *options: str, file: str = "study.yaml") -> list[str]:
    given = ["--config", str(data / file), "-o", str(output), "--data-root", str(data)]
    return [*given, "--device", "cpu", "--threads", "1", *options]


def run_study(data: Path, output: Path, *options: str, file: str = "study.yaml") -> Result:
    return CliRunner().invoke(study, words(data, output, *options, file=file), catch_exceptions=False)


@pytest.fixture(scope="module")
def by_hand(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study whose first run was trained by `geoseg train`, and nothing noted."""
    folder = tmp_path_factory.mktemp("by_hand")
    run = load_study(data / "study.yaml").runs[0]
    # Named otherwise, and with other words: that changes no weight.
    values = {**run.values, "name": "mine", "description": "my own"}
    config = folder.parent / "mine.yaml"
    config.write_text(yaml.safe_dump(values))
    arguments = ["--config", str(config), "-o", str(folder / "plain"), "--data-root", str(data), "--device", "cpu"]
    assert CliRunner().invoke(train, arguments, catch_exceptions=False).exit_code == 0
    return folder


def test_what_was_trained_by_hand_is_adopted_and_in_the_table(data: Path, by_hand: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(by_hand, tmp_path / "study")
    before = (folder / "plain" / "card.json").read_bytes()
    result = run_study(data, folder, "--only", "plain", "--json")
    assert result.exit_code == 0
    table = json.loads(result.stdout)
    assert table == json.loads((folder / "table.json").read_text())
    (row,) = table["rows"]
    model = load_package(folder / "plain")
    assert (row["run"], row["minutes_by"], row["beside"]) == ("plain", "log", None)
    assert row["miou"] == round(model.card.metrics["val"].miou, 4)
    assert row["iterations"] == row["planned"] == 4
    assert row["best_iteration"] == model.card.training["iteration"]
    assert row["end"] == ("cut short" if row["best_iteration"] == 4 else "converged")
    assert row["parameters_millions"] == round(sum(one.numel() for one in model.build().parameters()) / 1e6, 3)
    assert row["ground_km2_per_h"] == pytest.approx(row["ground_mpx_per_s"] * 3600, rel=0.01, abs=4)
    assert table["unfinished"] == ["wide"]
    assert "left out: test.tif of split test, which no choice may see" in result.stderr
    assert "plain: timed" in result.stderr
    # Nothing is trained or timed twice.
    noted_of = json.loads((folder / "plain.json").read_text())
    noted_of["measured"]["speed"] |= {"cpu_share": 1.0}
    (folder / "plain.json").write_text(json.dumps(noted_of))
    noted = (folder / "plain.json").read_bytes()
    again = run_study(data, folder, "--only", "plain")
    assert "timed" not in again.stderr
    assert (folder / "plain.json").read_bytes() == noted
    assert (folder / "plain" / "card.json").read_bytes() == before
    assert again.stdout.splitlines()[0].startswith("run ")
    again_table = json.loads((folder / "table.json").read_text())
    assert {**again_table, "notes": None} == {**table, "notes": None}
    # What was timed beside other work says so, and is timed again.
    noted_of["measured"]["speed"] |= {"cpu_share": 0.2, "ground_mpx_per_s": 1e-6}
    (folder / "plain.json").write_text(json.dumps(noted_of))
    timed = run_study(data, folder, "--only", "plain", "--json")
    assert "plain: timed again, other work ran beside it" in timed.stderr
    assert json.loads(timed.stdout)["rows"][0]["ground_mpx_per_s"] > 1e-6


def test_what_another_configuration_left_is_refused(data: Path, by_hand: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(by_hand, tmp_path / "study")
    file = write_study(data, "other.yaml", {"plain": {"training": {"lr": 0.02}}}).name
    with pytest.raises(
        ConfigError, match=r"run plain: .*card\.json is of another configuration, training\.lr differs"
    ):
        run_study(data, folder, file=file)
    (folder / "plain.training" / "config.yaml").unlink()
    with pytest.raises(ConfigError, match=r"card\.json is there, but not .*config\.yaml"):
        run_study(data, folder)
    (folder / "plain" / "card.json").write_text("{}")
    shutil.copy(by_hand / "plain.training" / "config.yaml", folder / "plain.training")
    with pytest.raises(ModelError, match=r"card\.json is no valid card"):
        run_study(data, folder)
    assert not (folder / "table.md").exists()


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (
            {"data": [{"image": "gone.tif", "labels": "l.tif", "split": split} for split in ("train", "val")]},
            (),
            "gone",
        ),
        ({"training": {"precision": "fp16"}}, (), "run late: training.precision: fp16 is for CUDA"),
        ({"start_from": "./nosuch", "architecture": None}, (), "run late: .*expected a model package"),
        ({}, ("--only", "early,later"), "expected --only with some of the runs early, late, got later"),
    ],
)
def test_everything_is_checked_before_the_first_run_begins(
    data: Path, tmp_path: Path, change: dict[str, Any], options: tuple[str, ...], said: str
) -> None:
    file = write_study(data, "late.yaml", {"early": None, "late": change}).name
    with pytest.raises(GeosegError, match=said):
        run_study(data, tmp_path / "study", *options, file=file)
    assert not (tmp_path / "study").exists()


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(1, 99), min_size=1, max_size=3).map(sorted), min_size=1, max_size=4))
def test_the_parts_of_a_log_are_added_up(parts: list[list[int]]) -> None:
    """Each part counts from 0; one whose first validation was later than the last before it looks like its end."""
    told = [parts[0]]
    for part in parts[1:]:
        if part[0] < told[-1][-1]:
            told.append(part)
    expected = sum(part[-1] for part in told)
    assert logged_seconds([one for part in told for one in part]) == pytest.approx(expected)
    assert logged_seconds([]) is None


def test_minutes_are_those_of_the_processes_where_all_are_known(data: Path, tmp_path: Path) -> None:
    stored = StoredRun(load_study(data / "study.yaml").runs[0], tmp_path)
    stored.training.mkdir()
    (stored.training / "log.csv").write_text("iteration,lr,loss,val_miou,seconds\n1,0.1,1,0.5,90\n2,0.1,1,0.5,30\n")
    assert stored.minutes() == (2, "log", None)
    # It begins; is gone on with beside another; the end of a third part is not seen.
    stored.note_start(1)
    stored.note_end(130, 60)
    (stored.training / "last.pt").touch()
    stored.note_start(2)
    stored.note_end(0, 30)
    assert stored.minutes() == (1.5, "processes", 2)
    stored.note_start(1)
    assert stored.minutes() == (2, "log", None)
    # From the start again, what was is forgotten.
    (stored.training / "last.pt").unlink()
    stored.note_start(1)
    stored.note_end(0, 6)
    assert stored.minutes() == (0.1, "processes", 1)
    (tmp_path / "plain.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"plain\.json: expected what `geoseg study` noted of plain; delete it"):
        stored.minutes()


@pytest.mark.slow
def test_a_study_goes_on_after_a_signal_and_beside_a_run_that_fails(data: Path, tmp_path: Path) -> None:
    long = {"training": {"iterations": 120, "validate_every": 40}}
    file = write_study(data, "long.yaml", {"bad": {"training": {"lr": 1e20}}, "long": long}).name
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    (tmp_path / "long.yaml").write_text(yaml.safe_dump(load_study(data / file).runs[1].values))
    arguments = ["--config", str(tmp_path / "long.yaml"), "-o", str(whole), "--data-root", str(data)]
    assert CliRunner().invoke(train, [*arguments, "--device", "cpu", "--threads", "1"]).exit_code == 0
    command = [sys.executable, "-m", "geoseg.cli", "study", *words(data, stopped, "--only", "long", file=file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 240
        log = stopped / "long.log"
        while not (log.exists() and '"event": "train"' in log.read_text()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        with pytest.raises(ConfigError, match="another process is working on"):
            run_study(data, stopped, file=file)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = process.stderr.read()
    assert process.returncode == 130
    assert "long: stopped; the same command goes on" in said
    assert said.splitlines()[-1].startswith("stopped: go on with: geoseg study ")
    assert not (stopped / "long" / "card.json").exists()

    result = run_study(data, stopped, "--jobs", "2", file=file)
    assert result.exit_code == 1
    assert "\nfailed   bad: " in result.stderr
    weights = [(folder / "weights.safetensors").read_bytes() for folder in (whole, stopped / "long")]
    assert weights[0] == weights[1]
    table = json.loads((stopped / "table.json").read_text())
    (row,) = table["rows"]
    assert (row["run"], row["iterations"], row["minutes_by"], row["beside"]) == ("long", 120, "processes", 2)
    assert len(json.loads((stopped / "long.json").read_text())["attempts"]) == 2
    assert re.search(r"loss.* is not finite.*\(exit code 2\)", table["failed"]["bad"])
