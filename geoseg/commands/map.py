"""`geoseg map`: a scene and a model to a mosaic and layers."""

import json
import os
import sys
from pathlib import Path
from typing import get_args

import click

from geoseg.briefing import briefing
from geoseg.catalog import DEFAULT_MODEL
from geoseg.commands.config_file import config_option
from geoseg.commands.place import RunPlace
from geoseg.config.map import MapConfig
from geoseg.errors import GeosegError
from geoseg.io.formats import VECTOR_FORMATS
from geoseg.io.gdal_environment import gdal_environment
from geoseg.io.place import Place
from geoseg.io.region import MergeRule
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import PercentStretch, Resolution, SceneOptions
from geoseg.layering import LayerFormat
from geoseg.layout import TileOptions
from geoseg.mapping import InputOptions, Resources, carry_out, plan_run
from geoseg.notation import layer_options, parse_band_files, parse_resolution, parse_stretch
from geoseg.outcome import Outcome, offsets_in_words
from geoseg.pipeline import nothing_to_do
from geoseg.plan import RunPlan
from geoseg.predict import Precision
from geoseg.probe import probe
from geoseg.progress import bounded_by


class _Resolution(click.ParamType[Resolution]):
    """model, native, finest or a number of metres."""

    name = "model|native|finest|METRES"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Resolution:
        """The value as it is, or metres."""
        try:
            return parse_resolution(value)
        except GeosegError as error:
            self.fail(str(error), param, ctx)


class _Stretch(click.ParamType[tuple[float, float] | PercentStretch]):
    """LO,HI in the scene's own numbers, or LO%,HI% as percentiles."""

    name = "LO,HI"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float] | PercentStretch:
        """A pair of values or of percentiles."""
        try:
            return parse_stretch(str(value))
        except GeosegError as error:
            self.fail(str(error), param, ctx)


class _Bands(click.ParamType[tuple[int, ...] | dict[str, str]]):
    """Band numbers, from 1, in the model's order; or the file of each band by its name."""

    name = "1,2,3|red=FILE,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...] | dict[str, str]:
        """Whole numbers, or files by band name."""
        if isinstance(value, dict):
            return value
        try:
            if "=" in str(value):
                return parse_band_files(str(value))
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected band numbers such as 1,2,3, got {value}", param, ctx)
        except GeosegError as error:
            self.fail(str(error), param, ctx)


class _Names(click.ParamType[tuple[str, ...]]):
    """Names, separated by commas."""

    name = "A,B"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:  # noqa: ARG002  # click's signature
        """The names, each once."""
        return tuple(dict.fromkeys(name.strip() for name in str(value).split(",") if name.strip()))


