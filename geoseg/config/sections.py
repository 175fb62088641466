"""What all sections of a configuration share, and errors in them in words."""

import difflib
import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

CHOICE = "="
"""How the names of alternatives begin that pydantic lists among keys; they are none of the user's."""


def _described(schema: dict[str, Any], section: type[BaseModel]) -> None:
    """Put what a section's docstring says of each key into its schema, for editors to show."""
    text = inspect.getdoc(section) or ""
    schema["description"] = " ".join(text.partition("\n\n")[0].split())
    for base in reversed(section.__mro__):
        of_keys = (inspect.getdoc(base) or "").partition("Attributes:")[2]
        for key, words in re.findall(r"^ {4}(\w+): (.+(?:\n {8}.+)*)", of_keys, re.MULTILINE):
            if key in schema.get("properties", {}):
                schema["properties"][key]["description"] = " ".join(words.split())


class Section(BaseModel):
    """What all sections share: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_described)


def _keys_beside(whole: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one stands."""
    section = whole
    for part in place[:-1]:
        # What is no key of the section is a number in a list, or a name that the user gave.
        if isinstance(part, str) and part in section.model_fields:
            section = next(_sections(section.model_fields[part].annotation), section)
    return list(section.model_fields)


def _sections(annotation: object) -> Iterator[type[BaseModel]]:
    """The sections in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)


def explain(whole: type[BaseModel], error: ValidationError) -> str:
    """The first problem on one line, as `key: what was expected, got what came`, and how many more there are."""
    first, *others = error.errors(include_url=False)
    place = tuple(part for part in first["loc"] if not str(part).startswith(CHOICE))
    key = ".".join(str(part) for part in place)
    match first["type"]:
        case "extra_forbidden":
            nearest = difflib.get_close_matches(str(place[-1]), _keys_beside(whole, place), n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "remove it or correct its spelling"
            text = f"{key}: unknown key, {hint}"
        case "missing":
            text = f"{key}: expected a value, the key is missing"
        case "value_error":
            # Our own validators say what came, and where it is not the section itself.
            text = f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            came = repr(first["input"])
            text = f"{key}: expected {expected}, got {came if len(came) <= 80 else came[:77] + '...'}"
    return text if not others else f"{text} (and {len(others)} more)"
