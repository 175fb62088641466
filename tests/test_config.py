import tracemalloc
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from geoseg.config import TrainConfig, load_train_config
from geoseg.config.losses import LossConfig
from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS

ROOT = Path(__file__).parents[1]

VALID: dict[str, Any] = {
    "kind": "train",
    "name": "small",
    "description": "two classes",
    "licence": "CC0-1.0",
    "attribution": "nobody",
    "architecture": {"name": "unet", "width": 0.25},
    "imagery": {"bands": ["red"], "dtype": "uint8", "value_range": [0, 255], "ground_resolution_m": 1},
    "classes": [
        {"name": "building", "layer": "buildings", "kind": "thing", "color": "#aa0000"},
        {"name": "other", "layer": None, "kind": "stuff", "color": "#000000"},
    ],
    "label_values": {1: "building", 2: "other", 7: "other"},
    "ignore_values": [0],
    "data": [
        {"image": "a.tif", "labels": "a_label.tif", "split": "train"},
        {"image": "b.tif", "labels": "b_label.tif", "split": "val"},
    ],
    "training": {"iterations": 10, "validate_every": 5},
}


def load(tmp_path: Path, values: object) -> TrainConfig:
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_train_config(path)


def changed(*keys: str | int, value: object) -> dict[str, Any]:
    """The valid configuration with one value set."""
    values = deepcopy(VALID)
    section: Any = values
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    return values


def without(*keys: str | int) -> dict[str, Any]:
    values = deepcopy(VALID)
    section: Any = values
    for key in keys[:-1]:
        section = section[key]
    del section[keys[-1]]
    return values


def test_a_valid_file_becomes_frozen_values(tmp_path: Path) -> None:
    config = load(tmp_path, VALID)
    assert config.label_set().names == ("building", "other")
    assert config.label_ids() == {0: NODATA_CLASS, 1: 0, 2: 1, 7: 1}
    with pytest.raises(ValidationError, match="frozen"):
        config.training.__setattr__("lr", 1)


def test_later_keys_leave_the_content_of_older_configurations_as_it_was(tmp_path: Path) -> None:
    content = load(tmp_path, VALID).model_dump(mode="json")
    assert content["data"] == [{**entry, "region": None} for entry in VALID["data"]]
    assert not {"splits", "sampling"} & set(content)
    whole = {**VALID, "sampling": {"balance": "class"}, "splits": {"val": 0.2}}
    more = load(tmp_path, {**whole, "data": [{**entry, "weight": 2} for entry in VALID["data"]]})
    assert load(tmp_path, more.model_dump(mode="json")) == more
    assert more.sampling.balance == "class"


def test_entries_may_say_all_there_is_about_labels(tmp_path: Path) -> None:
    entry = {
        "image": "*.tif",
        "labels": {"building": "b.gpkg", "other": {"file": "o.gpkg", "width_m": 3, "where": {"paved": True}}},
        "split": "auto",
        "stretch": "2%,98%",
        "rest": "unknown",
    }
    config = load(tmp_path, without("label_values") | {"data": [entry], "ignore_values": []})
    assert config.data[0].stretch_limits() == ((2.0, 98.0), True)
    assert config.labelled_by(config.data[0]) == frozenset({"building", "other"})
    assert load(tmp_path, config.model_dump(mode="json")) == config


def test_every_training_config_of_the_project_is_valid() -> None:
    paths = sorted((ROOT / "configs").glob("train_*.yaml"))
    assert paths
    for path in paths:
        config = load_train_config(path)
        files = [source.image for source in config.data]
        for source in config.data:
            files += (
                [source.labels] if isinstance(source.labels, str) else [one.file for one in source.labels.values()]
            )
        files += [source.region.file for source in config.data if source.region is not None]
        # No config names a place on one machine.
        assert not any(Path(file).is_absolute() or ".." in Path(file).parts for file in files)


