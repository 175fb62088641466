"""The commands from Python: each function does what its command does, and takes the same options."""

import inspect
import operator
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from geoseg.catalog import DEFAULT_MODEL
from geoseg.config.options import TrainOptions, WorkerOptions
from geoseg.errors import GeosegError
from geoseg.export import export
from geoseg.io.place import disk_path, parse_place
from geoseg.io.region import MergeRule
from geoseg.io.run_folder import RunFolder
from geoseg.io.scene import Resolution, SceneOptions
from geoseg.layout import TileOptions
from geoseg.mapping import InputOptions, Resources, carry_out, plan_run
from geoseg.models.package import LoadedModel, load_package
from geoseg.notation import data_arguments, layer_options, parse_export_format, parse_resolution, parse_stretch
from geoseg.pipeline import nothing_to_do
from geoseg.predict import Precision
from geoseg.run import Run, open_run
from geoseg.training import train_package

PathLike = str | os.PathLike[str]
"""A path, as text or `pathlib.Path`."""


def map_scenes(
    scenes: PathLike | Sequence[PathLike] | Mapping[str, PathLike],
    output: PathLike,
    *,
    model: PathLike = DEFAULT_MODEL,
    bands: Sequence[int] | None = None,
    assets: Sequence[str] | None = None,
    stretch: str | tuple[float, float] | None = None,
    resolution: Resolution = "model",
    crs: str | None = None,
    align: bool = False,
    merge: MergeRule = "nearest-centre",
    skip_bad: bool = False,
    assume_crs: str | None = None,
    trust_vrt: bool = False,
    aoi: PathLike | None = None,
    tile_size: int | None = None,
    tile_overlap: int | None = None,
    block_size: int | None = None,
    probability: bool = False,
    min_area: float | Mapping[str, float] | None = None,
    simplify: float = 1,
    min_hole: float | Mapping[str, float] | None = None,
    smooth: bool | None = None,
    regularize: bool | None = None,
    thresholds: Mapping[str, float] | Sequence[str] = (),
    classes: Sequence[str] | None = None,
    network: bool | None = None,
    formats: Sequence[str] = ("geojson", "gpkg"),
    device: str | None = None,
    precision: Precision | None = None,
    workers: int | None = None,
    threads_per_worker: int = 1,
    memory: int | None = None,
    address: str | None = None,
    local: bool = False,
    fresh: bool = False,
    mixed_numerics: bool = False,
) -> Run[Any]:
    """Map scenes to classes and layers of objects; the same as `geoseg map`, option by option.

    The same call again goes on where it stopped, and does nothing when the run is complete. Progress goes to
    stderr. What is doubtful about a run is a `UserWarning`, and stays in `Run.warnings`.

    Args:
        scenes: A raster (a file, or at an address), a folder, a glob, a STAC document, a text file that lists them,
            or a sequence of these, on one grid; or, for one scene, the file of each band by the band's name.
        output: The RUN folder; also s3://, gs:// or az://BUCKET/FOLDER.
        model: Name or folder of a model.
        bands: The scene's bands, from 1, in the model's order; by default by colour interpretation, else order.
        assets: Keys or roles of the STAC assets to read; by default by their bands.
        stretch: Values that become the ends of the model's range, (low, high), or percentiles, "2%,98%".
        resolution: "model" (unless the scene's own is within 1.25 times of it), "native", "finest" or metres.
        crs: CRS of the grid, such as "EPSG:32640"; by default the scene's own, of several that of most (or the
            UTM zone of their middle where that counts degrees).
        align: Put the grid's edges on whole multiples of its pixel.
        merge: Which scene gives a pixel that several hold data at: "nearest-centre", "latest" or "first".
        skip_bad: Go on without scenes that cannot be mapped.
        assume_crs: CRS of a scene that has none, such as "EPSG:32640".
        trust_vrt: Read a .vrt, and the local rasters that it names.
        aoi: A vector file with polygons to map within, in any CRS; the rest is nodata. By default all is mapped.
        tile_size: Side of a tile in pixels; by default the model's.
        tile_overlap: What neighbouring tiles share, in pixels; by default the model's.
        block_size: Side of a block of work in pixels, a multiple of 512.
        probability: Keep the probability of every class.
        min_area: Leave out objects below this many square metres, by default 20; 0 keeps all. By class:
            {"road": 50}.
        simplify: Tolerance of outlines in metres; 0 leaves them untouched.
        min_hole: Fill holes below this many square metres, where no layer has anything in them; by class likewise.
            By default as `min_area`.
        smooth: Smooth the staircase of pixels; by default where outlines are simplified.
        regularize: Give countable objects straight walls and right angles; by default likewise.
        thresholds: Least probability of classes, {"road": 0.6} or ["road=0.6"]: pixels below are of no object.
        classes: Names of the classes whose layers are written; by default all that have one.
        network: Write roads as a network of lines and nodes, too; by default where the model has a class for them.
        formats: What layers are written as: "geojson", "geojsonseq", "gpkg", "fgb", "parquet", "pmtiles".
        device: "cpu", "cuda" or "cuda:N"; by default cuda if there is one.
        precision: "fp32", "bf16" or "fp16"; by default what the device multiplies best.
        workers: Worker processes; by default what cores (or GPUs) and memory allow.
        threads_per_worker: CPU threads of each.
        memory: Bytes for all workers; by default 70% of the machine's.
        address: A running Ray cluster ("auto", HOST:PORT); by default a local one of its own.
        local: No Ray: one worker in this process.
        fresh: Start the run in the folder over: what it wrote is deleted first.
        mixed_numerics: Go on with a run that was begun on other hardware or threads.

    Returns:
        The run. Blocks that failed do not raise: its status is then "incomplete", and `failed_blocks` names
        them.

    Raises:
        SceneError: The scene cannot be mapped as asked.
        ModelError: There is no such model, or its files do not belong together.
        RunFolderError: The folder holds something else.
        StoppedError: The disk is full or the cluster gone; the same call goes on.
        GeosegError: Anything else that cannot be done as asked.
    """
    asked = dict(locals())
    block_px = None if block_size is None else (operator.index(block_size), operator.index(block_size))
    run = RunFolder(parse_place(output))
    resources = Resources(
        device, precision, _whole(workers), operator.index(threads_per_worker), _whole(memory), address, local
    )
    plan = plan_run(
        run,
        InputOptions(
            () if isinstance(scenes, Mapping) else _paths(scenes),
            {name: os.fspath(file) for name, file in scenes.items()} if isinstance(scenes, Mapping) else None,
            None if assets is None else tuple(assets),
            _merge(merge),
            skip_bad,
            None if aoi is None else os.fspath(aoi),
        ),
        model,
        SceneOptions(
            None if bands is None else tuple(operator.index(band) for band in bands),
            None if stretch is None else parse_stretch(stretch),
            parse_resolution(resolution),
            crs,
            align,
            assume_crs,
            trust_vrt=trust_vrt,
        ),
        TileOptions(_whole(tile_size), _whole(tile_overlap), block_px),
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
    for warning in plan.warnings:
        warnings.warn(warning, stacklevel=2)
    if fresh or not nothing_to_do(plan, run):
        carry_out(plan, run, resources, [_call(asked)], fresh=fresh, mixed_numerics=mixed_numerics)
    return open_run(output)


def export_run(
    run: PathLike,
    output: PathLike,
    format: str,  # noqa: A002  # the command's option
    *,
    layers: Sequence[str] = (),
    force: bool = False,
    strict: bool = False,
    tile_size: int | None = None,
) -> tuple[Path, ...]:
    """Write layers of a finished run, its class raster or its segments as other files; as `geoseg export` does.

    An incomplete run is a `UserWarning`, and the file says so where its format has room for it.

    Args:
        run: The RUN folder.
        output: A file, or a folder that exists, which gets files named like those of a run. Of "coco-panoptic" a
            folder that is not there, or empty.
        format: "geojson", "geojsonseq", "gpkg", "fgb", "parquet", "pmtiles", "cog", "instances" or
            "coco-panoptic".
        layers: Names of layers; by default those that the run wrote.
        force: Replace files that are there.
        strict: Refuse an incomplete run.
        tile_size: Of "coco-panoptic": side of its PNGs in pixels, 8192 when not given.

    Returns:
        The files written; a style beside a file is one too.

    Raises:
        RunFolderError: There is no run, it is not finished, or what it left is damaged.
        GeosegError: There is no such format or layer, a file is there already, several layers are to go into one
            file of a format that holds one, or a run is incomplete and `strict`.
        StoppedError: The disk is full.
    """
    exported = export(
        RunFolder(parse_place(run)),
        disk_path(output),
        parse_export_format(format),
        tuple(layers),
        force=force,
        strict=strict,
        tile_px=_whole(tile_size),
    )
    if exported.incomplete is not None:
        warnings.warn(exported.incomplete, stacklevel=2)
    return tuple(one.path for one in exported.files)


def train_model(
    config: PathLike | None,
    output: PathLike,
    *,
    images: Sequence[PathLike] = (),
    labels: Sequence[str] = (),
    class_attribute: str | None = None,
    values: Sequence[str] = (),
    width_m: float | None = None,
    rest: str | None = None,
    ground_resolution_m: float | None = None,
    start_from: PathLike | None = None,
    epochs: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    data_root: PathLike | None = None,
    resume: bool = False,  # noqa: ARG001  # a run goes on by itself; older calls say so
    skip_bad: bool = False,
    seed: int | None = None,
    device: str | None = None,
    threads: int | None = None,
    workers: int | None = None,
    address: str | None = None,
    storage: PathLike | None = None,
    tensorboard: bool = False,
) -> LoadedModel:
    """Train a model on regions of labelled scenes and write it as a package; the same as `geoseg train`.

    Checkpoints and the log lie in OUTPUT.training beside the package. Progress goes to stderr. A scene that was
    skipped is a `UserWarning`. On the main thread SIGINT and SIGTERM finish a step, keep it, and raise
    KeyboardInterrupt.

    Args:
        config: YAML file with data, model and recipe; None to train on `images` and `labels`.
        output: Folder of the model package to write.
        images: Scenes with labels, in place of a configuration.
        labels: What labels them: a vector file or class raster, or CLASS=FILE for each class.
        class_attribute: Of `labels`: the attribute that names the class.
        values: Of `labels`: what values of the raster or attribute mean, each as VALUE=CLASS.
        width_m: Of `labels` that are lines: their width in metres.
        rest: Of `labels`: what ground without a label is: a class, "unknown" or "ignore".
        ground_resolution_m: Of `labels`: ground length of the model's pixel; the scene's when not given.
        start_from: Name or folder of a model to train further; its last layer is new where classes are.
        epochs: Instead of the configuration's length.
        batch: Crops at once, instead of the configuration's.
        lr: Learning rate, instead of the configuration's.
        data_root: Folder that the configuration's paths start from; else the variable GEOSEG_DATA, else the file's
            own folder.
        resume: Changes nothing: a run that was begun in this output goes on, a finished one is left as it is.
        skip_bad: Go on without scenes that cannot be opened.
        seed: Instead of the configuration's.
        device: "cpu", "cuda" or "cuda:N"; by default cuda if there is one.
        threads: CPU threads, of each worker; by default all cores.
        workers: Processes that train together, on Ray; by default none but this one.
        address: A running Ray cluster ("auto", HOST:PORT); by default a local one of its own.
        storage: Where workers keep checkpoints, a folder or an address such as s3://bucket/path; by default
            OUTPUT.training.
        tensorboard: Write events to OUTPUT.training/events.

    Returns:
        The package as written: its card has the figures on the validation and test regions.

    Raises:
        ConfigError: The configuration, the data root or the output cannot be used.
        ModelError: There is no model to start from, or weights do not fit.
        SceneError: A raster cannot be opened or used.
        StoppedError: The disk is full, memory does not suffice, or workers died too often; a second call goes on.
        GeosegError: The loss is not finite; names the crops. Or the cluster has no room for the workers.
    """
    folder = disk_path(output)
    base = start_from if start_from is None or isinstance(start_from, str) else str(Path.cwd() / start_from)
    if (config is None) == (not images):
        came = "neither" if config is None else "both"
        raise GeosegError(f"expected either a configuration or images, got {came}")
    given = data_arguments(
        _paths(images), labels, class_attribute, values, width_m, rest, base, ground_resolution_m
    )
    trained = train_package(
        given if config is None else Path(config),
        folder,
        None if data_root is None else Path(data_root),
        options=TrainOptions(base, epochs, _whole(batch), lr, _whole(seed)),
        skip_bad=skip_bad,
        device=device,
        threads=threads,
        tensorboard=tensorboard,
        workers=WorkerOptions(_whole(workers), address, None if storage is None else os.fspath(storage)),
    )
    for line in () if trained is None else trained.skipped:
        warnings.warn(f"skipped {line}", stacklevel=2)
    return load_package(folder)


def _paths(given: PathLike | Sequence[PathLike]) -> tuple[str, ...]:
    paths = [given] if isinstance(given, str | os.PathLike) else given
    return tuple(os.fspath(path) for path in paths)


def _merge(rule: MergeRule) -> MergeRule:
    if rule not in get_args(MergeRule):
        raise GeosegError(f"expected a merge rule of {', '.join(get_args(MergeRule))}, got {rule}")
    return rule


def _whole(number: int | None) -> int | None:
    """A whole number of any library as Python's own."""
    return None if number is None else operator.index(number)


def _call(asked: dict[str, Any]) -> str:
    """A call of `map_scenes` as Python text, without what it left to its defaults."""
    parameters = inspect.signature(map_scenes).parameters
    words = [repr(_plain(asked[name])) for name in ("scenes", "output")]
    options = {name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    words += [
        f"{name}={_plain(value)!r}"
        for name, value in asked.items()
        if name in options and _plain(value) != _plain(parameters[name].default)
    ]
    return f"geoseg.map_scenes({', '.join(words)})"


def _plain(value: object) -> object:
    """A value of Python's own: paths as text, numpy's numbers and arrays as numbers and lists."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    value = value.tolist() if hasattr(value, "tolist") else value
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
