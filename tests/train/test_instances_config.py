"""What a configuration says of objects, and what it is refused for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from geoseg.config import TrainConfig, load_train_config
from geoseg.errors import ConfigError
from geoseg.labelled_data import sources_of

WriteRaster = Callable[..., Path]

ENTRY = {"image": "scene.tif", "labels": "labels.tif", "split": "auto"}


def values(kind: str = "thing", **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # whatever a file may say
    content: dict[str, Any] = {
        "kind": "train",
        "name": "houses",
        "description": "houses",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet", "width": 0.25, "instances": True},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [
            {"name": "house", "layer": "houses", "kind": kind, "color": "#aa0000"},
            {"name": "other", "layer": None, "kind": "stuff", "color": "#000000"},
        ],
        "label_values": {1: "house", 2: "other"},
        "data": [ENTRY],
        "training": {"iterations": 10},
        "card": {},
    }
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    return content


def test_what_is_asked_for_and_what_it_is_called_in_a_fingerprint(tmp_path: Path) -> None:
    config = TrainConfig.model_validate(values(data=[{**ENTRY, "instances": "objects.tif"}]))
    assert config.things == (0,)
    plain = TrainConfig.model_validate(values(architecture={"instances": False}))
    # Older configurations keep the fingerprints that they had.
    assert "instances" not in json.dumps(plain.deciding())
    assert config.deciding()["data"][0]["instances"] == "objects.tif"
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"kind": "train", **config.model_dump(mode="json")}))
    assert load_train_config(tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "stuff"}, r"architecture\.instances: expected a class of kind thing .*write kind: thing"),
        (
            {"architecture": {"heads": "sigmoid", "overlapping": True}},
            "instances: expected classes that exclude each other, got overlapping ones",
        ),
        (
            {"training": {"augmentation": {"mixup": 0.2}}},
            r"training\.augmentation\.mixup: .* expected 0 with architecture\.instances",
        ),
        (
            {"architecture": {"instances": False}, "training": {"loss": {"offset": 1}}},
            r"training\.loss\.offset: it is for networks that tell objects apart",
        ),
        (
            {"architecture": {"instances": False}, "card": {"grouping": {"capture_px": 8}}},
            r"card\.grouping: expected architecture\.instances with it",
        ),
        ({"card": {"grouping": {"reach_px": 300}}}, "less than or equal to 256"),
        ({"training": {"loss": {"heat": 3, "dice": 0}}}, "expected a term with a weight above 0"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        TrainConfig.model_validate(values(**changes))


@pytest.fixture
def root(write_raster: WriteRaster) -> Path:
    """A scene, its class raster, a raster of objects, and a vector file."""
    values_hw = np.ones((1, 20, 20), np.uint8)
    folder = write_raster(np.zeros((3, 20, 20), np.uint8)).parent
    for name in ("labels.tif", "objects.tif"):
        write_raster(values_hw, name).rename(folder / name)
    (folder / "scenes").mkdir()
    write_raster(values_hw).rename(folder / "scenes" / "scene.tif")
    crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
    (folder / "houses.geojson").write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": []}))
    return folder


def of(root: Path, **entry: Any) -> list[str | None]:  # noqa: ANN401  # whatever an entry may say
    config = TrainConfig.model_validate(
        values(data=[{**ENTRY, "split": "val"}, {**ENTRY, "split": "train", **entry}])
    )
    return [source.instances for source in sources_of(config, root)]


def test_a_raster_of_objects_is_named_as_labels_are(root: Path) -> None:
    assert of(root, instances="objects.tif") == [None, str(root / "objects.tif")]
    assert of(root, instances="scenes") == [None, str(root / "scenes" / "scene.tif")]
    assert of(root, instances="scenes/{stem}.tif") == [None, str(root / "scenes" / "scene.tif")]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"instances": "nothing.tif"}, r"data\.1\.instances: expected a file, got nothing\.tif"),
        (
            {"instances": "objects.tif", "labels": {"house": "houses.geojson"}},
            r"data\.1\.instances: it goes with labels in a class raster, of these each feature is an object",
        ),
    ],
)
def test_a_raster_of_objects_that_cannot_be_is_named_by_its_key(
    root: Path, entry: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        of(root, **entry)
