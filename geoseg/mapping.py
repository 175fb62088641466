"""From what a user asks for to a run: what `geoseg map` and `geoseg.map_scenes` have in common."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from geoseg.catalog import model_folder
from geoseg.errors import GeosegError, RunFolderError, StoppedError
from geoseg.io.aoi import read_aoi
from geoseg.io.decoding import decoding
from geoseg.io.gdal_environment import GDAL_CACHE_MIB, gdal_environment
from geoseg.io.inputs import find_sources, of_band_files
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.place import is_in_store
from geoseg.io.pmtiles import check_pmtiles
from geoseg.io.reads import Reads
from geoseg.io.region import MergeRule
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import SceneOptions
from geoseg.io.sources import SceneSource
from geoseg.io.survey import survey
from geoseg.layering import LayerOptions
from geoseg.layout import (
    TileOptions,
    choose_workers,
    decode_threads,
    lay_blocks,
    memory_budget,
    pass_bytes,
    worker_bytes,
)
from geoseg.models.package import load_package
from geoseg.objects.grouping import Grouping
from geoseg.outcome import Outcome
from geoseg.pipeline import map_scene
from geoseg.plan import RunPlan, check_same_run
from geoseg.predict import Numerics, Precision, choose_device, choose_precision, tiles_at_once
from geoseg.runner import LocalRunner, Runner
from geoseg.threads import torch_threads
from geoseg.tiling import BlockPlan

_WARN_RATIO = 2.0
"""A grid this much coarser or finer than the model's imagery is warned about."""

_TILE_PX = (8, 8192)
"""Least and greatest side of a tile."""


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What is mapped.

    Attributes:
        scenes: Files, folders, globs, lists, STAC documents, at least one but where there are `band_files`.
        band_files: The file of each band of one scene, by the band's name, and then no `scenes`.
        assets: Keys or roles of the STAC assets to read; None to go by their bands.
        merge: Which scene gives a pixel that several hold data at.
        skip_bad: Whether scenes that cannot be mapped are left out.
        aoi: A vector file with the area of interest; None to map all of the scenes.
    """

    scenes: tuple[str, ...]
    band_files: Mapping[str, str] | None = None
    assets: tuple[str, ...] | None = None
    merge: MergeRule = "nearest-centre"
    skip_bad: bool = False
    aoi: str | None = None

    def sources(self, bands: tuple[str, ...], *, trust_vrt: bool) -> Sequence[SceneSource]:
        """The scenes, which are found by the names of a model's bands.

        Args:
            bands: The names.
            trust_vrt: Whether .vrt files of folders and globs are scenes.

        Raises:
            GeosegError: There are none, a document cannot be read, or `band_files` are not those of the bands.
        """
        if self.band_files is not None:
            found = [of_band_files(self.band_files, bands)]
        else:
            found = find_sources(self.scenes, bands, assets=self.assets, trust_vrt=trust_vrt)
        return [replace(source, files=tuple(map(_whole, source.files))) for source in found]


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
    _check(inputs, tile_options, layer_options, resources)
    try:
        existing = run.existing_plan()
    except StoppedError as error:  # an object store refuses, and nothing has begun
        raise RunFolderError(str(error)) from error
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
    sources = inputs.sources(model.imagery.bands, trust_vrt=scene_options.trust_vrt)
    found = survey(sources, model.imagery, scene_options, merge=inputs.merge, skip_bad=inputs.skip_bad)
    region, grid = found.region, found.region.grid
    elsewhere = resources.address is not None
    chosen_device = choose_device(resources.device, elsewhere=elsewhere)
    numerics = Numerics(
        device=chosen_device,
        precision=choose_precision(resources.precision, chosen_device),
        threads=resources.threads,
        batch=tiles_at_once(chosen_device),
        elsewhere=elsewhere,
    )
    height, width = grid.height, grid.width
    area = None if inputs.aoi is None else read_aoi(inputs.aoi, grid)
    if area is not None and not area.touched([scene.window for scene in region.scenes]).any():
        raise GeosegError(f"--aoi {inputs.aoi}: no scene lies in its polygons, they are in a gap between scenes")

    forward = pass_bytes(model, tile_options, numerics.batch)

    def bytes_of(blocks: BlockPlan, cache_mib: int = GDAL_CACHE_MIB) -> int:
        merged = len(region.scenes) > 1
        return worker_bytes(model, blocks, forward, probability=probability, merged=merged, cache_mib=cache_mib)

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
    # The usual cache is counted already; a larger one takes what the machine has to spare.
    reads = Reads.of(region, blocks)
    cache_mib = reads.cache_mib(GDAL_CACHE_MIB + max(0, share - bytes_of(blocks)) // 2**20)
    doubt = resolution_warning(max(grid.ground_resolution_m()), model.imagery.ground_resolution_m)
    plan = RunPlan(
        region=region,
        model_path=str(model_name) if is_in_store(str(model_name)) else str(model_path.resolve()),
        model_name=model.card.name,
        model_identity=model.identity,
        labels=model.labels,
        imagery=model.imagery,
        blocks=blocks,
        probability=probability,
        layers=layer_options,
        numerics=numerics,
        workers=workers,
        worker_bytes=bytes_of(blocks, cache_mib),
        reads=reads,
        cache_mib=cache_mib,
        warnings=(*found.notes, *(() if doubt is None else (doubt,))),
        aoi=area,
        rows=found.rows,
        grid_rule=found.grid_rule,
        grouping=(model.card.grouping or Grouping()) if model.card.architecture.instances else None,
    )
    # Classes that the model does not have are refused here, before anything is written.
    _ = plan.layering.classes, plan.layering.thresholds, plan.layering.cleaning, plan.layering.network
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
    with run.owned() as owned, _runner(plan, resources) as ready, torch_threads(None):
        if fresh:
            owned.clear()
        return map_scene(plan, owned, ready, argv, mixed_numerics=mixed_numerics)


def resolution_warning(grid_m: float, model_m: float) -> str | None:
    """What to tell the user where a grid's ground resolution is far from the model's."""
    if 1 / _WARN_RATIO <= grid_m / model_m <= _WARN_RATIO:
        return None
    return (
        f"the model knows imagery of {model_m:g} m a pixel, this grid has {grid_m:.3g} m: expect poor classes, "
        "or leave out --resolution"
    )


def _whole(path: str) -> str:
    """A file's path that means the same to workers, whose working folder may be another; all else as it is."""
    return str(Path(path).absolute()) if os.path.lexists(path) else path  # XML is too long a name for Path.exists


