"""What a model's card says and its training does not decide: a section of a configuration."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from geoseg.config.sections import Positive, Section

_LONGEST = 4000


def _line(text: str) -> str:
    # A card's words are a line each, however the file breaks them.
    text = " ".join(text.split())
    if not text or not text.isprintable() or len(text) > _LONGEST:
        raise ValueError(f"expected 1 to {_LONGEST} printable characters, got {len(text)}: {text[:40]!r}")
    return text


Words = Annotated[str, AfterValidator(_line)]
"""Words for the card, brought to one line."""


class AgreementConfig(Section):
    """Two annotations of the same ground.

    Attributes:
        first: A label raster that an entry of `data` names as its labels.
        second: Another one of the same ground, in the same values, relative to the data root.
    """

    first: Annotated[str, Field(min_length=1)]
    second: Annotated[str, Field(min_length=1)]


class TileConfig(Section):
    """How large a piece the network is given at once in maps and evaluations, unless the user says otherwise.

    Attributes:
        size_px: Side of a square tile, in pixels of the model's imagery.
        overlap_px: What neighbouring tiles share. Less of it maps faster, and with less context at their edges.
    """

    size_px: Annotated[int, Field(ge=8, le=8192)] = 512
    overlap_px: Annotated[int, Field(ge=0)] = 128

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.overlap_px >= self.size_px:
            raise ValueError(f"overlap_px: expected less than size_px, {self.size_px}, got {self.overlap_px}")
        return self


class GroupingConfig(Section):
    """How the objects of a model with an instance branch are told apart; what is left out stays usual.

    Attributes:
        least_heat: From 0 to 1: where the heat map is below it there is no centre.
        suppress_px: A centre is the hottest pixel within this distance, in pixels of the model's imagery.
        reach_px: How far a pixel's centre may be, by rows and by columns; offsets are cut to it.
        capture_px: How far from a centre an offset may end and still be a vote for it.
    """

    least_heat: Annotated[float, Field(gt=0, le=1)] | None = None
    suppress_px: Annotated[int, Field(ge=0, le=64)] | None = None
    reach_px: Annotated[int, Field(ge=0, le=256)] | None = None
    capture_px: Annotated[int, Field(ge=0, le=128)] | None = None


class CardConfig(Section):
    """What the model is meant for, how maps are made with it, and what two annotators agree on.

    Attributes:
        ground_resolution_m: Least and greatest ground length of a scene's pixel that the model is meant for.
        places: Where it is meant for.
        not_for: What it is no good for.
        notes: What else there is to say.
        tile: The pieces that maps and evaluations are made of; the validations of a training always have 512 px
            with 128 px shared.
        grouping: Of a model with an instance branch: how its objects are told apart.
        agreement: Two annotations that are compared when training ends, as a ceiling for the scores.
    """

    ground_resolution_m: tuple[Positive, Positive] | None = None
    places: Words | None = None
    not_for: tuple[Words, ...] = ()
    notes: Words | None = None
    tile: TileConfig = TileConfig()
    grouping: GroupingConfig | None = None
    agreement: AgreementConfig | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.ground_resolution_m is not None and self.ground_resolution_m[0] > self.ground_resolution_m[1]:
            raise ValueError(
                f"ground_resolution_m: expected [least, greatest], got {list(self.ground_resolution_m)}"
            )
        return self
