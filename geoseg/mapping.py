"""From what a user asks for to a run: what `geoseg map` and `geoseg.map_scenes` have in common."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, get_args

from geoseg.catalog import model_folder
from geoseg.errors import GeosegError
from geoseg.io.aoi import read_aoi
from geoseg.io.inputs import find_sources
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.region import MergeRule
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import PercentStretch, Resolution, SceneOptions
from geoseg.io.sources import SceneSource
from geoseg.io.survey import survey
from geoseg.layout import (
    TileOptions,
    choose_workers,
    lay_blocks,
    memory_budget,
    pass_bytes,
    worker_bytes,
)
from geoseg.models.package import load_package
from geoseg.outcome import Outcome
from geoseg.pipeline import map_scene
from geoseg.plan import (
    LayerFormat,
    LayerOptions,
    RunPlan,
    check_same_run,
)
from geoseg.predict import Numerics, Precision, choose_device, choose_precision
from geoseg.runner import LocalRunner, Runner
from geoseg.threads import torch_threads
from geoseg.tiling import BlockPlan

_GPU_BATCH = 8
"""Tiles in one forward pass on a GPU; a CPU is busy with one."""

_WARN_RATIO = 2.0
"""A grid this much coarser or finer than the model's imagery is warned about."""

_TILE_PX = (8, 8192)
"""Least and greatest side of a tile."""


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What is mapped.

    Attributes:
        sources: The scenes.
        merge: Which scene gives a pixel that several hold data at.
        skip_bad: Whether scenes that cannot be mapped are left out.
        aoi: A vector file with the area of interest; None to map all of the scenes.
    """

    sources: tuple[SceneSource, ...]
    merge: MergeRule = "nearest-centre"
    skip_bad: bool = False
    aoi: str | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run is computed on; it changes no class, and None leaves the choice to geoseg.

    Attributes:
        device: "cpu", "cuda" or "cuda:N".
        precision: Of the network's matrix products.
        workers: Worker processes.
        threads: CPU threads of each.
        memory: Bytes for all workers.
        address: A running Ray cluster.
        local: No Ray: one worker in this process.
    """

    device: str | None = None
    precision: Precision | None = None
    workers: int | None = None
    threads: int = 1
    memory: int | None = None
    address: str | None = None
    local: bool = False


def plan_run(
    run: RunFolder,
    inputs: InputOptions,
    model: str | os.PathLike[str],
    scene_options: SceneOptions,
    tile_options: TileOptions,
    layer_options: LayerOptions,
    resources: Resources,
    *,
    probability: bool,
    fresh: bool = False,
) -> RunPlan:
    """Decide a run, for its folder; reads the scenes' headers and the model, writes nothing.

    Args:
        run: The folder.
        inputs: What is mapped.
        model: Name or folder of a model.
        scene_options: How scenes are read.
        tile_options: Tiles and blocks.
        layer_options: Objects and features.
        resources: What it is computed on.
        probability: Whether the probabilities of all classes are kept.
        fresh: Whether the run that lies in the folder is to be started over, whatever it was.

    Raises:
        RunFolderError: The folder holds something else.
        GeosegError: Something cannot be done as asked.
    """
    _check(tile_options, layer_options, resources)
    existing = run.existing_plan()
    if fresh:
        existing = None
    if existing is not None and tile_options.block_px is None:
        # The blocks follow from the workers and the memory of the command that began the run; they stay.
        tile_options = replace(tile_options, block_px=_block_px(existing))
    plan = make_plan(inputs, model, scene_options, tile_options, layer_options, resources, probability=probability)
    if existing is not None:
        check_same_run(existing, plan, run.path)
    return plan


