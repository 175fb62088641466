"""What all parts of a model's card share: words, names and fractions that are safe to show."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


def _printable(text: str) -> str:
    # A card's words reach terminals and pictures: no control characters, no line breaks.
    if not text.isprintable():
        raise ValueError("expected one line of printable characters")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=4000), AfterValidator(_printable)]
"""One line of text."""

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""A name that is safe as the name of a folder."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A number from 0 to 1."""

Interval = tuple[Fraction, Fraction]
"""Least and greatest."""


class Part(BaseModel):
    """A part of the card: unknown keys are refused (in the dataclasses within, too), numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def without(values: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Dumped values without those that were added later and are at their defaults: old cards keep their words.

    Args:
        values: By key.
        later: Keys that were added, with their defaults.
    """
    return {name: value for name, value in values.items() if name not in later or value != later[name]}
