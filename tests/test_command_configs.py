"""Options of commands in a file: the same as on the command line, which goes before it."""

import json
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from geoseg.cli import cli
from geoseg.commands.config import config as config_command
from geoseg.commands.evaluate import evaluate
from geoseg.commands.export import export
from geoseg.commands.map import map_command
from geoseg.commands.train import train
from geoseg.config.command import CommandConfig
from geoseg.config.evaluate import EvaluateConfig
from geoseg.config.export import ExportConfig
from geoseg.config.map import MapConfig
from geoseg.config.run import RunConfig

CONFIGS = Path(__file__).parents[1] / "configs"
EVERY = sorted(CONFIGS.rglob("*.yaml"))


def options_of(command: click.Command) -> set[str]:
    return {max(one.opts, key=len).removeprefix("--").replace("-", "_") for one in command.params}


@pytest.mark.parametrize(
    ("command", "config", "left_out"),
    [
        (map_command, MapConfig, {"fresh", "dry_run", "no_probe"}),
        (evaluate, EvaluateConfig, set()),
        (export, ExportConfig, set()),
    ],
    ids=["map", "evaluate", "export"],
)
def test_every_option_is_a_key(command: click.Command, config: type[CommandConfig], left_out: set[str]) -> None:
    of_one_call = {"config", "json", "debug"} | left_out
    assert set(config.model_fields) - {"kind"} == options_of(command) - of_one_call


def test_keys_of_a_trainings_run_are_options() -> None:
    assert set(RunConfig.model_fields) <= options_of(train)


SAID: dict[str, tuple[dict[str, Any], list[str]]] = {
    "numbers": (
        {"min_area": 7, "min_hole": 3.5, "simplify": 0.5, "tile_size": 64, "tile_overlap": 16},
        ["--min-area", "7", "--min-hole", "3.5", "--simplify", "0.5", "--tile-size", "64", "--tile-overlap", "16"],
    ),
    "by class": (
        {"min_area": {"building": 5, "road": 0}, "threshold": {"road": 0.75}},
        ["--min-area", "building=5", "--min-area", "road=0", "--threshold", "road=0.75"],
    ),
    "lists": (
        {"bands": [3, 2, 1], "classes": ["building"], "format": ["fgb", "geojson"], "stretch": [10, 200]},
        ["--bands", "3,2,1", "--classes", "building", "--format", "fgb,geojson", "--stretch", "10,200"],
    ),
    "words": (
        {"stretch": "2%,98%", "resolution": "native", "merge": "latest", "crs": "EPSG:32641"},
        ["--stretch", "2%,98%", "--resolution", "native", "--merge", "latest", "--crs", "EPSG:32641"],
    ),
    "flags": (
        {"align": True, "smooth": False, "probability": True, "network": None, "skip_bad": False},
        ["--align", "--no-smooth", "--probability"],
    ),
    "metres": ({"resolution": 2}, ["--resolution", "2"]),
}


@pytest.mark.parametrize("said", SAID)
def test_a_file_plans_what_the_options_plan(
    said: str, patchwork_scene: Path, tiny_model: Path, tmp_path: Path
) -> None:
    keys, words = SAID[said]
    file = tmp_path / "map.yaml"
    usual = {"scenes": [str(patchwork_scene)], "output": str(tmp_path / "run"), "model": str(tiny_model)}
    file.write_text(yaml.safe_dump({"kind": "map", "local": True, **usual, **keys}))
    asked = ["--dry-run", "--json"]
    by_file = CliRunner().invoke(map_command, ["--config", str(file), *asked], catch_exceptions=False)
    typed = [
        str(patchwork_scene),
        "-o",
        str(tmp_path / "run"),
        "--model",
        str(tiny_model),
        "--local",
        *words,
        *asked,
    ]
    by_words = CliRunner().invoke(map_command, typed, catch_exceptions=False)
    assert by_file.exit_code == 0, by_file.output
    assert json.loads(by_file.stdout) == json.loads(by_words.stdout)


def test_the_command_line_goes_before_the_file(patchwork_scene: Path, tiny_model: Path, tmp_path: Path) -> None:
    file = tmp_path / "map.yaml"
    keys = {"scenes": ["nothing.tif"], "output": "elsewhere", "model": str(tiny_model), "min_area": {"road": 3}}
    file.write_text(yaml.safe_dump({"kind": "map", "local": True, "smooth": True, **keys}))
    words = [
        str(patchwork_scene),
        "-o",
        str(tmp_path / "run"),
        "--min-area",
        "9",
        "--no-smooth",
        "--dry-run",
        "--json",
    ]
    typed = [*words, "--model", str(tiny_model), "--local"]
    both = CliRunner().invoke(map_command, ["--config", str(file), *words], catch_exceptions=False)
    assert json.loads(both.stdout) == json.loads(CliRunner().invoke(map_command, typed).stdout)


