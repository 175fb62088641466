import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from geoseg.commands.models import models
from geoseg.models.package import load_package


@pytest.fixture
def shelf(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models that are searched, one of them damaged."""
    for name in ("whole", "damaged"):
        shutil.copytree(tiny_model, tmp_path / name)
    weights = tmp_path / "damaged" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    monkeypatch.setenv("GEOSEG_MODEL_PATH", str(tmp_path))
    return tmp_path


def test_models_are_listed_with_what_is_wrong_with_them(shelf: Path) -> None:
    said = json.loads(CliRunner().invoke(models, ["--json"], catch_exceptions=False).stdout)
    found = {model["name"]: model for model in said["models"]}
    card = load_package(shelf / "whole").card
    assert found["whole"] == {
        "name": "whole",
        "path": str(shelf / "whole"),
        "error": None,
        "description": card.description,
        "architecture": card.architecture.name,
        "bands": ["red", "green", "blue"],
        "ground_resolution_m": 1.0,
        "classes": ["building", "road", "other"],
        "meant_for_m": None,
        "miou": {},
        "calibration_error": {},
        "licence": "CC0-1.0",
    }
    assert "sha256 differs" in found["damaged"]["error"]
    assert said["default"] == "mbrsc"


def test_people_get_a_table(shelf: Path) -> None:
    lines = CliRunner().invoke(models, catch_exceptions=False).stdout.splitlines()
    assert lines[0].split() == [
        "name",
        "classes",
        "metres",
        "architecture",
        "val",
        "mIoU",
        "test",
        "mIoU",
        "where",
    ]
    row = next(line for line in lines if line.startswith("whole "))
    assert row.index("building, road, other") == lines[0].index("classes")
    assert row.endswith(str(shelf / "whole"))
    assert any(line.startswith("damaged: model package") for line in lines)