def _block_px(existing: dict[str, Any]) -> tuple[int, int] | None:
    """The block size of the plan that lies in a RUN folder; None where it says none."""
    mosaic = existing.get("mosaic")
    block_px = mosaic.get("block_px") if isinstance(mosaic, dict) else None
    match block_px:
        case [int(height_px), int(width_px)]:
            return height_px, width_px
    return None


def _check(inputs: InputOptions, tiles: TileOptions, layers: LayerOptions, resources: Resources) -> None:
    """Refuse what no run can have; the command line refuses most of it before."""
    if inputs.band_files is not None and inputs.scenes:
        raise GeosegError("--bands with a file for each band is the scene: leave out SCENE")
    if inputs.band_files is None and not inputs.scenes:
        raise GeosegError("expected a SCENE: a raster, a folder, a glob, a STAC document or a list, got none")
    if resources.local and (resources.address is not None or (resources.workers or 1) > 1):
        raise GeosegError("--local is one worker in this process: leave out --address and --workers")
    if "pmtiles" in layers.formats:
        check_pmtiles()
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
        ("minimum area of holes", layers.min_hole_m2, 0, math.inf),
        ("simplification", layers.simplify_m, 0, math.inf),
    )
    for name, value, least, most in limits:
        if value is not None and not (least <= value <= most and value < math.inf):
            words = f"from {least} to {most}" if most < math.inf else f"from {least}"
            raise GeosegError(f"expected a {name} {words}, got {value}")


@contextmanager
def _runner(plan: RunPlan, resources: Resources) -> Iterator[Runner]:
    threads = decode_threads(plan.numerics, plan.workers)
    if resources.local:
        with decoding(plan.cache_mib, threads):
            yield LocalRunner()
        return
    from geoseg.cluster.runner import RayRunner  # noqa: PLC0415  # Ray takes seconds to load; a loop needs none

    # With "cuda" each worker gets a device of its own; "cuda:1" names one that Ray must leave in sight.
    gpu = plan.numerics.device == "cuda"
    trust_vrt = any(part.trust_vrt for scene in plan.region.scenes for part in scene.parts)
    gdal = gdal_environment(trust_vrt=trust_vrt, cache_mib=plan.cache_mib, threads=threads)
    with RayRunner(plan.workers, resources.threads, gpu=gpu, address=resources.address, gdal=gdal) as runner:
        yield runner
