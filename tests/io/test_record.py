"""The record of a run and its published schema say the same."""

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from geoseg.io.record import RunRecord, published_schema, record_schema

RECORD: dict[str, Any] = {
    "version": 3,
    "status": "incomplete",
    "plan_hash": "0" * 64,
    "argv": ["geoseg", "map"],
    "inputs": [{"path": "scene.tif", "fingerprint": "1" * 64}],
    "scenes_left_out": [{"name": "empty.tif", "uri": "empty.tif", "reason": "it holds 0 bytes"}],
    "model": {"name": "tiny", "path": "tiny", "identity": "2" * 64},
    "grid": {"crs": "EPSG:32640", "transform": [1.0, 0.0, 3.0, 0.0, -1.0, 4.0], "height": 5, "width": 6},
    "classes": ["building", "other"],
    "layers": {
        "min_area_m2": {"building": 20.0},
        "min_hole_m2": {"building": 20.0},
        "simplify_m": 0.0,
        "smooth": False,
        "regularize": [],
        "network": False,
        "thresholds": {"building": 0.6},
        "classes": ["building"],
    },
    "blocks": {
        "total": 2,
        "done": 1,
        "skipped": 0,
        "quarantined": [{"block": "0-1", "error": "OSError: cut short"}],
    },
    "stages": {"mosaic": {"seconds": 1.5}},
    "outputs": [{"path": "mosaic.zarr", "format": "zarr", "features": None, "sha256": None}],
    "warnings": [],
    "versions": {"geoseg": "0.1.0"},
    "machine": {
        "system": "Linux",
        "workers": 1,
        "numerics": [
            {
                "device": "cpu",
                "precision": "fp32",
                "threads": 1,
                "batch": 1,
                "torch": "2.13.0",
                "kind": "AVX2",
                "blocks": 1,
            }
        ],
    },
}

OPTIONAL = {"scenes_left_out"}
"""Keys that records lack where there is nothing to say, and that earlier ones of the same version lack."""

BROKEN: dict[str, tuple[list[str | int], Any]] = {
    "another version": (["version"], 1),
    "no such status": (["status"], "finished"),
    "no hash": (["plan_hash"], "abc"),
    "an unknown key": (["secret"], 1),
    "an unknown key within": (["blocks", "lost"], 1),
    "a scene left out for no reason": (["scenes_left_out", 0], {"name": "a.tif", "uri": "a.tif"}),
    "fewer than no blocks": (["blocks", "done"], -1),
    "a grid without rows": (["grid", "height"], 0),
    "half a transform": (["grid", "transform"], [1.0, 0.0, 3.0]),
    "text for a number": (["stages", "mosaic", "seconds"], "soon"),
    "no sha256": (["outputs", 0, "sha256"], "?"),
}


def changed(path: list[str | int], value: object) -> dict[str, Any]:
    record = json.loads(json.dumps(RECORD))
    part = record
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return record


def test_the_published_schema_is_that_of_the_model() -> None:
    assert published_schema() == record_schema(), "run: python -m geoseg.io.record > geoseg/schemas/run.schema.json"


def test_the_published_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(published_schema())


def test_a_record_comes_back_as_it_was() -> None:
    assert RunRecord.model_validate(RECORD).to_json() == RECORD
    jsonschema.validate(RECORD, published_schema())


@pytest.mark.parametrize("what", BROKEN)
def test_model_and_schema_refuse_the_same(what: str) -> None:
    record = changed(*BROKEN[what])
    with pytest.raises(ValidationError):
        RunRecord.model_validate(record)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, published_schema())


@pytest.mark.parametrize("key", sorted(RECORD.keys() - OPTIONAL))
def test_every_other_key_is_required(key: str) -> None:
    record = {name: value for name, value in RECORD.items() if name != key}
    with pytest.raises(ValidationError):
        RunRecord.model_validate(record)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, published_schema())


@pytest.mark.parametrize("key", sorted(OPTIONAL))
def test_a_record_without_what_is_optional_comes_back_as_it_was(key: str) -> None:
    record = {name: value for name, value in RECORD.items() if name != key}
    assert RunRecord.model_validate(record).to_json() == record
    jsonschema.validate(record, published_schema())


def test_every_part_is_explained() -> None:
    schema = published_schema()
    parts = [schema, *schema["$defs"].values()]
    for part in parts:
        for name, described in part["properties"].items():
            assert "description" in described or "$ref" in described, name
