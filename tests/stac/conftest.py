"""A validator that needs no network: pystac's own schemas, and those of extensions that lie here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pystac
import pytest
from pystac.stac_object import STACObjectType
from pystac.validation.stac_validator import JsonSchemaSTACValidator

SCHEMAS = Path(__file__).parent / "schemas"

Validate = Callable[[dict[str, Any]], list[str]]


class _Offline(pystac.StacIO):
    """Reads nothing, so that a schema that is missing is an error and not a download."""

    def read_text(self, source: object, *_: object, **__: object) -> str:
        raise AssertionError(f"asked for {source}")

    def write_text(self, dest: object, txt: str, *_: object, **__: object) -> None:
        raise AssertionError(f"would write {txt} to {dest}")


@pytest.fixture
def validate(monkeypatch: pytest.MonkeyPatch) -> Validate:
    """Validates an Item by the schemas of STAC and of all its extensions; gives their addresses, or raises."""
    monkeypatch.setattr(pystac.StacIO, "_default_io", _Offline)
    validator = JsonSchemaSTACValidator()
    for file in sorted(SCHEMAS.glob("*.json")):
        name, _, version = file.stem.partition("-")
        address = f"https://stac-extensions.github.io/{name}/{version}/schema.json"
        schema = json.loads(file.read_text())
        assert schema["$id"].rstrip("#") == address
        validator.schema_cache[address] = schema
    # MLM asks classification 1.1.0 what a class is; see schemas/README.md.
    classification = validator.schema_cache["https://stac-extensions.github.io/classification/v2.0.0/schema.json"]
    older = "https://stac-extensions.github.io/classification/v1.1.0/schema.json"
    validator.schema_cache[older] = {**classification, "$id": older}

    def check(item: dict[str, Any]) -> list[str]:
        read = pystac.Item.from_dict(item)
        assert (
            read.to_dict(include_self_link=False, transform_hrefs=False)["assets"].keys() == item["assets"].keys()
        )
        return validator.validate(item, STACObjectType.ITEM, item["stac_version"], item["stac_extensions"])

    return check