def test_the_bundled_model_is_trained_as_its_data_set_says() -> None:
    config = load_train_config(ROOT / "configs" / "train_mbrsc.yaml")
    assert config.label_set().names == ("building", "road", "vegetation", "water", "other")
    assert config.label_ids() == {0: NODATA_CLASS, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4}
    splits = {(Path(source.image).name, source.split) for source in config.data}
    assert splits == {
        ("t78_image.tif", "train"),
        ("t4_image.tif", "train"),
        ("t13_image.tif", "val"),
        ("t2_image.tif", "val"),
        # Crops of four cities, of which no test is made.
        ("[!cs]*.tif", "train"),
        ("claremont*.tif", "train"),
        ("t78_image.tif", "test"),
    }
    assert all(source.region is not None for source in config.data if "t78" in source.image)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (changed("training", "lr", value="fast"), r"training\.lr: expected a valid number.*got 'fast'"),
        (changed("training", "lr", value=-1), r"training\.lr: expected greater than 0, got -1"),
        (changed("training", "lr", value=float("nan")), r"training\.lr: expected .*got nan"),
        (
            changed("training", "optimizer", value="adam"),
            r"training\.optimizer: expected 'adamw' or 'sgd', got 'adam'",
        ),
        (changed("training", "learning_rate", value=1), r"training\.learning_rate: unknown key"),
        (changed("colour", value=1), "colour: unknown key"),
        (changed("training", "batchh", value=1), r"training\.batchh: unknown key, did you mean batch\?"),
        (changed("training", "augmentation", value={"flip": True}), r"flip: unknown key, did you mean flips\?"),
        (changed("clases", value=1), r"clases: unknown key, did you mean classes\?"),
        (
            changed("data", value=[{"image": "a", "labels": "b", "splitt": "val"}]),
            r"data\.0\.splitt: unknown key, did you mean split\?|data\.0\.split: expected a value",
        ),
        (changed("kind", value="map"), "kind: expected 'train', got 'map'"),
        (without("imagery", "bands"), r"imagery\.bands: expected a value, the key is missing"),
        (changed("imagery", "mean", value=[1]), "imagery: give both mean and std"),
        (changed("imagery", "value_range", value=[255, 0]), r"imagery: expected a value_range \[low, high\]"),
        (changed("imagery", "bands", value=["red", "red"]), "imagery: band names must differ"),
        (changed("classes", 0, "color", value="red"), r"classes\.0: color must be #rrggbb.*got 'red'"),
        (changed("classes", 0, "name", value="../x"), r"classes\.0: class name must be.*got '\.\./x'"),
        (changed("label_values", value={1: "building", 2: "house"}), r"label_values\.2: .*got 'house'"),
        (changed("label_values", value={1: "building"}), "label_values: no label value stands for other"),
        (changed("ignore_values", value=[1]), "ignore_values: 1 is in label_values too"),
        (changed("data", 0, "split", value="dev"), r"data\.0\.split: expected 'train', 'val', 'test' .*got 'dev'"),
        (changed("data", 1, "split", value="test"), "data: no entry has split: val"),
        (changed("data", 0, "split", value="val"), "data: no entry has split: train"),
        (changed("data", value=[]), "data: .*"),
        (
            changed("data", 0, "rest", value="grass"),
            r"data\.0\.rest: expected one of building, other, unknown",
        ),
        (changed("data", 0, "values", value={5: "house"}), r"data\.0\.values\.5: expected one of .*got 'house'"),
        (changed("data", 0, "labels", value={"house": "a"}), r"data\.0\.labels\.house: expected one of building"),
        (
            changed("data", 0, "labels", value={"other": {"file": "a", "widht_m": 2}}),
            r"data\.0\.labels\.other\.widht_m: unknown key, did you mean width_m\?",
        ),
        (
            changed("data", 0, "labels", value={"other": {"file": "a", "width_m": -2}}),
            r"data\.0\.labels\.other\.width_m: expected greater than 0, got -2",
        ),
        (changed("data", 0, "labels", value=3), r"data\.0\.labels: expected a valid string, got 3"),
        (changed("data", 0, "stretch", value="9,2"), r"data\.0: stretch: expected LO below HI"),
        (changed("data", 0, "weight", value=0), r"data\.0\.weight: expected greater than 0, got 0"),
        (changed("splits", value={"val": 0.5, "test": 0.5}), "splits: expected val and test of at most 0.9"),
        (changed("sampling", value={"balance": "clas"}), r"sampling\.balance: expected 'ground', 'class' or"),
        (
            without("label_values") | {"data": [{**one, "values": {1: "other"}} for one in VALID["data"]]},
            "no entry labels building",
        ),
        (changed("training", "loss", value={"cross_entropy": 0, "dice": 0}), r"training\.loss: .*nothing would be"),
        (changed("training", "loss", value={"dize": 1}), r"training\.loss\.dize: unknown key, did you mean dice\?"),
        (
            changed("training", "loss", value={"focal": {"gama": 1}}),
            r"training\.loss\.focal\.gama: unknown key, did you mean gamma\?",
        ),
        (changed("training", "loss", value={"top_k": {"share": 0}}), r"training\.loss\.top_k\.share: expected gre"),
        (changed("training", "loss", value={"class_weights": [1]}), r"class_weights: expected 2 numbers, one for"),
        (changed("architecture", "heads", value="sigmoid"), r"write loss: \{binary_cross_entropy: 1, dice: 1\}"),
        (changed("architecture", "overlapping", value=True), "architecture: overlapping: expected heads: sigmoid"),
        (
            changed("training", "crop_px", value=8),
            r"training\.crop_px: expected greater than or equal to 32, got 8",
        ),
        ([], "expected a mapping of keys to values, got list"),
        (None, "expected a mapping of keys to values, got NoneType"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_came(tmp_path: Path, values: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(tmp_path, values)
    assert "\n" not in str(caught.value)
    assert "train.yaml" in str(caught.value)


def test_further_problems_are_counted(tmp_path: Path) -> None:
    values = changed("training", "lr", value=0)
    values["training"]["batch"] = 0
    with pytest.raises(ConfigError, match=r"\(and 1 more\)"):
        load(tmp_path, values)


@pytest.mark.parametrize("text", ["a: [", "a: !!python/object/apply:os.system ['true']", "\tx", "a: b: c"])
def test_what_is_no_plain_yaml_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="expected YAML"):
        load_train_config(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_train_config(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="directory"):
        load_train_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_train_config(tmp_path / "latin.yaml")


# Hostile text

LAUGHS = "a: &a [ha, ha, ha, ha, ha, ha, ha, ha, ha]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{below}'] * 9)}]\n" for below, name in pairwise("abcdefghij")
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "at most 100000 values, aliases written out"),
        ("a: &a [*a]", "alias .a names no finished value"),
        ("a: *b", "alias .b names no finished value"),
        ("[" * 5000, "at most 32 levels of nesting"),
        ("a: " + "9" * 20000, "at most 10000 characters a value"),
        ("a: " + "9" * 5000, "expected YAML"),
        ("a: 2024-13-45", "month must be in 1..12"),
        ("# " + "x" * 2**20, "at most 1048576 characters"),
        ("a: !!python/object/apply:os.system [true]", "could not determine a constructor"),
    ],
    ids=["laughs", "cycle", "dangling", "nested", "long", "number", "date", "large", "object"],
)
def test_yaml_that_would_grow_or_run_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match=words) as refused:
            load_train_config(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(str(refused.value).splitlines()) == 1
    assert peak_bytes < 50 * 2**20


def test_anchors_that_stay_small_are_welcome(tmp_path: Path) -> None:
    first, second = yaml.safe_dump(VALID).split("- image: b.tif")
    text = first.replace("- image: a.tif", "- &first\n  image: a.tif") + "- <<: *first\n  split: val\n"
    path = tmp_path / "train.yaml"
    path.write_text(text + second.split("split: val\n")[1])
    config = load_train_config(path)
    assert [source.image for source in config.data] == ["a.tif", "a.tif"]
    assert [source.split for source in config.data] == ["train", "val"]


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(ConfigError, match="at most"):
        load_train_config(path)
    with pytest.raises(ConfigError, match="directory or device"):
        load_train_config(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({}, {"cross_entropy": 1.0, "dice": 1.0}),
        ({"label_smoothing": 0.1}, {"cross_entropy": 1.0, "dice": 1.0, "label_smoothing": 0.1}),
        ({"dice": 2, "focal": 0}, {"dice": 2.0}),
        ({"focal": {"gamma": 1}}, {"focal": {"weight": 1.0, "gamma": 1.0, "alpha": None}}),
        (
            {"lovasz": 1, "class_weights": "inverse_frequency"},
            {"lovasz": 1.0, "class_weights": "inverse_frequency"},
        ),
    ],
)
def test_a_loss_is_written_as_it_is_read(given: dict[str, object], written: dict[str, object]) -> None:
    loss = LossConfig.model_validate(given)
    assert loss.model_dump(mode="json") == written
    assert LossConfig.model_validate(written).terms == loss.terms