def make_plan(
    inputs: InputOptions,
    model_name: str | os.PathLike[str],
    scene_options: SceneOptions,
    tile_options: TileOptions,
    layer_options: LayerOptions,
    resources: Resources,
    *,
    probability: bool,
) -> RunPlan:
    """Decide a run, wherever it may go; reads the scenes' headers and the model, writes nothing.

    Raises:
        GeosegError: Something cannot be done as asked.
    """
    model_path = model_folder(model_name)
    model = load_package(model_path)
    found = survey(inputs.sources, model.imagery, scene_options, merge=inputs.merge, skip_bad=inputs.skip_bad)
    region, grid = found.region, found.region.grid
    chosen_device = choose_device(resources.device)
    numerics = Numerics(
        device=chosen_device,
        precision=choose_precision(resources.precision, chosen_device),
        threads=resources.threads,
        batch=1 if chosen_device == "cpu" else _GPU_BATCH,
    )
    height, width = grid.height, grid.width
    area = None if inputs.aoi is None else read_aoi(inputs.aoi, grid)
    if area is not None and not area.touched([scene.window for scene in region.scenes]).any():
        raise GeosegError(f"--aoi {inputs.aoi}: no scene lies in its polygons, they are in a gap between scenes")

    forward = pass_bytes(model, tile_options, numerics.batch)

    def bytes_of(blocks: BlockPlan) -> int:
        merged = len(region.scenes) > 1
        return worker_bytes(model, blocks, forward, probability=probability, merged=merged)

    # How many workers there can be follows from the smallest blocks, how large these may be from the workers.
    small = tile_options.block_px or (CHUNK_PX, CHUNK_PX)
    least = lay_blocks(height, width, model, replace(tile_options, block_px=small), covered=region.covered)
    asked = 1 if resources.local else resources.workers
    workers = choose_workers(asked, numerics, bytes_of(least), resources.memory)
    share = memory_budget(resources.memory) // workers
    blocks = lay_blocks(
        height,
        width,
        model,
        tile_options,
        covered=region.covered,
        workers=workers,
        fits=lambda plan: bytes_of(plan) <= share,
    )
    bytes_each = bytes_of(blocks)
    doubt = resolution_warning(max(grid.ground_resolution_m()), model.imagery.ground_resolution_m)
    plan = RunPlan(
        region=region,
        model_path=str(model_path.resolve()),
        model_name=model.card.name,
        model_identity=model.identity,
        labels=model.labels,
        imagery=model.imagery,
        blocks=blocks,
        probability=probability,
        layers=layer_options,
        numerics=numerics,
        workers=workers,
        worker_bytes=bytes_each,
        warnings=(*found.notes, *(() if doubt is None else (doubt,))),
        aoi=area,
        rows=found.rows,
        grid_rule=found.grid_rule,
    )
    # Classes that the model does not have are refused here, before anything is written.
    _ = plan.layer_classes
    return plan


def carry_out(
    plan: RunPlan,
    run: RunFolder,
    resources: Resources,
    argv: Sequence[str],
    *,
    fresh: bool = False,
    mixed_numerics: bool = False,
) -> Outcome:
    """Do what is left of a run, on Ray or in this process.

    Args:
        plan: The run, decided.
        run: Its folder.
        resources: What the plan was made for.
        argv: The command line or the call, for the record.
        fresh: Whether what a run left in the folder is removed first.
        mixed_numerics: Whether blocks may be computed on other numerics than those that are there.

    Raises:
        RunFolderError: The folder is in use, or cannot be written.
        InputChangedError: The scene is no longer the one that was planned.
        StoppedError: The disk is full or the cluster gone; the same again goes on.
    """
    with run.owned(), _runner(plan, resources) as ready, torch_threads(None):
        if fresh:
            run.clear()
        return map_scene(plan, run, ready, argv, mixed_numerics=mixed_numerics)


def resolution_warning(grid_m: float, model_m: float) -> str | None:
    """What to tell the user where a grid's ground resolution is far from the model's."""
    if 1 / _WARN_RATIO <= grid_m / model_m <= _WARN_RATIO:
        return None
    return (
        f"the model knows imagery of {model_m:g} m a pixel, this grid has {grid_m:.3g} m: expect poor classes, "
        "or leave out --resolution"
    )


def parse_resolution(value: object) -> Resolution:
    """model, native, finest, or a positive number of metres.

    Raises:
        GeosegError: It is none of them.
    """
    match value:
        case "model" | "native" | "finest":
            return value
    try:
        metres = float(str(value))
    except ValueError:
        raise GeosegError(f"expected a resolution of model, native, finest or metres, got {value}") from None
    if not 1e-4 <= metres <= 1e6:
        raise GeosegError(f"expected 0.0001 to 1000000 metres as resolution, got {value}")
    return metres


def parse_stretch(value: str | tuple[float, float] | PercentStretch) -> tuple[float, float] | PercentStretch:
    """LO,HI in the scene's own numbers, or LO%,HI% as percentiles; in text, or two numbers.

    Raises:
        GeosegError: It is neither, or LO is not below HI.
    """
    if isinstance(value, PercentStretch):
        value = f"{value.low}%,{value.high}%"
    parts = value.split(",") if isinstance(value, str) else [str(part) for part in value]
    percent = len(parts) == 2 and all(part.strip().endswith("%") for part in parts)
    try:
        low, high = (float(part.strip().removesuffix("%") if percent else part) for part in parts)
    except ValueError:
        raise GeosegError(f"expected a stretch LO,HI such as 200,3000 or 2%,98%, got {value}") from None
    if not -math.inf < low < high < math.inf or (percent and not (low >= 0 and high <= 100)):
        raise GeosegError(f"expected a stretch with LO below HI (and 0% to 100%), got {value}")
    return PercentStretch(low, high) if percent else (low, high)


