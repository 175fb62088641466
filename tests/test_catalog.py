"""Models by name and by folder."""

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from geoseg.catalog import load_model, model_folder, search_path
from geoseg.config.study import load_study
from geoseg.errors import ModelError

STUDY = Path(__file__).parents[1] / "configs" / "experiments" / "mbrsc.yaml"


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


def test_the_bundled_model_shows_the_study_that_its_recipe_follows_from() -> None:
    model = load_model("mbrsc")
    table: Any = model.card.training["study"]
    assert {row["run"] for row in table["rows"]} == {run.name for run in load_study(STUDY).runs}
    assert len(table["rows"]) >= 12
    for row in table["rows"]:
        assert set(row["iou"]) == set(model.labels.names)
        assert row["run"] in (model_folder("mbrsc") / "README.md").read_text()


@pytest.mark.parametrize(
    "seen",
    [
        np.eye(3),
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
    ids=["all cones", "protanopia", "deuteranopia", "tritanopia"],
)
def test_the_colour_blind_tell_the_classes_of_the_bundled_model_apart(seen: list[list[float]]) -> None:
    """By CIEDE2000 as Machado, Oliveira and Fernandes (2009) simulate what they see; 2 is just noticeable."""
    rgb = np.array([label.rgb for label in load_model("mbrsc").labels.classes]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    simulated = np.clip(linear @ np.array(seen).T, 0, 1)
    srgb = np.where(simulated <= 0.0031308, simulated * 12.92, 1.055 * simulated ** (1 / 2.4) - 0.055)
    for one, other in combinations(rgb2lab(srgb), 2):
        assert deltaE_ciede2000(one, other) > 20  # type: ignore[no-untyped-call]  # it has no types
