"""What a network begins from: the weights of a package, with a last layer for other classes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError, ModelError
from geoseg.models.package import load_package
from geoseg.train.start import Start, seeded

COLORS = {"building": "#aa0000", "road": "#777777", "other": "#000000", "water": "#0000aa"}


def config(model: str, *classes: str, **changes: Any) -> TrainConfig:  # noqa: ANN401  # sections of a configuration
    values: dict[str, Any] = {
        "kind": "train",
        "name": "tuned",
        "description": "a tuned model",
        "licence": "CC0-1.0",
        "attribution": "somebody",
        "start_from": model,
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [{"name": name, "layer": None, "kind": "stuff", "color": COLORS[name]} for name in classes],
        "label_values": dict(enumerate(classes, 1)),
        "data": [{"image": "a.tif", "labels": "b.tif", "split": split} for split in ("train", "val")],
    }
    return TrainConfig.model_validate({**values, **changes})


@pytest.mark.parametrize(
    "classes",
    [("building", "road", "other"), ("other", "building"), ("water", "road", "building", "other")],
)
def test_classes_of_the_same_name_keep_their_rows(
    tiny_model: Path, tmp_path: Path, classes: tuple[str, ...]
) -> None:
    start = Start.of(config(str(tiny_model), *classes), tmp_path)
    network = seeded(start, classes, 3)
    base = load_package(tiny_model)
    theirs, mine = base.build().state_dict(), network.state_dict()
    fresh = seeded(replace(start, base=None), classes, 3).state_dict()
    for name, tensor in mine.items():
        if not name.startswith("head."):
            assert torch.equal(tensor, theirs[name]), name
            continue
        assert len(tensor) == len(classes)
        for row, label in enumerate(classes):
            known = label in base.labels.names
            expected = theirs[name][base.labels.names.index(label)] if known else fresh[name][row]
            assert torch.equal(tensor[row], expected)
    assert network.training
    same = classes == base.labels.names
    assert same == all(
        mine[name].shape == theirs[name].shape and torch.equal(mine[name], theirs[name]) for name in mine
    )


def test_a_network_for_classes_may_go_on_to_tell_objects_apart(tiny_model: Path, tmp_path: Path) -> None:
    base = load_package(tiny_model)
    things = [
        {"name": label.name, "layer": label.layer, "kind": label.kind, "color": label.color}
        for label in base.labels.classes
    ]
    architecture = {"name": "unet_resnet18", "width": 0.125, "instances": True}
    names = base.labels.names
    start = Start.of(config(str(tiny_model), *names, classes=things, architecture=architecture), tmp_path)
    assert start.architecture == replace(base.card.architecture, instances=True)
    image_nchw = torch.rand(1, 3, 40, 40)
    with torch.inference_mode():
        found_nchw = seeded(start, names, 3).eval()(image_nchw)
        assert torch.equal(found_nchw[:, : len(names)], base.build().eval()(image_nchw))
    assert found_nchw.shape[1] == len(names) + 3


def test_the_image_is_normalized_as_the_weights_are_used_to(tiny_model: Path, tmp_path: Path) -> None:
    start = Start.of(config(str(tiny_model), "building", "other"), tmp_path)
    base = load_package(tiny_model).imagery
    finer = replace(base, mean=(0.0,) * 3, std=(1.0,) * 3, ground_resolution_m=0.3)
    assert start.normalization(finer) == replace(base, ground_resolution_m=0.3)
    assert start.normalization(replace(finer, dtype="uint16")) is None


def test_whose_work_it_stands_on_is_said(tiny_model: Path, tmp_path: Path) -> None:
    start = Start.of(config(str(tiny_model), "building", "other"), tmp_path)
    assert start.attribution == ("nobody", "trained further from the weights of tiny (CC0-1.0)")
    identity = load_package(tiny_model).identity
    assert start.history == {"start_from": {"model": "tiny", "identity": identity}}
    assert start.fingerprint == {"base": identity}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"imagery": {"bands": ["red"], "dtype": "uint8", "value_range": [0, 255], "ground_resolution_m": 1}},
            "imagery.bands: expected those of tiny, red, green, blue, in this order, got red",
        ),
        ({"architecture": {"name": "unet"}}, "architecture.name: expected that of tiny, unet_resnet18, got unet"),
        (
            {"architecture": {"name": "unet_resnet18", "width": 1}},
            "architecture.width: expected that of tiny, 0.125, got 1.0: leave architecture out",
        ),
    ],
)
def test_a_package_that_does_not_fit_is_refused(
    tiny_model: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Start.of(config(str(tiny_model), "building", "other", **changes), tmp_path)


def test_group_normalization_has_nothing_to_exchange(tmp_path: Path) -> None:
    network = {"name": "unet", "normalization": "group"}
    given = config("", "building", "other", start_from=None, architecture=network, training={"epochs": 1})
    assert Start.of(given, tmp_path).architecture.normalization == "group"
    asked = given.model_copy(update={"training": given.training.model_copy(update={"sync_batch_norm": True})})
    with pytest.raises(ConfigError, match="expected a network with batch normalization, got group"):
        Start.of(asked, tmp_path)


def test_a_package_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="expected a model package"):
        Start.of(config(str(tmp_path / "none"), "building", "other"), tmp_path)