def parse_band_files(text: str) -> dict[str, str]:
    """The file of each band of a scene from red=A.tif,green=B.tif,...

    Raises:
        GeosegError: A part is not NAME=FILE, or a name comes twice.
    """
    # What follows a comma without a name of its own belongs to the file before it.
    parts = re.split(r",(?=[\w ]+=)", text)
    pairs = [part.partition("=") for part in parts]
    files = {name.strip(): file for name, _, file in pairs}
    if len(files) < len(pairs) or not all(name and file for name, file in files.items()):
        raise GeosegError(f"expected a file for each band, red=A.tif,green=B.tif,..., got {text}")
    return files


def scene_sources(
    scenes: Sequence[str],
    files: Mapping[str, str] | None,
    model: str | os.PathLike[str],
    *,
    assets: tuple[str, ...] | None = None,
    trust_vrt: bool = False,
) -> tuple[SceneSource, ...]:
    """The scenes that a user names, one way or the other.

    Args:
        scenes: Files, folders, globs, lists, STAC documents.
        files: The file of each band of one scene, by the band's name, and then no `scenes`.
        model: Name or folder of a model, for its bands.
        assets: Keys or roles of STAC assets.
        trust_vrt: Whether .vrt files are scenes.

    Raises:
        GeosegError: Nothing or too much is named, or a document cannot be read.
    """
    if files is not None:
        if scenes:
            raise GeosegError("--bands with a file for each band is the scene: leave out SCENE")
        return (band_files(files, model),)
    if not scenes:
        raise GeosegError("expected a SCENE: a raster, a folder, a glob, a STAC document or a list, got none")
    bands = load_package(model_folder(model)).imagery.bands
    return tuple(find_sources(scenes, bands, assets=assets, trust_vrt=trust_vrt))


def band_files(files: Mapping[str, str], model: str | os.PathLike[str]) -> SceneSource:
    """A scene of one file for each band that a model knows.

    Raises:
        GeosegError: There is no such model, a band has no file, or a name is no band of the model.
    """
    bands = load_package(model_folder(model)).imagery.bands
    if set(files) != set(bands):
        raise GeosegError(f"expected --bands with a file for each of {', '.join(bands)}, got {', '.join(files)}")
    return SceneSource(tuple(files[band] for band in bands), given_as="--bands")


def parse_formats(names: Sequence[str]) -> tuple[LayerFormat, ...]:
    """Vector formats by their names.

    Raises:
        GeosegError: There is none, or one is not known.
    """
    formats: dict[str, LayerFormat] = {kind: kind for kind in get_args(LayerFormat)}
    unknown = [name for name in names if name not in formats]
    if unknown or not names:
        raise GeosegError(f"expected formats of {', '.join(formats)}, got {', '.join(unknown) or 'none'}")
    return tuple(formats[name] for name in names)


def _block_px(existing: dict[str, Any]) -> tuple[int, int] | None:
    """The block size of the plan that lies in a RUN folder; None where it says none."""
    mosaic = existing.get("mosaic")
    block_px = mosaic.get("block_px") if isinstance(mosaic, dict) else None
    match block_px:
        case [int(height_px), int(width_px)]:
            return height_px, width_px
    return None


def _check(tiles: TileOptions, layers: LayerOptions, resources: Resources) -> None:
    """Refuse what no run can have; the command line refuses most of it before."""
    if resources.local and (resources.address is not None or (resources.workers or 1) > 1):
        raise GeosegError("--local is one worker in this process: leave out --address and --workers")
    if resources.precision is not None and resources.precision not in get_args(Precision):
        raise GeosegError(f"expected precision fp32, bf16 or fp16, got {resources.precision}")
    limits = (
        ("tile size", tiles.tile_px, *_TILE_PX),
        ("tile overlap", tiles.overlap_px, 0, math.inf),
        ("block size", None if tiles.block_px is None else min(tiles.block_px), 1, math.inf),
        ("number of workers", resources.workers, 1, math.inf),
        ("number of threads", resources.threads, 1, math.inf),
        ("memory", resources.memory, 1, math.inf),
        ("minimum area", layers.min_area_m2, 0, math.inf),
        ("simplification", layers.simplify_m, 0, math.inf),
    )
    for name, value, least, most in limits:
        if value is not None and not (least <= value <= most and value < math.inf):
            words = f"from {least} to {most}" if most < math.inf else f"from {least}"
            raise GeosegError(f"expected a {name} {words}, got {value}")


def _runner(plan: RunPlan, resources: Resources) -> AbstractContextManager[Runner]:
    if resources.local:
        return nullcontext(LocalRunner())
    from geoseg.cluster.runner import RayRunner  # noqa: PLC0415  # Ray takes seconds to load; a loop needs none

    # With "cuda" each worker gets a device of its own; "cuda:1" names one that Ray must leave in sight.
    gpu = plan.numerics.device == "cuda"
    trust_vrt = any(part.trust_vrt for scene in plan.region.scenes for part in scene.parts)
    return RayRunner(plan.workers, resources.threads, gpu=gpu, address=resources.address, trust_vrt=trust_vrt)
