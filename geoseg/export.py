"""What a finished run left in its folder, written as other files; without the model, and without a cluster."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from geoseg.errors import GeosegError, RunFolderError
from geoseg.io.coco_panoptic import DOCUMENT, PNGS
from geoseg.io.layers import Batches, Source
from geoseg.io.place import copy_here, file_sha256
from geoseg.io.run_folder import RunFolder
from geoseg.io.vector_file import replacing
from geoseg.layering import LayerFormat
from geoseg.outcome import MosaicState
from geoseg.run import Run, open_run
from geoseg.work.checked_objects import checked_objects
from geoseg.work.class_rasters import WHOLE_RASTER, raster_windows
from geoseg.work.features import features_of, owner_keys, shapes_hash
from geoseg.work.layer_files import ALL_IN_ONE, ENDINGS, LayerSet, WrittenFile, names_of, style_file, write_file
from geoseg.work.network import lines_of, nodes_of, pieces_keys
from geoseg.work.object_rasters import write_object_rasters
from geoseg.work.panoptic import TILE_PX
from geoseg.work.panoptic_folder import write_panoptic_folder
from geoseg.work.planned import Planned
from geoseg.work.stage_files import StageFiles

ExportFormat = LayerFormat | Literal["cog", "instances", "coco-panoptic"]
"""A vector format, the class raster, the numbers of objects as a raster, or segments as pictures."""

_RASTER_ENDINGS = (".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file that was written.

    Attributes:
        path: Where.
        features: How many features, of a panoptic document objects, it has; None of a raster or a style.
    """

    path: Path
    features: int | None


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: The files.
        incomplete: What to tell the user of a run that lacks blocks; None of a complete one.
    """

    files: tuple[ExportedFile, ...]
    incomplete: str | None


def export(
    run: RunFolder,
    output: Path,
    kind: ExportFormat,
    layers: tuple[str, ...] = (),
    *,
    force: bool = False,
    strict: bool = False,
    tile_px: int | None = None,
) -> Exported:
    """Write layers of a finished run, its class raster or its segments into a file or a folder.

    Args:
        run: The RUN folder.
        output: A file, or a folder that exists, which gets files named like those of a run. Of coco-panoptic a
            folder that is not there, or empty.
        kind: The format.
        layers: Names of layers; none for those that the run wrote.
        force: Whether files that are there are replaced.
        strict: Whether an incomplete run is refused.
        tile_px: Side of the PNGs of coco-panoptic, 8192 when not given.

    Raises:
        RunFolderError: There is no run, it is not finished, a process works on it, or what it left is damaged.
        GeosegError: There is no such layer, a file is there already, its name does not end as the format's, several
            layers are to go into a file that holds one, the run is incomplete and `strict`, a size of PNGs is
            given to another format, or one would have more objects than three bytes tell apart.
        StoppedError: The disk is full.
    """
    opened = open_run(run.path)
    _check_place(run, output)
    with run.unchanged():
        incomplete = _finished(opened, strict=strict)
        if kind in ("cog", "instances", "coco-panoptic") and layers:
            what = "panoptic pictures have" if kind == "coco-panoptic" else "a raster has"
            raise GeosegError(f"{what} no layers: leave out --layer, or name a vector format")
        if kind != "coco-panoptic" and tile_px is not None:
            raise GeosegError(f"--tile-size is of coco-panoptic: expected none for {kind}; leave it out")
        if kind == "cog":
            return Exported(_copy_rasters(opened, output, force=force), incomplete)
        if kind == "instances":
            return Exported(_write_objects(run, opened, output, force=force), incomplete)
        if kind == "coco-panoptic":
            side = TILE_PX if tile_px is None else tile_px
            return Exported(_write_panoptic(run, opened, output, side, force=force), incomplete)
        every = layers_of(run, opened)
        asked = _asked(opened, every, layers)
        places = _places(output, kind, asked)
        _check_free([*places, *_new_styles(kind, places)], force=force)
        written: list[WrittenFile] = []
        for path, of_file in places.items():
            written += write_file(kind, path, of_file)
        return Exported(tuple(ExportedFile(one.path, one.features) for one in written), incomplete)


def _finished(run: Run, *, strict: bool) -> str | None:
    """What to tell of a run that lacks blocks.

    Raises:
        RunFolderError: It was never finished.
        GeosegError: It lacks blocks, and none may.
    """
    if run.status in ("running", "stopped"):
        raise RunFolderError(
            f"expected a finished run, {run.path} is {run.status}: repeat its geoseg map command, which goes on "
            "where it stopped, then export"
        )
    if run.status == "complete":
        return None
    lacks = f"{len(run.failed_blocks)} of {run.record.blocks.total} block(s) failed and are nodata in {run.path}"
    if strict:
        raise GeosegError(f"{lacks}: repeat its geoseg map command to do just those, or leave out --strict")
    return f"INCOMPLETE: {lacks}, and what they hold is missing in what was exported"


def layers_of(run: RunFolder, opened: Run) -> LayerSet:
    """All layers that a run has features for, read from its folder, whose files are hashed again.

    Args:
        run: The folder.
        opened: The same run.

    Raises:
        RunFolderError: plan.json is of another version, or features are missing or damaged.
    """
    planned = Planned.of(run)
    labels, shapes = planned.labels, planned.shapes
    mosaic = MosaicState.of(run.ledger("mosaic")).content_hash
    depends = shapes_hash(mosaic, shapes)
    _check_features(run, depends, "features", owner_keys)
    features: dict[str, Batches] = {
        layer: partial(features_of, run, depends, class_id) for class_id, layer in labels.layers
    }
    if opened.record.layers.network and labels.network is not None:
        depends = shapes_hash(mosaic, planned.network)
        _check_features(run, depends, "network", pieces_keys)
        features[labels.network.lines] = partial(lines_of, run, depends)
        features[labels.network.nodes] = partial(nodes_of, run, depends)
    source = Source(opened.record.plan_hash, planned.scenes, len(opened.failed_blocks))
    return LayerSet(features, labels, opened.grid, source)


def _write_panoptic(
    run: RunFolder, opened: Run, output: Path, tile_px: int, *, force: bool
) -> tuple[ExportedFile, ...]:
    """Write segments as pictures: the document, which has as many features as there are objects, and the PNGs."""
    planned = Planned.of(run)
    written = write_panoptic_folder(opened, planned.labels, planned.shapes, output, tile_px, force=force)
    pictures = (ExportedFile(output / PNGS / name, None) for name in written.pngs)
    return ExportedFile(output / DOCUMENT, written.objects), *pictures


def _check_features(
    run: RunFolder, depends: str, stage: str, keys: Callable[[RunFolder, str], Iterable[str]]
) -> None:
    """Refuse features that are not what their markers say: what is missing would be missing without a word.

    Raises:
        RunFolderError: They are not.
    """
    wrong = f"of {run.path} are missing or damaged: {run.mending}"
    folder = StageFiles(run, stage, depends).folder
    # In an object store one with nothing in it is not there: what is missing, other markers tell.
    if isinstance(folder, Path) and not folder.is_dir():
        raise RunFolderError(f"the {stage} {wrong}")
    there = set()
    for key, marker in run.ledger(stage).records():
        if marker["depends"] != depends:
            continue
        there.add(key)
        for name, sha256 in marker["files"].items():
            file = run.path / name
            if not file.is_file() or file_sha256(file) != sha256:
                raise RunFolderError(f"the {stage} {name} {wrong}")
    missing = set(keys(run, depends)) - there
    if missing:
        raise RunFolderError(f"the {stage} of block {min(missing)} {wrong}")


def _asked(run: Run, every: LayerSet, layers: tuple[str, ...]) -> LayerSet:
    """The layers that are to be written.

    Raises:
        GeosegError: One is not there.
    """
    of_class = {label.name: label.layer for label in every.labels.classes}
    network = every.labels.network if run.record.layers.network else None
    written = [str(of_class[name]) for name in run.record.layers.classes]
    names = layers or (*written, *(() if network is None else network.layers))
    unknown = [name for name in names if name not in every.features]
    if unknown or not names:
        raise GeosegError(f"expected layers of {', '.join(every.features)}, got {', '.join(unknown) or 'none'}")
    return every.some(names)


def _places(output: Path, kind: LayerFormat, layers: LayerSet) -> dict[Path, LayerSet]:
    """The files to write, with the layers of each.

    Raises:
        GeosegError: There is one file for several layers, or its name ends as that of another format.
    """
    if output.is_dir():
        return {output / name: layers.some(within) for name, within in names_of(kind, layers.features).items()}
    if kind not in ALL_IN_ONE and len(layers.features) > 1:
        raise GeosegError(
            f"a {kind} file holds one layer, the run has {', '.join(layers.features)}: choose one with --layer, or "
            "name a folder that exists with -o, for a file each"
        )
    _check_ending(output, kind, (ENDINGS[kind],))
    return {output: layers}


def _new_styles(kind: LayerFormat, places: Mapping[Path, LayerSet]) -> list[Path]:
    """The styles to write, but for those that are there already: formats share the one of a layer."""
    styles = {path: style_file(kind, path) for path in places}
    return [
        style
        for path, style in styles.items()
        if style is not None and not (style.is_file() and style.read_bytes() == places[path].style().encode())
    ]


def _copy_rasters(run: Run, output: Path, *, force: bool) -> tuple[ExportedFile, ...]:
    """Copy the class raster, or into a folder those of groups of blocks and their index.

    Raises:
        GeosegError: There are several for one file, or a file is there already.
        RunFolderError: One is missing or damaged.
    """
    sources = {run.path / one.path: one.sha256 for one in run.record.outputs if one.format in ("cog", "gpkg-index")}
    if output.is_dir():
        targets = {source: output / source.name for source in sources}
    else:
        _check_single(run, output, "cog")
        targets = dict.fromkeys(sources, output)
    _check_free(targets.values(), force=force)
    for source, target in targets.items():
        with replacing(target) as written:
            there = source.is_file()
            if there:
                copy_here(source, written)
            if not there or file_sha256(written) != sources[source]:
                raise RunFolderError(f"{source} is missing or damaged: {RunFolder(run.path).mending}")
    return tuple(ExportedFile(target, None) for target in targets.values())


def _write_objects(run: RunFolder, opened: Run, output: Path, *, force: bool) -> tuple[ExportedFile, ...]:
    """Write the numbers of objects, in as many rasters, and where, as there are class rasters.

    Raises:
        GeosegError: There are several for one file, a file is there already, or numbers do not suffice.
        RunFolderError: What the run left is missing or damaged.
    """
    windows = raster_windows(run, opened.grid, [one.path for one in opened.record.outputs if one.format == "cog"])
    if output.is_dir():
        names = {name: name.replace("classes", "instances", 1).replace("/", "-") for name in windows}
        places = {output / names[name]: window for name, window in windows.items()}
    else:
        _check_single(opened, output, "instances")
        places = dict.fromkeys([output] * len(windows), opened.grid.window)
    _check_free(places, force=force)
    planned = Planned.of(run)
    blocks, objects = checked_objects(run, opened.grid, planned.labels, planned.shapes)
    write_object_rasters(list(places.items()), opened.grid, blocks, objects, opened.record.plan_hash)
    return tuple(ExportedFile(path, None) for path in places)


def _check_single(run: Run, output: Path, kind: ExportFormat) -> None:
    """Refuse a single file where the run has rasters by groups."""
    rasters = [one for one in run.record.outputs if one.format == "cog"]
    if any(one.path != WHOLE_RASTER for one in rasters):
        raise GeosegError(
            f"{run.path} has {len(rasters)} class rasters and an index of them, since its data lies far apart: "
            "name a folder that exists with -o"
        )
    _check_ending(output, kind, _RASTER_ENDINGS)


def _check_place(run: RunFolder, output: Path) -> None:
    if isinstance(run.path, Path) and run.path.resolve() in (output.resolve(), *output.resolve().parents):
        raise GeosegError(
            f"{output} lies in the RUN folder, whose files are the run's own: name another place with -o, or "
            "repeat its geoseg map command with --format"
        )
    if not output.parent.is_dir():
        raise GeosegError(f"expected -o in a folder that exists, there is no {output.parent}: make it first")


def _check_ending(path: Path, kind: ExportFormat, endings: tuple[str, ...]) -> None:
    if path.suffix.lower() not in endings:
        raise GeosegError(
            f"expected for --format {kind} a file that ends in {' or '.join(endings)}, by which programs know it, "
            f"or a folder that exists, got {path}"
        )


def _check_free(paths: Iterable[Path], *, force: bool) -> None:
    for path in paths:
        if path.is_dir():
            raise GeosegError(f"expected a file to write, got a folder: {path}")
        if path.exists() and not force:
            raise GeosegError(f"{path} is there already: name another file, or replace it with --force")
