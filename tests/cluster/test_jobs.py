"""The scripts in jobs/ and the configurations that they take."""

import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
import yaml

from geoseg.cluster.job import job_arguments
from geoseg.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
MAPS = sorted(CONFIGS.glob("map_*.yaml"))
OTHERS = [CONFIGS / "evaluate.yaml", CONFIGS / "export.yaml"]
UNPACKED = Path("/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1")  # noqa: S108  # where Ray does

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A configuration with these keys."""

    def written(**values: Any) -> Path:  # noqa: ANN401  # whatever a file may hold
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return written


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a script of jobs/ in this process, and give its exit code."""

    def run(name: str, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", [f"jobs/{name}.py", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "jobs" / f"{name}.py"), run_name="__main__")
        return int(left.value.code or 0)

    return run


def test_work_goes_to_the_jobs_own_cluster_unless_the_file_says_where(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(write(kind="map", output="/runs/a"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert job_arguments("map", [file, "--align"]) == ["map", "--config", file, "--align"]
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert job_arguments("map", [file]) == ["map", "--config", file, "--address", "auto"]
    assert job_arguments("map", [file, "--local"]) == ["map", "--config", file, "--local"]
    for elsewhere in ({"address": "10.0.0.2:6379"}, {"local": True}):
        write(kind="map", output="/runs/a", **elsewhere)
        assert "auto" not in job_arguments("map", [file])
    write(kind="train", run={"address": "10.0.0.2:6379"})
    assert "auto" not in job_arguments("train", [file])
    write(kind="export")
    assert "auto" not in job_arguments("export", [file])


@pytest.mark.parametrize(
    ("values", "words", "lost"),
    [
        ({"kind": "map", "output": "runs/a"}, [], "output"),
        ({"kind": "map", "output": "/runs/a"}, ["-o", "runs/b"], "-o"),
        ({"kind": "evaluate", "output": "/a.json", "marked": "a.gpkg"}, [], "marked"),
        ({"kind": "train", "run": {"output": "/a", "storage": "checkpoints"}}, [], "storage"),
    ],
)
def test_what_ray_would_remove_is_refused(
    write: Write, values: dict[str, Any], words: list[str], lost: str
) -> None:
    file = str(write(**values))
    with pytest.raises(ConfigError, match=f"^{lost}: expected a whole path on storage that all nodes share"):
        job_arguments(values["kind"], [file, *words], UNPACKED)
    assert job_arguments(values["kind"], [file, *words], Path("/home/me/project"))


def test_storage_that_outlasts_the_job_is_taken(write: Write) -> None:
    file = str(write(kind="train", run={"output": "/mnt/a", "storage": "s3://bucket/a"}))
    assert job_arguments("train", [file], UNPACKED)[:3] == ["train", "--config", file]


@pytest.mark.parametrize("name", ["map_region", "train", "evaluate", "export"])
def test_a_script_without_its_configuration_says_what_it_takes(
    name: str, run_script: Callable[..., int], write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_script(name) == 2
    assert re.fullmatch(
        r"error: expected a configuration of kind \w+, and then options, got nothing\n", capsys.readouterr().err
    )
    assert run_script(name, write(kind="study")) == 2
    assert re.fullmatch(r"error: .+: expected kind: \w+, got study\n", capsys.readouterr().err)


@pytest.mark.parametrize("config", [*MAPS, *OTHERS], ids=lambda path: path.stem)
def test_configurations_name_their_command(config: Path) -> None:
    kind = yaml.safe_load(config.read_text())["kind"]
    place = config.relative_to(ROOT)
    assert re.search(rf"geoseg {kind} --config {place}$", config.read_text(), re.MULTILINE)
    assert f"`{config.name}`" in (CONFIGS / "README.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("config", MAPS, ids=lambda path: path.stem)
def test_map_configurations_run(
    config: Path,
    own_ray: None,
    run_script: Callable[..., int],
    patchwork_scene: Path,
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    values = yaml.safe_load(config.read_text())
    values |= {"scenes": [str(patchwork_scene)], "output": "runs/small", "model": str(tiny_model), "device": "cpu"}
    values |= {"workers": 2, "threads_per_worker": 1}
    small = {key: value for key, value in values.items() if key not in ("address", "memory", "block_size")}
    (tmp_path / config.name).write_text(yaml.safe_dump(small))
    assert run_script("map_region", config.name) == 0
    record = json.loads((tmp_path / "runs/small/run.json").read_text())
    assert record["status"] == "complete"
    # Once more there is nothing to do.
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/small").rglob("*.*")}
    assert run_script("map_region", config.name) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs/small").rglob("*.*")} == before
    if config.name == "map_laptop.yaml":
        _evaluate_and_export(run_script, tmp_path)


def _evaluate_and_export(run_script: Callable[..., int], folder: Path) -> None:
    layer = geopandas.read_file(folder / "runs/small/layers/buildings.geojson")
    west, south, east, north = layer.total_bounds
    middle = shapely.box((west + east) / 2, (south + north) / 2, east, north)
    geopandas.GeoSeries([middle], crs=layer.crs).to_file(folder / "buildings.geojson")
    for name in ("evaluate", "export"):
        values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        values |= {"subject": "runs/small"} if name == "evaluate" else {"run": "runs/small"}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
        for _ in range(2):
            assert run_script(name, f"{name}.yaml") == 0
    scores = json.loads((folder / "runs/laptop-scores.json").read_text())
    assert 0 <= scores["classes"]["building"]["areas"]["iou"] <= 1
    assert (folder / "runs/laptop.pmtiles").stat().st_size > 0
