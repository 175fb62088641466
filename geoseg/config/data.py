"""Scenes with labels and their splits: sections of a configuration."""

from typing import Literal

from pydantic import Field

from geoseg.config.sections import Section

Split = Literal["train", "val", "test"]


class RegionConfig(Section):
    """Polygons that say which part of a raster a split owns.

    Attributes:
        file: GeoJSON, relative to the data root; its `crs` member is honoured.
        where: Properties, with the values that a feature must have to be taken; empty takes all.
    """

    file: str
    where: dict[str, str | int | float | bool | None] = Field(default_factory=dict)


class SourceConfig(Section):
    """One scene with its label raster.

    Attributes:
        image: The scene, relative to the data root.
        labels: The label raster, relative to the data root.
        split: Which split the region belongs to.
        region: The part of the scene that is used; all of it when not given.
    """

    image: str
    labels: str
    split: Split
    region: RegionConfig | None = None
