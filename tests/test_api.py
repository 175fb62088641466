"""geoseg from Python: the interface, what importing it costs, and that it does what the commands do."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import numpy as np
import pytest
import torch
from affine import Affine

import geoseg
from geoseg import cli
from geoseg.errors import GeosegError
from geoseg.io.gdal_environment import gdal_environment
from geoseg.io.record import published_schema

WriteRaster = Callable[..., Path]

ROOT = Path(__file__).parents[1]

TELL_OF_TIMES = {"run.json", "report.html", "report.json"}


def python(code: str, *arguments: object, cwd: Path | None = None) -> str:
    """What code prints in a Python of its own, where GDAL is as it comes (a command sets it in its process)."""
    environment = {key: value for key, value in os.environ.items() if key not in gdal_environment()}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def scene(write_raster: WriteRaster) -> Path:
    """40 x 50 px of noise."""
    return write_raster(np.random.default_rng(5).integers(0, 256, (3, 40, 50)).astype(np.uint8))


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory, scene: Path, tiny_model: Path) -> geoseg.Run[Path]:
    output = tmp_path_factory.mktemp("api") / "run"
    return geoseg.map_scenes(scene, output, model=tiny_model, min_area=0, simplify=0, probability=True, local=True)


def test_the_interface_is_small_and_pinned() -> None:
    assert geoseg.__all__ == [
        "ConfigError",
        "GeosegError",
        "LoadedModel",
        "ModelError",
        "Run",
        "RunFolderError",
        "RunRecord",
        "SceneError",
        "StoppedError",
        "__version__",
        "export_run",
        "load_model",
        "map_scenes",
        "open_run",
        "train_model",
    ]
    assert len(geoseg.__all__) <= 20
    assert set(geoseg.__all__) <= set(dir(geoseg))


@pytest.mark.parametrize("name", geoseg.__all__)
def test_every_name_is_there_and_explained(name: str) -> None:
    value = getattr(geoseg, name)
    assert isinstance(value, str) or inspect.getdoc(value)


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'map_scene'"):
        geoseg.map_scene  # type: ignore[attr-defined]  # noqa: B018  # that is the point


def test_importing_geoseg_loads_and_changes_nothing(heavy_libraries: frozenset[str]) -> None:
    code = (
        "import json, os, sys; before = dict(os.environ); import geoseg; "
        "print(json.dumps([sorted(name for name in sys.modules if '.' not in name), dict(os.environ) == before]))"
    )
    loaded, unchanged = json.loads(python(code))
    assert not heavy_libraries & set(loaded)
    assert unchanged


def test_gdal_stays_as_the_caller_has_it(tmp_path: Path, scene: Path, tiny_model: Path) -> None:
    renamed = tmp_path / "program.tif"
    renamed.write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40"><VRTRasterBand dataType="Byte" band="1">'
        f"<SimpleSource><SourceFilename>{scene}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )
    code = (
        "import os, sys, rasterio\n"
        "from rasterio.env import Env\n"
        "vrt, scene, model, output = sys.argv[1:]\n"
        "with Env() as env: before = sorted(env.drivers())\n"
        "def ours(): return {key: os.environ[key] for key in os.environ if not key.startswith('TORCH')}\n"
        "environment = ours()\n"
        "import geoseg\n"
        "assert geoseg.map_scenes(scene, output, model=model, local=True).status == 'complete'\n"
        "with Env() as env: assert sorted(env.drivers()) == before\n"
        "assert ours() == environment\n"
        "with rasterio.open(vrt) as mine: assert mine.driver == 'VRT'\n"
        "try: geoseg.map_scenes(vrt, output + '-2', model=model, local=True)\n"
        "except geoseg.SceneError as error: print(error)\n"
    )
    assert "an XML document" in python(code, renamed, scene, tiny_model, tmp_path / "run")


@pytest.mark.parametrize(
    ("function", "name", "renamed", "command_only"),
    [
        (
            geoseg.map_scenes,
            "map",
            {"scene": "scenes", "run_path": "output", "model_name": "model"},
            {"dry_run", "no_probe", "as_json"},
        ),
        (geoseg.train_model, "train", {"config_file": "config"}, {"as_json"}),
        (geoseg.export_run, "export", {"kind": "format", "tile_px": "tile_size"}, set()),
    ],
)
def test_functions_take_what_their_commands_take(
    function: Callable[..., Any], name: str, renamed: dict[str, str], command_only: set[str]
) -> None:
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None
    config = str(Path(__file__).parents[1] / "configs" / "train_roads.yaml")
    words = {"train": ["--config", config], "map": ["scene.tif"], "export": ["RUN", "--format", "gpkg"]}[name]
    given = command.make_context(name, [*words, "-o", "output"]).params
    asked = {renamed.get(key, key): value for key, value in given.items() if key not in command_only}
    parameters = inspect.signature(function).parameters
    assert set(parameters) == set(asked)
    for key, parameter in parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert parameter.default == asked[key], key


def test_a_run_says_what_it_is(mapped: geoseg.Run[Path], scene: Path) -> None:
    assert mapped.status == "complete"
    assert not mapped.failed_blocks
    assert not mapped.warnings
    assert mapped.class_names == ("building", "road", "other")
    assert (mapped.grid.crs, mapped.grid.height, mapped.grid.width) == ("EPSG:32640", 40, 50)
    assert mapped.grid.transform == Affine(1, 0, 320000, 0, -1, 2770000)
    assert list(mapped.layers) == ["buildings", "roads", "road_lines", "road_nodes"]
    assert mapped.record.inputs[0].path == str(scene)
    for path in (*mapped.layers.values(), mapped.geopackage, mapped.class_raster, mapped.preview):
        assert path.is_file()
    assert json.loads((mapped.path / "run.json").read_text()) == mapped.record.to_json()


def test_arrays_are_read_from_the_mosaic(mapped: geoseg.Run[Path]) -> None:
    classes_hw = np.asarray(mapped.array()[...])
    probability_chw = np.asarray(mapped.array("probability")[...])
    assert classes_hw.shape == (40, 50)
    assert np.array_equal(probability_chw.max(axis=0), np.asarray(mapped.array("confidence")[...]))
    assert set(np.unique(classes_hw)) <= {0, 1, 2}


@pytest.mark.parametrize(("name", "level"), [("classes", 9), ("classes", -1), ("../..", 0), ("probability", 1)])
def test_arrays_that_are_not_there_are_refused(mapped: geoseg.Run[Path], name: Any, level: int) -> None:  # noqa: ANN401  # wrong types are the point
    with pytest.raises(geoseg.RunFolderError, match="has no array"):
        mapped.array(name, level)


def test_an_array_cannot_be_written(mapped: geoseg.Run[Path]) -> None:
    with pytest.raises(ValueError, match="read-only"):
        mapped.array()[0, 0] = 1


def test_function_and_command_write_the_same(
    mapped: geoseg.Run[Path], scene: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    options = ["--model", tiny_model, "--min-area", 0, "--simplify", 0, "--probability", "--local"]
    monkeypatch.setattr(sys, "argv", ["geoseg", "map", str(scene), "-o", str(output), *map(str, options)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    files = [file for file in mapped.path.rglob("*") if file.is_file() and file.name not in TELL_OF_TIMES]
    assert len(files) > 10
    for file in files:
        if file.suffix != ".npz":  # an archive that holds times
            assert (output / file.relative_to(mapped.path)).read_bytes() == file.read_bytes(), file
    ours, theirs = mapped.record.to_json(), geoseg.open_run(output).record.to_json()
    for record in (ours, theirs):
        del record["argv"], record["stages"]
    assert ours == theirs


def test_the_call_is_in_the_record(mapped: geoseg.Run[Path], scene: Path, tiny_model: Path) -> None:
    (call,) = mapped.record.argv
    assert call == (
        f"geoseg.map_scenes({str(scene)!r}, {str(mapped.path)!r}, model={str(tiny_model)!r}, probability=True, "
        "min_area=0, simplify=0, local=True)"
    )


def test_the_same_call_again_does_nothing(mapped: geoseg.Run[Path], scene: Path, tiny_model: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in mapped.path.rglob("*")}
    again = geoseg.map_scenes(
        [scene], str(mapped.path), model=str(tiny_model), min_area=0, simplify=0, probability=True, local=True
    )
    assert again.record == mapped.record
    assert {file: file.stat().st_mtime_ns for file in mapped.path.rglob("*")} == before


def test_torch_keeps_the_callers_threads(tmp_path: Path, scene: Path, tiny_model: Path) -> None:
    before = torch.get_num_threads()
    geoseg.map_scenes(scene, tmp_path / "run", model=tiny_model, local=True, threads_per_worker=before + 1)
    assert torch.get_num_threads() == before


def test_numbers_of_other_libraries_are_numbers(tmp_path: Path, scene: Path, tiny_model: Path) -> None:
    run = geoseg.map_scenes(
        scene,
        tmp_path / "run",
        model=tiny_model,
        bands=np.array([3, 2, 1]),  # type: ignore[arg-type]  # what people do
        tile_size=np.int64(32),  # type: ignore[arg-type]  # the same
        min_area=np.float32(3),  # type: ignore[arg-type]  # the same
        local=True,
    )
    assert set(run.record.layers.min_area_m2.values()) == {3}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": "nosuch"}, "no model is named 'nosuch'"),
        ({"bands": (1, 2)}, "--bands names 2"),
        ({"stretch": (9, 3)}, "LO below HI"),
        ({"stretch": "5"}, "expected a stretch"),
        ({"resolution": "coarse"}, "model, native, finest or metres"),
        ({"resolution": -1}, "0.0001 to 1000000 metres"),
        ({"tile_size": 4}, "tile size from 8 to 8192, got 4"),
        ({"tile_overlap": -2}, "tile overlap from 0, got -2"),
        ({"block_size": 700}, "multiple of the chunk size"),
        ({"min_area": -1}, "minimum area from 0, got -1"),
        ({"thresholds": {"other": 0.5}}, "CLASS=P with one of building, road and P from 0 to 1, got other=0.5"),
        ({"thresholds": {"road": 2}}, "P from 0 to 1, got road=2"),
        ({"simplify": float("nan")}, "simplification from 0, got nan"),
        ({"workers": 0}, "number of workers from 1, got 0"),
        ({"threads_per_worker": 0}, "number of threads from 1, got 0"),
        ({"memory": 0}, "memory from 1, got 0"),
        ({"precision": "fp64"}, "expected precision fp32, bf16 or fp16, got fp64"),
        ({"device": "tpu"}, "expected --device cpu, cuda or cuda:N"),
        ({"local": True, "workers": 2}, "--local is one worker"),
    ],
)
def test_bad_options_are_refused_in_words(
    options: dict[str, Any], words: str, tmp_path: Path, scene: Path, tiny_model: Path
) -> None:
    with pytest.raises(GeosegError, match=re.escape(words)) as refused:
        geoseg.map_scenes(scene, tmp_path / "run", **{"model": tiny_model, **options})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_no_scene_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(GeosegError, match=r"expected a SCENE: .* got none"):
        geoseg.map_scenes([], tmp_path / "run", model=tiny_model)
    assert not (tmp_path / "run").exists()


def test_a_doubtful_resolution_is_a_warning(tmp_path: Path, write_raster: WriteRaster, tiny_model: Path) -> None:
    coarse = write_raster(np.full((3, 30, 30), 90, np.uint8), transform=Affine(3, 0, 320000, 0, -3, 2770000))
    with pytest.warns(UserWarning, match="expect poor classes") as told:
        run = geoseg.map_scenes(coarse, tmp_path / "run", model=tiny_model, resolution="native", local=True)
    assert told[0].filename == __file__
    assert run.warnings == (str(told[0].message),)


def test_a_run_that_lacks_blocks_is_incomplete(tmp_path: Path, write_raster: WriteRaster, tiny_model: Path) -> None:
    image_chw = np.random.default_rng(1).integers(0, 256, (3, 1100, 300)).astype(np.uint8)
    scene = write_raster(image_chw, tiled=True, interleave="pixel", blockxsize=256, blockysize=256)
    os.truncate(scene, 300_000)
    run = geoseg.map_scenes(scene, tmp_path / "run", model=tiny_model, block_size=512, local=True)
    assert run.status == "incomplete"
    assert run.record.blocks.done < run.record.blocks.total == 3
    assert len(run.failed_blocks) == run.record.blocks.total - run.record.blocks.done
    assert "cut short or damaged" in run.failed_blocks[0].error
    jsonschema.validate(json.loads((run.path / "run.json").read_text()), published_schema())


def test_a_complete_record_fits_the_published_schema(mapped: geoseg.Run[Path]) -> None:
    jsonschema.validate(json.loads((mapped.path / "run.json").read_text()), published_schema())


def test_an_interrupted_record_fits_the_published_schema(
    tmp_path: Path, patchwork_scene: Path, tiny_model: Path
) -> None:
    code = (
        "import sys, geoseg, geoseg.api as api\n"
        "from geoseg import mapping\n"
        "from geoseg.runner import LocalRunner\n"
        "class Stopping(LocalRunner):\n"
        "    def run(self, job, units):\n"
        "        yield next(super().run(job, units))\n"
        "        raise KeyboardInterrupt\n"
        "mapping.LocalRunner = Stopping\n"
        "try: geoseg.map_scenes(sys.argv[1], sys.argv[2], model=sys.argv[3], block_size=512, local=True)\n"
        "except KeyboardInterrupt: print(geoseg.open_run(sys.argv[2]).status)\n"
    )
    assert python(code, patchwork_scene, tmp_path / "run", tiny_model) == "stopped\n"
    jsonschema.validate(json.loads((tmp_path / "run" / "run.json").read_text()), published_schema())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "expected a RUN folder with run.json"),
        ("{", "is damaged"),
        ("\udcff", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ("[]", "no record of this version"),
        ('{"version": 1}', "no record of this version of geoseg (version: Input should be 3)"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, content: str | None, words: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(geoseg.RunFolderError, match=re.escape(words)) as refused:
        geoseg.open_run(tmp_path)
    assert "\n" not in str(refused.value)


def test_training_refuses_in_words(tmp_path: Path) -> None:
    config = ROOT / "configs" / "train_mbrsc.yaml"
    for options, words in (
        ({"threads": 0}, "at least 1 thread"),
        ({"seed": -1}, "a seed from 0"),
        ({"data_root": tmp_path / "nosuch"}, "expected a folder as data root"),
    ):
        with pytest.raises(GeosegError, match=words):
            geoseg.train_model(config, tmp_path / "model", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_lines_of_the_readme_run(tmp_path: Path, scene: Path) -> None:
    if not (ROOT / "geoseg" / "bundled" / "mbrsc" / "card.json").is_file():
        pytest.skip("no bundled model in this checkout")
    (lines,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len([line for line in lines.splitlines() if line.strip()]) == 10
    shutil.copy(scene, tmp_path / "scene.tif")
    said = python(lines, cwd=tmp_path).splitlines()
    assert said[0].startswith("complete EPSG:32640 {'buildings': ")
    shares = [float(line.split()[-1]) for line in said[1:6]]
    assert sum(shares) == pytest.approx(1)