def _given(_ctx: click.Context, _param: click.Parameter, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """What was given, or None."""
    return words or None


@click.command("map")
@click.argument("scenes", metavar="SCENE...", nargs=-1)
@config_option(MapConfig)
@click.option(
    "-o",
    "--output",
    "run_path",
    required=True,
    type=RunPlace(),
    help="RUN folder, or s3://, gs:// or az://BUCKET/FOLDER.",
)
@click.option("--model", "model_name", default=DEFAULT_MODEL, show_default=True, help="Name or folder of a model.")
@click.option("--bands", type=_Bands(), help="Bands in the model's order, or a file for each (then no SCENE).")
@click.option("--assets", type=_Names(), metavar="KEY,KEY", help="STAC assets to read, by key or role. [by bands]")
@click.option("--stretch", type=_Stretch(), help="Values (or percentiles, 2%,98%) to map onto the model's range.")
@click.option("--resolution", type=_Resolution(), default="model", show_default=True, help="Ground resolution.")
@click.option("--crs", metavar="EPSG:N", help="CRS of the grid. [a scene's own, that of most, or UTM]")
@click.option("--align", is_flag=True, help="Put the grid's edges on whole multiples of its pixel.")
@click.option(
    "--merge",
    type=click.Choice(get_args(MergeRule)),
    default="nearest-centre",
    show_default=True,
    help="Which scene gives a pixel that several hold.",
)
@click.option("--skip-bad", is_flag=True, help="Go on without scenes that cannot be mapped.")
@click.option("--assume-crs", metavar="EPSG:N", help="CRS of a scene that has none.")
@click.option("--trust-vrt", is_flag=True, help="Read a .vrt, and the local rasters that it names.")
@click.option(
    "--aoi",
    metavar="FILE",
    help=f"Polygons to map within ({VECTOR_FORMATS}); the rest is nodata. [everything]",
)
@click.option("--tile-size", type=click.IntRange(8, 8192), metavar="PX", help="Side of a tile. [the model's]")
@click.option("--tile-overlap", type=click.IntRange(0), metavar="PX", help="Overlap of tiles. [the model's]")
@click.option(
    "--block-size", type=click.IntRange(1), metavar="PX", help="Side of a block of work. [by memory, workers]"
)
@click.option("--probability", is_flag=True, help="Keep the probability of every class.")
@click.option(
    "--min-area",
    multiple=True,
    callback=_given,
    metavar="M2|CLASS=M2",
    help="Leave out smaller objects, of all classes or of one; 0 keeps all.  [default: 20]",
)
@click.option(
    "--min-hole",
    multiple=True,
    callback=_given,
    metavar="M2|CLASS=M2",
    help="Fill smaller holes, where no layer has anything in them; 0 fills none. [as --min-area]",
)
@click.option(
    "--simplify",
    type=click.FloatRange(0),
    default=1,
    show_default=True,
    metavar="M",
    help="Simplify outlines by this much; 0 leaves them untouched.",
)
@click.option(
    "--smooth/--no-smooth", default=None, help="Smooth the staircase of pixels. [if outlines are simplified]"
)
@click.option(
    "--regularize/--no-regularize",
    default=None,
    help="Straight walls and right angles for buildings and other things. [if simplified]",
)
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="CLASS=P",
    help="Leave pixels of a class out of objects whose probability is below P; once for each class.",
)
@click.option("--classes", type=_Names(), metavar="A,B", help="Classes to write layers of. [all that have one]")
@click.option(
    "--network/--no-network",
    default=None,
    help="Roads as a network of lines and nodes, too. [where the model has a class road or roads]",
)
@click.option(
    "--format",
    "formats",
    type=_Names(),
    default="geojson,gpkg",
    show_default=True,
    metavar="A,B",
    help=f"What layers are written as: {', '.join(get_args(LayerFormat))}.",
)
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="[what the device multiplies best]")
@click.option("--workers", type=click.IntRange(1), help="Worker processes. [by cores or GPUs, and memory]")
@click.option("--threads-per-worker", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@click.option("--memory", type=click.IntRange(1), metavar="BYTES", help="Memory for all workers. [70% of all]")
@click.option("--address", metavar="auto|HOST:PORT", help="A running Ray cluster. [a local one of its own]")
@click.option("--local", is_flag=True, help="No Ray: one worker in this process.")
@click.option("--fresh", is_flag=True, help="Start the run in the folder over: what it wrote is deleted first.")
@click.option("--mixed-numerics", is_flag=True, help="Go on with what other hardware or threads began.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
@click.option("--no-probe", is_flag=True, help="Of a dry run: time no tiles, and estimate nothing from them.")
@click.option("--json", "as_json", is_flag=True, help="Print run.json (or the plan) as one document on stdout.")
def map_command(
    scenes: tuple[str, ...],
    run_path: Place,
    model_name: str,
    bands: tuple[int, ...] | dict[str, str] | None,
    assets: tuple[str, ...] | None,
    stretch: tuple[float, float] | PercentStretch | None,
    resolution: Resolution,
    crs: str | None,
    align: bool,
    merge: MergeRule,
    skip_bad: bool,
    assume_crs: str | None,
    trust_vrt: bool,
    aoi: str | None,
    tile_size: int | None,
    tile_overlap: int | None,
    block_size: int | None,
    probability: bool,
    min_area: tuple[str, ...] | None,
    min_hole: tuple[str, ...] | None,
    simplify: float,
    smooth: bool | None,
    regularize: bool | None,
    thresholds: tuple[str, ...],
    classes: tuple[str, ...] | None,
    network: bool | None,
    formats: tuple[str, ...],
    device: str | None,
    precision: Precision | None,
    workers: int | None,
    threads_per_worker: int,
    memory: int | None,
    address: str | None,
    local: bool,
    fresh: bool,
    mixed_numerics: bool,
    dry_run: bool,
    no_probe: bool,
    as_json: bool,
) -> None:
    """Map each SCENE: classes of every pixel, and layers of objects, into the RUN folder.

    A SCENE is a raster (a file, or at https, s3, gs or az), a folder, a glob, a STAC Item, Catalog or Collection,
    or a text file that lists them; several go on one grid.

    The same command again goes on where it stopped, or says that nothing is left to do. With other --min-area,
    --min-hole, --simplify, --smooth, --regularize, --threshold, --classes, --network or --format it keeps the
    mosaic and does only what follows from them. --min-area 0 --simplify 0 gives the exact outlines of the pixels.
    """
    if trust_vrt:
        # GDAL registers its drivers when it is first used, which is after this.
        os.environ.update(gdal_environment(trust_vrt=True))
    run = RunFolder(run_path)
    resources = Resources(device, precision, workers, threads_per_worker, memory, address, local)
    plan = plan_run(
        run,
        InputOptions(scenes, bands if isinstance(bands, dict) else None, assets, merge, skip_bad, aoi),
        model_name,
        SceneOptions(
            None if isinstance(bands, dict) else bands,
            stretch,
            resolution,
            crs,
            align,
            assume_crs,
            trust_vrt=trust_vrt,
        ),
        TileOptions(tile_size, tile_overlap, None if block_size is None else (block_size, block_size)),
        layer_options(
            min_area,
            simplify,
            classes,
            formats,
            thresholds,
            min_hole=min_hole,
            smooth=smooth,
            regularize=regularize,
            network=network,
        ),
        resources,
        probability=probability,
        fresh=fresh,
    )
    _show(plan, run_path, dry_run=dry_run, as_json=as_json)
    if dry_run:
        if not (no_probe or as_json):
            click.echo(f"takes    {probe(plan)}")
        return
    failed = False
    if fresh:
        _tell_what_goes(run)
    if not fresh and nothing_to_do(plan, run):
        click.echo(f"nothing left to do: {run_path} is complete", err=True)
    else:
        outcome = carry_out(plan, run, resources, sys.argv, fresh=fresh, mixed_numerics=mixed_numerics)
        _tell(outcome, run_path, len(plan.work))
        failed = bool(outcome.quarantined)
    if as_json:
        click.echo(json.dumps(run.record(), indent=2))
    if failed:
        raise SystemExit(1)


def _show(plan: RunPlan, run: Place, *, dry_run: bool, as_json: bool) -> None:
    if not (dry_run and as_json):
        for line in briefing(plan, run):
            click.echo(line, err=not dry_run)
    for warning in plan.warnings:
        click.echo(f"warning  {warning}", err=True)
    if dry_run and as_json:
        click.echo(json.dumps(plan.to_json(), indent=2))


def _tell_what_goes(run: RunFolder) -> None:
    names = ", ".join(path.name for path in run.results())
    click.echo(f"fresh    deletes {names or 'nothing'} in {run.path}", err=True)


def _tell(outcome: Outcome, run: Place, blocks: int) -> None:
    for output in outcome.outputs:
        features = "" if output["features"] is None else f"  {output['features']} features"
        click.echo(f"wrote    {run / output['path']}{features}", err=True)
    if outcome.instances is not None:
        click.echo(offsets_in_words(outcome.instances), err=True)
    bounded = bounded_by(outcome.stages)
    if bounded is not None:
        click.echo(bounded, err=True)
    for block, error in outcome.quarantined.items():
        click.echo(f"failed   block {block}: {error}", err=True)
    if outcome.quarantined:
        click.echo(
            f"incomplete: {len(outcome.quarantined)} of {blocks} block(s) failed and are nodata in {run}; "
            "mend what is wrong, then run the same command again to do just those",
            err=True,
        )
    else:
        copied = "" if isinstance(run, Path) else "copy the folder to a disk, and "
        files = f"{run / 'report.html'} in a browser, or {run / 'map.qgs'} in QGIS"
        click.echo(f"complete: {copied}open {files}", err=True)
