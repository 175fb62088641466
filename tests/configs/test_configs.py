"""Every committed configuration runs, in the command that it names, with only sizes, steps and paths changed."""

import csv
import re
import shlex
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from world import write_world

from geoseg.cli import cli
from geoseg.commands.inspect import inspect
from geoseg.commands.study import study
from geoseg.commands.train import train
from geoseg.config import load_train_config
from geoseg.config.study import load_study
from geoseg.models.package import load_package

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = {
    CONFIGS / "experiments" / "mbrsc.yaml": ("deeplab", "mbrsconly"),
}
"""Each with the runs of it that are trained here: one of each architecture, and with data of its own."""

TRAINED = re.compile(r"models/mbrsc(-self)?(?=\s|$)")
"""What one configuration leaves for another."""

TRAINING = sorted(CONFIGS.glob("train_*.yaml")) + sorted(CONFIGS.glob("finetune_*.yaml"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


def prepared(config: Path, root: Path, folder: Path) -> None:
    """What the configuration says is to be done before the training, for each city of its world that it names."""
    text = config.read_text().replace("\\\n#", "")
    shutil.rmtree(root / "self", ignore_errors=True)
    (root / "self").mkdir()
    cities = sorted(set(re.findall(r"labels: self/(\w+)\.tif", text)))
    for words, city in product(re.findall(r"^#   geoseg ((?:map|pseudo-labels) .+)$", text, re.MULTILINE), cities):
        line = words.replace("$GEOSEG_DATA", str(root)).replace("CITY", city)
        arguments = shlex.split(TRAINED.sub("mbrsc", line).replace("runs/", f"{folder}/"))
        arguments += ["--local"] if arguments[0] == "map" else []
        done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output


def small(config: Path, folder: Path) -> Path:
    """The configuration with a small network, small crops and few steps."""
    values: dict[str, Any] = yaml.safe_load(config.read_text())
    if TRAINED.fullmatch(values.get("start_from", "")):
        values["start_from"] = "mbrsc"  # the same architecture
    if "architecture" in values and "start_from" not in values:
        values["architecture"]["width"] = 0.125
    lengths = {"epochs", "iterations", "validate_every", "warmup"}
    kept = {key: value for key, value in values["training"].items() if key not in lengths}
    values["training"] = {**kept, "crop_px": 64, "batch": 2, "iterations": 2, "validate_every": 1}
    path = folder / config.name
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.mark.parametrize("config", TRAINING, ids=lambda path: path.stem)
def test_configurations_are_understood_and_name_their_command(config: Path) -> None:
    load_train_config(config)
    assert re.search(
        rf"^#   geoseg train --config configs/{config.name} -o models/\S+(?: --workers \d+)?$",
        config.read_text(),
        re.MULTILINE,
    )
    assert f"`{config.name}`" in (CONFIGS / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("config", TRAINING, ids=lambda path: path.stem)
def test_configurations_run(config: Path, root: Path, tmp_path: Path) -> None:
    prepared(config, root, tmp_path)
    changed = small(config, tmp_path)
    checked = CliRunner().invoke(inspect, [str(changed), "--data-root", str(root), "--check"])
    assert checked.exit_code == 0, checked.output
    model = tmp_path / "models" / "mine"
    trained = CliRunner().invoke(
        train, ["--config", str(changed), "-o", str(model), "--data-root", str(root)], catch_exceptions=False
    )
    assert trained.exit_code == 0, trained.output
    assert re.search(rf"^next: geoseg map \S+ --model {model} -o \S+$", trained.stdout, re.MULTILINE)
    card = load_package(model).card
    assert set(card.metrics) >= {"val"}
    assert [label.name for label in card.classes] == list(load_train_config(config).label_set().names)
    begun = card.training.get("start_from")
    if isinstance(begun, dict):
        reached = begun["iou_before"]
        assert isinstance(reached, dict)
        assert list(reached) == ["test"]
        assert re.search(r"^building: 0\.\d+ before, 0\.\d+ after \(IoU on test\)$", trained.stdout, re.MULTILINE)


def test_all_studies_are_known() -> None:
    assert sorted(STUDIES) == sorted((CONFIGS / "experiments").glob("*.yaml"))


@pytest.mark.parametrize("config", STUDIES, ids=lambda path: path.stem)
def test_studies_are_understood_and_name_their_command(config: Path) -> None:
    study_of = load_study(config)
    place = config.relative_to(CONFIGS.parent)
    assert re.search(rf"^#   geoseg study --config {place} -o studies/\S+$", config.read_text(), re.MULTILINE)
    assert f"`{config.relative_to(CONFIGS)}`" in (CONFIGS / "README.md").read_text()
    assert study_of.left_out
    # Each run is another one.
    told = [run.config.model_dump_json(exclude={"name"}) for run in study_of.runs]
    assert len(set(told)) == len(told) == len({run.differs for run in study_of.runs})


@pytest.mark.slow
@pytest.mark.parametrize("config", STUDIES, ids=lambda path: path.stem)
def test_studies_run(config: Path, root: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(config.read_text())
    base = small((config.parent / values["base"]).resolve(), tmp_path)
    sizes = {"crop_px": 64, "batch": 2, "iterations": 2, "warmup": 0, "validate_every": 1}
    values["base"] = base.name
    values["change"]["training"] |= sizes
    for change in values["runs"].values():
        change.get("architecture", {}).pop("width", None)
        for key in sizes:
            change.get("training", {}).pop(key, None)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    arguments = [
        "--config",
        str(tmp_path / "study.yaml"),
        "-o",
        str(tmp_path / "studied"),
        "--data-root",
        str(root),
    ]
    arguments += ["--only", ",".join(STUDIES[config]), "--jobs", "2", "--device", "cpu"]
    done = CliRunner().invoke(study, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with (tmp_path / "studied" / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["run"] for row in rows} == set(STUDIES[config])
    assert all(float(row["ground_mpx_per_s"]) > 0 and 0 <= float(row["miou"]) <= 1 for row in rows)
