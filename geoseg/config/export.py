"""The configuration of an export: the options of `geoseg export` in a file."""

from typing import Annotated, Literal

from pydantic import Field

from geoseg.config.command import CommandConfig

_Text = Annotated[str, Field(min_length=1)]


class ExportConfig(CommandConfig):
    """An export; each key is the option of `geoseg export` of that name, null or no key leaves it as usual.

    Attributes:
        kind: Always "export".
        run: The folder of a finished run, from the working folder.
        output: A file, or a folder that exists; likewise.
        format: What is written.
        layer: Layers to write.
        force: Whether files that are there are replaced.
        tile_size: Of coco-panoptic: side of its PNGs in pixels.
        strict: Whether a run that lacks blocks is refused.
    """

    kind: Literal["export"]
    run: _Text
    output: _Text
    format: Literal[
        "geojson", "geojsonseq", "gpkg", "fgb", "parquet", "pmtiles", "cog", "instances", "coco-panoptic"
    ]
    layer: tuple[str, ...] | None = None
    force: bool | None = None
    tile_size: Annotated[int, Field(ge=16, le=16384)] | None = None
    strict: bool | None = None
