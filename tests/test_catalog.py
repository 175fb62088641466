"""Models by name and by folder."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from geoseg.catalog import load_model, model_folder, search_path
from geoseg.errors import ModelError


@pytest.fixture
def shelf(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models that is searched, with one in it."""
    shelf = tmp_path / "shelf"
    shutil.copytree(tiny_model, shelf / "fieldwork")
    monkeypatch.setenv("GEOSEG_MODEL_PATH", f"{tmp_path / 'nosuch'}:{shelf}")
    return shelf


def test_names_are_found_in_the_folders_of_the_variable(shelf: Path) -> None:
    assert search_path() == (shelf.parent / "nosuch", shelf)
    assert model_folder("fieldwork") == shelf / "fieldwork"


def test_a_path_is_a_path_whatever_its_name(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shelf)
    assert model_folder(Path("fieldwork")).samefile(shelf / "fieldwork")
    assert model_folder("./fieldwork").samefile(shelf / "fieldwork")
    with pytest.raises(ModelError, match="expected a model package"):
        model_folder(Path("mbrsc"))


def test_a_misspelt_name_gets_the_nearest_one(shelf: Path) -> None:
    with pytest.raises(ModelError, match=r"no model is named 'feildwork'.*did you mean fieldwork\?"):
        load_model("feildwork")


def test_a_loaded_model_says_what_it_is(shelf: Path) -> None:
    model = load_model("fieldwork")
    assert model.card.name == "tiny"
    assert model.labels.names == ("building", "road", "other")


def test_the_bundled_model_is_the_one_that_won_on_validation() -> None:
    card = load_model("mbrsc").card
    comparison: Any = card.training["comparison"]
    rows = {row["architecture"]["name"]: row for row in comparison["rows"]}
    assert set(rows) == {"unet_resnet18", "deeplabv3plus_resnet18"}
    winner = max(rows, key=lambda name: rows[name]["val_miou"])
    assert comparison["winner"] == winner == card.architecture.name
    assert rows[winner]["val_miou"] == card.metrics["val"].miou
