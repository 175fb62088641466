"""`geoseg map`: a scene and a model to a mosaic and layers."""

import os
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from geoseg.cluster.runner import RayRunner
from geoseg.errors import GeosegError
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import PercentStretch, Resolution, SceneOptions, describe_scene
from geoseg.models.package import find_model, load_package
from geoseg.pipeline import Outcome, map_scene, nothing_to_do
from geoseg.plan import (
    LayerOptions,
    RunPlan,
    TileOptions,
    check_same_run,
    choose_workers,
    lay_blocks,
    worker_bytes,
)
from geoseg.predict import Numerics, Precision, choose_device, choose_precision
from geoseg.runner import LocalRunner, Runner

DEFAULT_MODEL = "mbrsc"
"""The bundled model."""

_GPU_BATCH = 8
"""Tiles in one forward pass on a GPU; a CPU is busy with one."""

_WARN_RATIO = 2.0
"""A grid this much coarser or finer than the model's imagery is warned about."""


class _Resolution(click.ParamType[Resolution]):
    """model, native, finest or a number of metres."""

    name = "model|native|finest|METRES"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Resolution:
        """The value as it is, or metres."""
        match value:
            case "model" | "native" | "finest":
                return value
        try:
            metres = float(str(value))
        except ValueError:
            self.fail(f"expected model, native, finest or metres, got {value}", param, ctx)
        if not 0 < metres < float("inf"):
            self.fail(f"expected a positive number of metres, got {value}", param, ctx)
        return metres


class _Stretch(click.ParamType[tuple[float, float] | PercentStretch]):
    """LO,HI in the scene's own numbers, or LO%,HI% as percentiles."""

    name = "LO,HI"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float] | PercentStretch:
        """A pair of values or of percentiles."""
        parts = str(value).split(",")
        percent = len(parts) == 2 and all(part.strip().endswith("%") for part in parts)
        try:
            low, high = (float(part.strip().removesuffix("%") if percent else part) for part in parts)
        except ValueError:
            self.fail(f"expected LO,HI such as 200,3000 or 2%,98%, got {value}", param, ctx)
        if not low < high or (percent and not (low >= 0 and high <= 100)):
            self.fail(f"expected LO below HI (and 0% to 100%), got {value}", param, ctx)
        return PercentStretch(low, high) if percent else (low, high)


