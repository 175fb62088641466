"""`geoseg export`: the layers of a finished run, its class raster or its segments, as other files."""

from pathlib import Path
from typing import get_args

import click

from geoseg.commands.config_file import config_option
from geoseg.commands.place import DiskPath, RunPlace
from geoseg.config.export import ExportConfig
from geoseg.export import export as export_run
from geoseg.io.place import Place
from geoseg.io.run_folder import RunFolder
from geoseg.layering import LayerFormat
from geoseg.notation import parse_export_format


@click.command("export")
@click.argument("run", metavar="RUN", type=RunPlace())
@config_option(ExportConfig)
@click.option(
    "--format",
    "kind",
    required=True,
    type=click.Choice([*get_args(LayerFormat), "cog", "instances", "coco-panoptic"]),
    help="What to write.",
)
@click.option("-o", "--output", required=True, type=DiskPath(), help="File, or a folder that exists.")
@click.option("--layer", "layers", multiple=True, metavar="NAME", help="Layer to write; may be repeated. [all]")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@click.option(
    "--tile-size",
    "tile_px",
    type=click.IntRange(16, 16384),
    metavar="PX",
    help="Of coco-panoptic: side of its PNGs, into which a larger region is cut. [8192]",
)
@click.option("--strict", is_flag=True, help="Refuse a run that lacks blocks.")
def export(
    run: Place,
    kind: str,
    output: Path,
    layers: tuple[str, ...],
    force: bool,
    tile_px: int | None,
    strict: bool,
) -> None:
    """Write the layers of RUN, a finished run, in another format, without its model.

    A geojson, geojsonseq, fgb or parquet file holds one layer: choose it with --layer, or give a folder, which gets
    a file for each. gpkg and pmtiles hold all; cog is the class raster, instances a raster of the objects of
    things, numbered from 1 on. coco-panoptic is a folder of its own: panoptic.json, and PNGs in panoptic/, in which
    each object of a thing is a segment, and each class of stuff.
    """
    done = export_run(
        RunFolder(run),
        output,
        parse_export_format(kind),
        layers,
        force=force,
        strict=strict,
        tile_px=tile_px,
    )
    for one in done.files:
        features = "" if one.features is None else f"  {one.features} features"
        click.echo(f"wrote    {one.path}{features}", err=True)
    if done.incomplete is not None:
        click.echo(done.incomplete, err=True)
