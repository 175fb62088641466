"""What is said and drawn of a data set."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from affine import Affine
from click.testing import CliRunner, Result
from PIL import Image

from geoseg.commands.inspect import inspect

WriteRaster = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path, write_raster: WriteRaster) -> Path:
    """A data set of two scenes apart; the root is the folder of its configuration."""
    rng = np.random.default_rng(0)
    data = []
    for number, split in enumerate(("train", "val")):
        labels_hw = rng.integers(1, 3, (4, 5)).repeat(20, 0).repeat(20, 1).astype(np.uint8)
        image_chw = (np.stack([labels_hw * 90] * 3) + rng.integers(0, 9, (3, 80, 100))).astype(np.uint8)
        transform = Affine(1, 0, 320000 + 500 * number, 0, -1, 2770000)
        for name, pixels in (("image", image_chw), ("labels", labels_hw[None])):
            write_raster(pixels, f"{split}_{name}.tif", transform=transform).rename(
                tmp_path / f"{split}_{name}.tif"
            )
        data.append({"image": f"{split}_image.tif", "labels": f"{split}_labels.tif", "split": split})
    content = {
        "kind": "train",
        "name": "tiny",
        "description": "for tests",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet_resnet18", "width": 0.125},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1.0,
        },
        "classes": [
            {"name": "dark", "layer": None, "kind": "stuff", "color": "#101010"},
            {"name": "light", "layer": "lights", "kind": "thing", "color": "#f0f0f0"},
        ],
        "label_values": {1: "dark", 2: "light"},
        "data": data,
        "training": {"crop_px": 32, "batch": 2, "iterations": 2, "validate_every": 2},
    }
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(inspect, list(map(str, arguments)))


def test_a_data_set_is_counted_and_drawn(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen"
    result = run(config, "--data-root", tmp_path, "-o", folder)
    assert result.exit_code == 0, result.output
    assert "problems none found" in result.output
    said = json.loads((folder / "data.json").read_text())
    assert said["problems"] == []
    assert sum(said["splits"]["train"]["pixels"].values()) == 80 * 100 == said["splits"]["train"]["data_px"]
    assert [scene["crs"] for scene in said["scenes"]] == ["EPSG:32640"] * 2
    assert said["scenes"][0]["size_px"] == [80, 100]
    for name in ("classes.png", "contact_sheet.png"):
        with Image.open(folder / name) as picture:
            assert min(picture.size) > 200
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(config, "--data-root", tmp_path, "-o", folder).exit_code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_pictures_go_to_the_current_folder_but_not_those_of_a_check(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert run(config, "--data-root", tmp_path, "--check").exit_code == 0
    assert set(tmp_path.iterdir()) == before
    assert run(config, "--data-root", tmp_path).exit_code == 0
    assert {path.name for path in set(tmp_path.iterdir()) - before} == {"data.inspect"}


def test_a_check_fails_and_says_where(config: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(config.read_text())
    content["label_values"] = {1: "dark", 3: "light"}
    config.write_text(yaml.safe_dump(content))
    result = run(config, "--data-root", tmp_path, "--check", "--json")
    assert result.exit_code == 3
    said = json.loads(result.stdout)
    assert any("rows 0 to 80" in one["where"] and "label value 2" in one["what"] for one in said["problems"])
    # What is wrong is said without --check too, and is no error there: the pictures show what there is.
    folder = tmp_path / "seen"
    result = run(config, "--data-root", tmp_path, "-o", folder)
    assert result.exit_code == 0
    assert "label value 2" in result.output
    assert (folder / "classes.png").exists()


def test_options_of_data_sets_are_refused_elsewhere(tiny_model: Path) -> None:
    result = run(tiny_model, "--check")
    assert result.exit_code == 1
    assert "is a model" in str(result.exception)