def test_scenes_start_from_the_files_folder_or_the_data_root(
    patchwork_scene: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "map.yaml"
    keys = {"scenes": [patchwork_scene.name], "output": str(tmp_path / "run"), "model": str(tiny_model)}
    file.write_text(yaml.safe_dump({"kind": "map", "local": True, **keys}))
    asked = ["--config", str(file), "--dry-run", "--no-probe"]
    missed = CliRunner().invoke(map_command, asked)
    assert str(tmp_path / patchwork_scene.name) in str(missed.exception)
    monkeypatch.setenv("GEOSEG_DATA", str(patchwork_scene.parent))
    found = CliRunner().invoke(map_command, asked, catch_exceptions=False)
    assert found.exit_code == 0
    assert str(patchwork_scene) in found.stdout


def test_addresses_stay_as_they_are() -> None:
    given = ["s3://bucket/a.tif", "/vsis3/bucket/b.tif", "/whole/c.tif", "part/d.tif"]
    said = MapConfig.model_validate({"kind": "map", "scenes": given}).words(Path("/root"))
    assert said == {"scenes": [*given[:3], "/root/part/d.tif"]}
    files = MapConfig.model_validate({"kind": "map", "bands": {"red": "r.tif", "green": "s3://bucket/g.tif"}})
    assert files.words(Path("/root")) == {"bands": ["red=/root/r.tif", "green=s3://bucket/g.tif"]}


BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "unknown key": ("map", {"min_aera": 3}, "min_aera: unknown key, did you mean min_area?"),
    "wrong type": ("map", {"workers": "many"}, "workers: expected a valid integer"),
    "wrong choice": (
        "map",
        {"merge": "newest"},
        "merge: expected 'nearest-centre', 'latest' or 'first', got 'newest'",
    ),
    "by class": ("map", {"min_area": {"road": "wide"}}, "min_area.road: expected a valid number"),
    "other kind": ("map", {"kind": "train"}, "kind: expected 'map', got 'train'"),
    "two references": ("evaluate", {"subject": "a", "data": "b", "labels": "c"}, "got both"),
    "no format": ("export", {"run": "a", "output": "b"}, "format: expected a value, the key is missing"),
    "two scenes": ("map", {"scenes": ["a"], "bands": {"red": "b"}}, "scenes: bands names a file"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_wrong_key_is_refused_in_one_line(bad: str, tmp_path: Path) -> None:
    kind, keys, words = BAD[bad]
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({"kind": kind, **keys}))
    command = cli.get_command(click.Context(cli), kind)
    assert command is not None
    refused = CliRunner().invoke(command, ["--config", str(file)])
    assert words in str(refused.exception)
    assert str(file) in str(refused.exception)
    assert "\n" not in str(refused.exception)


def test_a_training_takes_its_run_from_its_file(tmp_path: Path) -> None:
    values = yaml.safe_load((CONFIGS / "train_roads.yaml").read_text())
    file = tmp_path / "train.yaml"
    file.write_text(yaml.safe_dump({**values, "run": {"output": "mine", "workers": 2, "storage": "s3://bucket/a"}}))
    context = train.make_context("train", ["--config", str(file), "--workers", "3"])
    assert (context.params["output"], context.params["workers"]) == (Path("mine"), 3)
    assert context.params["storage"] == "s3://bucket/a"
    file.write_text(yaml.safe_dump({**values, "run": {"wrokers": 2}}))
    refused = CliRunner().invoke(train, ["--config", str(file)])
    assert "run.wrokers: unknown key, did you mean workers?" in str(refused.exception)


def schema_of(kind: str) -> dict[str, Any]:
    told = CliRunner().invoke(config_command, ["schema", kind], catch_exceptions=False)
    schema: dict[str, Any] = json.loads(told.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    return schema


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_committed_files_fit_their_schema(path: Path) -> None:
    values = json.loads(json.dumps(yaml.safe_load(path.read_text())))
    schema = schema_of(values["kind"])
    jsonschema.validate(values, schema)
    with pytest.raises(jsonschema.ValidationError, match="mispelt"):
        jsonschema.validate({**values, "mispelt": 1}, schema)


@pytest.mark.parametrize("kind", ["evaluate", "export", "map", "study", "train"])
def test_a_schema_says_what_each_key_means(kind: str) -> None:
    schema = schema_of(kind)
    sections = [schema, *schema.get("$defs", {}).values()]
    silent = [
        key for one in sections for key, value in one.get("properties", {}).items() if "description" not in value
    ]
    assert not silent
