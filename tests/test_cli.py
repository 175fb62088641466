"""The command line as a user meets it: exit codes, errors in one line, and whole runs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from affine import Affine

import geoseg
from geoseg import cli
from geoseg.io.record import published_schema


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """The exit code of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["geoseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    code = left.value.code
    return 0 if code is None else int(code)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "geoseg.cli", *map(str, arguments)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every byte that must not depend on workers and interruptions, by relative path."""
    kept = [folder / "classes.tif", *(folder / "layers").iterdir()]
    kept += [file for file in (folder / "mosaic.zarr").rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in kept}


@pytest.fixture
def scene(write_raster: object) -> Path:
    assert callable(write_raster)
    path = write_raster(np.full((3, 40, 50), 100, np.uint8))
    assert isinstance(path, Path)
    return path


BAD_SCENES = {
    "missing": "no such file",
    "text": "a text file",
    "empty": "is empty (0 bytes)",
    "folder": "is a folder without rasters",
    "complex": "holds complex64",
    "two-bands": "expects 3 bands (red, green, blue)",
    "uint16": "--stretch LO,HI",
    "no-crs": "--assume-crs EPSG:N",
    "coarse": "--resolution native",
    "vrt": "an XML document",
}


def bad_scene(kind: str, folder: Path, write_raster: object) -> Path:
    assert callable(write_raster)
    image_chw = np.ones((3, 20, 20), np.uint8)
    path = folder / "scene.tif"
    match kind:
        case "text":
            path.write_text("not a raster")
        case "empty":
            path.touch()
        case "folder":
            path.mkdir()
        case "vrt":
            path.write_text('<VRTDataset rasterXSize="2" rasterYSize="2"/>')
        case "complex":
            path = write_raster(image_chw.astype(np.complex64))
        case "two-bands":
            path = write_raster(image_chw[:2])
        case "uint16":
            path = write_raster(image_chw.astype(np.uint16))
        case "no-crs":
            path = write_raster(image_chw, crs=None)
        case "coarse":
            path = write_raster(image_chw, transform=Affine(10, 0, 320000, 0, -10, 2770000))
    return path


@pytest.mark.parametrize("kind", BAD_SCENES)
def test_bad_scenes_are_refused_in_one_line_before_any_work(
    kind: str,
    tmp_path: Path,
    write_raster: object,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, output = bad_scene(kind, tmp_path, write_raster), tmp_path / "run"
    assert run(monkeypatch, "map", path, "-o", output, "--model", tiny_model) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert BAD_SCENES[kind] in said[0]
    assert str(path) in said[0]
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "nosuch"], "no model is named 'nosuch'"),
        (["--model", "./nosuch"], "expected a model package"),
        (["--bands", "1,2"], "--bands names 2"),
        (["--bands", "1,2,9"], "names band 9"),
        (["--assume-crs", "EPSG:0"], "expected a CRS such as EPSG:32640, got 'EPSG:0'"),
        (["--assume-crs", "EPSG:4326", "--device", "cuda:77"], "--device cuda:77"),
        (["--classes", "buildings"], "--classes expects some of building, road, got buildings"),
        (["--format", "shp"], "expected formats of geojson, geojsonseq, gpkg, fgb, parquet, pmtiles, got shp"),
        (["--device", "tpu"], "expected --device cpu, cuda or cuda:N"),
        (["--precision", "fp16", "--device", "cpu"], "--precision fp16 needs a CUDA device"),
        (["--tile-overlap", "33"], "even overlap"),
        (["--block-size", "700"], "multiple of the chunk size"),
        (["--memory", "1000"], "--memory 1000 holds 0 worker"),
        (["--stretch", "9,3"], "LO below HI"),
        (["--resolution", "coarse"], "model, native, finest or metres"),
        (["--local", "--workers", "2"], "--local is one worker"),
        (["--no-such-flag"], "No such option"),
        (["--forma", "2"], "Did you mean '--format'?"),
        (["--simplify", "nan"], "expected a simplification from 0, got nan"),
        (["--min-area", "inf"], "expected a minimum area from 0, got inf"),
    ],
)
def test_bad_options_are_refused_before_any_work(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    scene: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    assert run(monkeypatch, "map", scene, "-o", output, "--model", tiny_model, *arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert not output.exists()


def test_a_folder_with_other_files_is_left_alone(
    tmp_path: Path,
    scene: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("years of work")
    assert run(monkeypatch, "map", scene, "-o", tmp_path, "--model", tiny_model, "--local") == 2
    assert "holds other files but no plan.json" in capsys.readouterr().err
    assert thesis.read_text() == "years of work"
    assert list(tmp_path.iterdir()) == [thesis]


def test_the_folder_of_another_run_is_left_alone(
    tmp_path: Path,
    scene: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    map_it = ["map", scene, "-o", output, "--model", tiny_model, "--local"]
    assert run(monkeypatch, *map_it) == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(monkeypatch, *map_it, "--tile-size", "128") == 2
    assert "tile_px was 64, is 128" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    assert run(monkeypatch, *map_it) == 0
    assert "nothing left to do" in capsys.readouterr().err


def test_debug_shows_the_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_model: Path
) -> None:
    gone = tmp_path / "gone.tif"
    assert run(monkeypatch, "map", gone, "-o", tmp_path / "run", "--model", tiny_model, "--debug") == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert "error: no such file" in said


def test_dry_run_prints_the_plan_and_writes_nothing(
    tmp_path: Path,
    scene: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    assert run(monkeypatch, "map", scene, "-o", output, "--model", tiny_model, "--dry-run") == 0
    plan = capsys.readouterr().out
    for word in (
        "40 x 50 px",
        "scene 1 m, model 1 m, grid 1 m",
        "1 of 512 x 512 px",
        "1.00 times",
        "MiB each",
        "run.json",
    ):
        assert word in plan
    assert not output.exists()


def test_help_lists_every_command() -> None:
    said = subprocess.run(command("--help"), check=True, capture_output=True, text=True).stdout
    for name in ("doctor", "evaluate", "inspect", "jobs", "map", "models", "submit", "train", "view"):
        assert re.search(rf"^  {name} ", said, re.MULTILINE)


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_no_library(flag: str, heavy_libraries: frozenset[str]) -> None:
    code = (
        "import sys\n"
        "from geoseg import cli\n"
        f"sys.argv = ['geoseg', '{flag}']\n"
        "try: cli.main()\n"
        "except SystemExit as left: assert not left.code\n"
        "print(*(name for name in sys.modules if '.' not in name))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    loaded = said.splitlines()[-1].split()
    assert "click" in loaded
    assert not heavy_libraries & set(loaded)


def test_the_version_is_that_of_the_package() -> None:
    said = subprocess.run(command("--version"), check=True, capture_output=True, text=True).stdout
    assert said.split() == ["geoseg,", "version", geoseg.__version__]


def test_a_job_that_another_version_submitted_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--submitted-by", geoseg.__version__, "config", "schema", "map") == 0
    capsys.readouterr()
    assert run(monkeypatch, "--submitted-by", "0.0.1", "config", "schema", "map") == 2
    said = f"error: expected geoseg 0.0.1 on the cluster, as where the job was submitted, got {geoseg.__version__}"
    assert capsys.readouterr() == ("", f"{said}: install the same\n")


@pytest.mark.parametrize(
    ("misspelt", "words"),
    [
        ("mpa", "no command is named 'mpa'"),
        ("mpa", "did you mean map?"),
        ("modles", "did you mean models?"),
        ("inspct", "did you mean inspect?"),
        (
            "zzz",
            (
                "commands: agreement, calibrate, config, doctor, evaluate, export, inspect, jobs, map, models, "
                "pseudo-labels, study, submit, tiles, train, verify, view, weak-labels (see"
            ),
        ),
    ],
)
def test_misspelt_commands_get_the_nearest_one(
    misspelt: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, misspelt) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert len(said.splitlines()) == 1


def test_a_misspelt_model_gets_the_nearest_one(
    tmp_path: Path,
    scene: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("GEOSEG_MODEL_PATH", str(tiny_model.parent))
    assert run(monkeypatch, "map", scene, "-o", tmp_path / "run", "--model", "tinny") == 2
    assert "did you mean tiny?" in capsys.readouterr().err


def test_json_is_the_record_and_nothing_else_on_stdout(
    tmp_path: Path,
    scene: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "run"
    map_it = ["map", scene, "-o", output, "--model", tiny_model, "--local", "--json"]
    assert run(monkeypatch, *map_it, "--dry-run") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["blocks"] == 1
    assert run(monkeypatch, *map_it) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((output / "run.json").read_text())
    assert printed["plan_hash"] == planned["plan_hash"]
    jsonschema.validate(printed, published_schema())
    assert run(monkeypatch, *map_it) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == printed
    assert "nothing left to do" in said.err


def test_json_of_an_incomplete_run_comes_with_exit_code_1(
    tmp_path: Path,
    write_raster: object,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(write_raster)
    scene = write_raster(np.full((3, 1100, 300), 80, np.uint8), tiled=True, interleave="pixel")
    os.truncate(scene, 300_000)
    map_it = ["map", scene, "-o", tmp_path / "run", "--model", tiny_model, "--local", "--block-size", 512, "--json"]
    assert run(monkeypatch, *map_it) == 1
    said = capsys.readouterr()
    failed = json.loads(said.out)["blocks"]["quarantined"]
    assert failed
    assert all(f"failed   block {block['block']}: " in said.err for block in failed)


@pytest.mark.slow
def test_workers_change_no_byte(tmp_path: Path, patchwork_scene: Path, tiny_model: Path) -> None:
    ways: dict[str, list[object]] = {"loop": ["--local"], "one": ["--workers", 1], "two": ["--workers", 2]}
    for name, options in ways.items():
        done = subprocess.run(
            command(
                "map", patchwork_scene, "-o", tmp_path / name, "--model", tiny_model, "--block-size", 512, *options
            ),
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
        stages = {"mosaic", "overviews", "cog", "objects", "seams", "outlines", "features", "layers"}
        stages |= {"whole", "overlaps", "splits", "roads", "skeleton", "pieces", "network"}
        stages |= {"preview", "project", "page"}
        assert {event["stage"] for event in events} == stages
    assert contents(tmp_path / "one") == contents(tmp_path / "loop")
    assert contents(tmp_path / "two") == contents(tmp_path / "loop")


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_stops_resumably(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path, number: signal.Signals
) -> None:
    output = tmp_path / "run"
    # Small tiles with much overlap: plenty of work to be interrupted in.
    slow = [
        "--local",
        "--block-size",
        512,
        "--tile-size",
        64,
        "--tile-overlap",
        32,
        "--min-area",
        0,
        "--simplify",
        0,
    ]
    map_it = command("map", patchwork_scene, "-o", output, "--model", tiny_model, *slow)
    process = subprocess.Popen(
        map_it, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    while not list(output.glob("ledger/mosaic/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "go on with: geoseg map" in said
    assert json.loads((output / "run.json").read_text())["status"] == "stopped"
    assert subprocess.run(map_it, check=False, capture_output=True).returncode == 0
    assert json.loads((output / "run.json").read_text())["status"] == "complete"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_libraries_load_waits_until_they_are_there(number: signal.Signals) -> None:
    """Thrown into an import, an interrupt leaves half a module behind, and comes out as some other error."""
    loaded = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def load() -> None:
        with cli.signals_held():
            signal.raise_signal(number)
            loaded.append(number)

    before = signal.signal(number, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            load()
        assert loaded
        assert signal.getsignal(number) is interrupt
    finally:
        signal.signal(number, before)
