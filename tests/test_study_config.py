"""A study as it is written: changes merged into configurations, and what is refused before anything runs."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from geoseg.config import load_train_config
from geoseg.config.study import differing_key, load_study, merged
from geoseg.errors import ConfigError

Write = Callable[..., Path]

BASE: dict[str, Any] = {
    "kind": "train",
    "name": "base",
    "description": "a base",
    "licence": "CC0-1.0",
    "attribution": "nobody",
    "architecture": {"name": "unet", "width": 0.125},
    "imagery": {"bands": ["red"], "dtype": "uint8", "value_range": [0, 255], "ground_resolution_m": 1},
    "classes": [
        {"name": "roof", "layer": "roofs", "kind": "thing", "color": "#ffffff"},
        {"name": "ground", "layer": None, "kind": "stuff", "color": "#000000"},
    ],
    "label_values": {1: "roof", 2: "ground"},
    "data": [{"image": f"{split}.tif", "labels": "l.tif", "split": split} for split in ("train", "val", "test")],
    "training": {"iterations": 10, "warmup": 5, "loss": {"cross_entropy": 1, "dice": 1}},
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a study beside its base."""

    def write(runs: object, change: object = None, base: dict[str, Any] = BASE, **keys: object) -> Path:
        (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
        said = {"kind": "study", "name": "s", "description": "d", "base": "base.yaml", "runs": runs, **keys}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(said if change is None else {**said, "change": change}, sort_keys=False))
        return path

    return write


@pytest.mark.parametrize(
    ("values", "change", "expected"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_changes_are_merged_as_the_rfc_has_it(
    values: dict[str, Any], change: dict[str, Any], expected: dict[str, Any]
) -> None:
    """The test cases of RFC 7386, appendix A, of mappings."""
    assert merged(values, change) == expected


TREES = st.recursive(
    st.none() | st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


@given(MAPPINGS, MAPPINGS)
def test_merging_twice_is_merging_once_and_changes_no_argument(
    values: dict[str, Any], change: dict[str, Any]
) -> None:
    before = copy.deepcopy((values, change))
    once = merged(values, change)
    assert merged(once, change) == once
    assert merged(values, {}) == values
    assert (values, change) == before


def test_runs_are_the_base_with_their_changes_and_without_its_test(write: Write) -> None:
    runs = {
        "plain": None,
        "long": {"training": {"iterations": 20, "warmup": None, "loss": {"dice": None}}},
        "wide": {"architecture": {"width": 0.25}},
    }
    study = load_study(write(runs, {"training": {"lr": 0.01}}))
    assert [run.name for run in study.runs] == [run.config.name for run in study.runs] == ["plain", "long", "wide"]
    assert study.left_out == ("test.tif",)
    for run in study.runs:
        assert [entry.split for entry in run.config.data] == ["train", "val"]
        assert run.config.training.lr == 0.01
    plain, long, wide = (run.config for run in study.runs)
    assert (plain.training.iterations, plain.training.warmup) == (10, 5)
    assert plain.training.loss.dice is not None
    assert (long.training.iterations, long.training.warmup, long.training.loss.dice) == (20, 0, None)
    assert wide.architecture is not None
    assert (wide.architecture.name, wide.architecture.width) == ("unet", 0.25)
    words = ["", "iterations 20, no warmup, no loss.dice", "architecture.width 0.25"]
    assert [run.differs for run in study.runs] == words
    assert differing_key(plain, plain.model_copy(update={"name": "other", "licence": "none"})) is None
    assert differing_key(plain, wide) == "architecture.width"
    assert differing_key(plain, long) == "training.iterations"


def test_what_a_run_is_trained_by_is_read_from_its_file_again(write: Write, tmp_path: Path) -> None:
    base = {key: value for key, value in BASE.items() if key not in ("architecture", "training")}
    study = load_study(write({"tuned": {"training": {"lr": 0.001}}}, base={**base, "start_from": "mbrsc"}))
    run = study.runs[0]
    # What is not said is filled in for fine-tuning, what is said stays, even where it is a default otherwise.
    assert (run.config.training.lr, run.config.training.batch) == (0.001, 8)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run.values))
    again = load_train_config(tmp_path / "run.yaml")
    again = again.model_copy(update={"training": again.training.for_fine_tuning()})
    assert differing_key(again, run.config) is None


@pytest.mark.parametrize(
    ("runs", "change", "words"),
    [
        ({"a": {"training": {"lrr": 1}}}, None, r"runs\.a: training\.lrr: unknown key, did you mean lr\?"),
        ({"a": {"training": {"lr": 0}}}, None, r"runs\.a: training\.lr: expected greater than 0, got 0"),
        ({"a": {}, "b": {"architecture": None}}, None, r"runs\.b: architecture: expected a value"),
        ({"A B": {}}, None, r"runs\.A B: expected a name of at most 63 lower-case letters"),
        ({"a": {"name": "b"}}, None, r"runs\.a\.name: a run is named by its key, remove it"),
        ({"a": {}}, {"name": "b"}, r"change\.name: each run has a name of its own"),
        ({}, None, r"runs: expected .*at least 1"),
        ([], None, r"runs: expected a valid dictionary, got \[\]"),
        ({"a": 3}, None, r"runs\.a: expected a valid dictionary, got 3"),
        ({"a": {}}, {"data": [{"image": "i", "labels": "l", "split": "auto"}]}, r"splits\.test: expected 0"),
        ({"a": {}}, {"data": [{"image": "i", "labels": "l", "split": "test"}]}, r"runs\.a: data: expected "),
    ],
)
def test_a_study_that_cannot_be_names_the_run_and_the_key(
    write: Write, runs: object, change: object, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        load_study(write(runs, change))
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("base", "words"),
    [
        ("gone.yaml", r"gone\.yaml: expected a readable YAML file"),
        ("study.yaml", r"study\.yaml: kind: expected train, got study"),
    ],
)
def test_a_study_without_a_base_is_refused(write: Write, base: str, words: str) -> None:
    path = write({"a": {}})
    path.write_text(path.read_text().replace("base.yaml", base))
    with pytest.raises(ConfigError, match=words):
        load_study(path)