class _Bands(click.ParamType[tuple[int, ...]]):
    """Band numbers, from 1, in the model's order."""

    name = "1,2,3"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Whole numbers."""
        try:
            return tuple(int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"expected band numbers such as 1,2,3, got {value}", param, ctx)


@click.command("map")
@click.argument("scene")
@click.option("-o", "--output", "run_path", required=True, type=click.Path(path_type=Path), help="RUN folder.")
@click.option("--model", "model_name", default=DEFAULT_MODEL, show_default=True, help="Name or folder of a model.")
@click.option("--bands", type=_Bands(), help="The scene's bands in the model's order.")
@click.option("--stretch", type=_Stretch(), help="Values (or percentiles, 2%,98%) to map onto the model's range.")
@click.option("--resolution", type=_Resolution(), default="model", show_default=True, help="Ground resolution.")
@click.option("--assume-crs", metavar="EPSG:N", help="CRS of a scene that has none.")
@click.option("--tile-size", type=click.IntRange(8, 8192), metavar="PX", help="Side of a tile. [the model's]")
@click.option("--tile-overlap", type=click.IntRange(0), metavar="PX", help="Overlap of tiles. [the model's]")
@click.option("--block-size", type=click.IntRange(1), metavar="PX", help="Side of a block of work. [by scene size]")
@click.option("--probability", is_flag=True, help="Keep the probability of every class.")
@click.option(
    "--min-area",
    type=click.FloatRange(0),
    default=20,
    show_default=True,
    metavar="M2",
    help="Leave out smaller objects; 0 keeps all.",
)
@click.option(
    "--simplify",
    type=click.FloatRange(0),
    default=1,
    show_default=True,
    metavar="M",
    help="Simplify outlines by this much; 0 leaves them untouched.",
)
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--precision", type=click.Choice(["fp32", "bf16", "fp16"]), help="[what the device multiplies best]")
@click.option("--workers", type=click.IntRange(1), help="Worker processes. [by cores or GPUs, and memory]")
@click.option("--threads-per-worker", type=click.IntRange(1), default=1, show_default=True, help="CPU threads.")
@click.option("--memory", type=click.IntRange(1), metavar="BYTES", help="Memory for all workers. [70% of all]")
@click.option("--address", metavar="auto|HOST:PORT", help="A running Ray cluster. [a local one of its own]")
@click.option("--local", is_flag=True, help="No Ray: one worker in this process.")
@click.option("--dry-run", is_flag=True, help="Print the plan and write nothing.")
def map_command(
    scene: str,
    run_path: Path,
    model_name: str,
    bands: tuple[int, ...] | None,
    stretch: tuple[float, float] | PercentStretch | None,
    resolution: Resolution,
    assume_crs: str | None,
    tile_size: int | None,
    tile_overlap: int | None,
    block_size: int | None,
    probability: bool,
    min_area: float,
    simplify: float,
    device: str | None,
    precision: Precision | None,
    workers: int | None,
    threads_per_worker: int,
    memory: int | None,
    address: str | None,
    local: bool,
    dry_run: bool,
) -> None:
    """Map SCENE: classes of every pixel, and layers of objects, into the RUN folder.

    The same command again goes on where it stopped, or says that nothing is left to do.
    """
    if local and (address is not None or (workers or 1) > 1):
        raise GeosegError("--local is one worker in this process: leave out --address and --workers")
    run = RunFolder(run_path)
    existing = run.existing_plan()
    plan = make_plan(
        scene,
        model_name,
        SceneOptions(bands, stretch, resolution, assume_crs),
        TileOptions(tile_size, tile_overlap, block_size),
        LayerOptions(min_area, simplify),
        probability=probability,
        device=device,
        precision=precision,
        threads=threads_per_worker,
        workers=1 if local else workers,
        memory=memory,
    )
    if existing is not None:
        check_same_run(existing, plan, run_path)
    for line in plan.lines(run_path):
        click.echo(line, err=not dry_run)
    for warning in plan.warnings:
        click.echo(f"warning  {warning}", err=True)
    if dry_run:
        return
    if nothing_to_do(plan, run):
        click.echo(f"nothing left to do: {run_path} is complete", err=True)
        return
    runner: AbstractContextManager[Runner]
    if local:
        runner = nullcontext(LocalRunner())
    else:
        runner = RayRunner(plan.workers, threads_per_worker, gpu=plan.numerics.device != "cpu", address=address)
    with run.owned(), runner as ready:
        outcome = map_scene(plan, run, ready, sys.argv)
    _tell(outcome, run_path)
    if outcome.quarantined:
        raise SystemExit(1)


def make_plan(
    scene: str,
    model_name: str,
    scene_options: SceneOptions,
    tile_options: TileOptions,
    layer_options: LayerOptions,
    *,
    probability: bool,
    device: str | None,
    precision: Precision | None,
    threads: int,
    workers: int | None,
    memory: int | None,
) -> RunPlan:
    """Decide a run; reads the scene's header and the model, writes nothing.

    Raises:
        GeosegError: Something cannot be done as asked.
    """
    search = [Path(folder) for folder in os.environ.get("GEOSEG_MODEL_PATH", "").split(os.pathsep) if folder]
    model_path = find_model(model_name, search)
    model = load_package(model_path)
    ref = describe_scene(scene, model.imagery, scene_options)
    chosen_device = choose_device(device)
    numerics = Numerics(
        device=chosen_device,
        precision=choose_precision(precision, chosen_device),
        threads=threads,
        batch=1 if chosen_device == "cpu" else _GPU_BATCH,
    )
    blocks = lay_blocks(ref.grid.height, ref.grid.width, model, tile_options)
    bytes_each = worker_bytes(model, blocks, numerics.batch)
    warnings = []
    ratio = max(ref.grid.ground_resolution_m()) / model.imagery.ground_resolution_m
    if not 1 / _WARN_RATIO <= ratio <= _WARN_RATIO:
        warnings.append(
            f"the model knows imagery of {model.imagery.ground_resolution_m:g} m a pixel, this grid has "
            f"{ratio * model.imagery.ground_resolution_m:.3g} m: expect poor classes, or leave out --resolution"
        )
    return RunPlan(
        scene=ref,
        model_path=str(model_path.resolve()),
        model_name=model.card.name,
        model_identity=model.identity,
        labels=model.labels,
        imagery=model.imagery,
        blocks=blocks,
        probability=probability,
        layers=layer_options,
        numerics=numerics,
        workers=choose_workers(workers, numerics, bytes_each, memory),
        worker_bytes=bytes_each,
        warnings=tuple(warnings),
    )


def _tell(outcome: Outcome, run: Path) -> None:
    for output in outcome.outputs:
        features = "" if output["features"] is None else f"  {output['features']} features"
        click.echo(f"wrote    {run / output['path']}{features}", err=True)
    for block, error in outcome.quarantined.items():
        click.echo(f"failed   block {block}: {error}", err=True)
    if outcome.quarantined:
        click.echo(
            f"incomplete: {len(outcome.quarantined)} block(s) failed and are nodata in {run}; "
            "mend what is wrong, then run the same command again to do just those",
            err=True,
        )
    else:
        click.echo(
            f"complete: open {run / 'preview.png'} or drag {run / 'layers' / 'geoseg.gpkg'} into QGIS", err=True
        )
