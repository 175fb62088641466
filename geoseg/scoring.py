"""A run against labels: what `geoseg evaluate RUN --labels` does, from the files of both to figures and marks."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import GeosegError, RunFolderError
from geoseg.export import layers_of
from geoseg.grid import Grid, Window
from geoseg.io.aoi import Aoi, read_aoi
from geoseg.io.layers import Features, objects_in
from geoseg.io.mosaic import CHUNK_PX, Mosaic
from geoseg.io.place import Place
from geoseg.io.plane import Plane
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.panoptic_scoring import WINDOW_PX, panoptic_scores
from geoseg.progress import stage_progress
from geoseg.run import Run, open_run
from geoseg.scores import apls
from geoseg.scores.areas import AreaCounts, AreaMeasure, Truth
from geoseg.scores.buffered import buffered_figures
from geoseg.scores.class_raster import ClassRaster, IdRaster
from geoseg.scores.extent import Extent
from geoseg.scores.found_objects import FoundObjects
from geoseg.scores.marked import Marks
from geoseg.scores.matching import Objects, detection_figures
from geoseg.scores.pieces import IdPieces, Pieces
from geoseg.scores.reference import Labels, Reference, read_reference
from geoseg.scores.run_lines import run_lines
from geoseg.scores.shapes import shape_figures

_CELL_PX = 256
"""Side of the cells of what counts."""

_MOST_HALO_PX = 1000
"""Distances of more pixels than this are refused: what is read with each window grows with them."""


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How a run is judged.

    Attributes:
        aoi: A vector file: what lies outside of its polygons does not count.
        boundary_m: Distances at which boundaries of areas are compared.
        buffer_m: Width of the buffer around roads, to each side.
        components: Whether panoptic figures are those of connected components, whatever the run tells apart.
    """

    aoi: str | None = None
    boundary_m: tuple[float, ...] = (2.0, 5.0)
    buffer_m: float = 4.0
    components: bool = False


@dataclass(slots=True)
class Scores:
    """What was found.

    Attributes:
        document: What `--json` prints.
        crs: Of the marks.
        objects: Objects by outcome.
        lines: Lines by outcome.
    """

    document: dict[str, Any]
    crs: str
    objects: list[Marks] = field(default_factory=list)
    lines: list[Marks] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Judged:
    """What all scores of a run are made from."""

    run: Run
    classes: LabelSet
    features: dict[int, list[Features]]
    plane: Plane
    reference: Reference
    extent: Extent
    objects: dict[int, NDArray[np.object_]]


def score_run(path: Place, labels: Labels, options: ScoreOptions) -> Scores:
    """Compare a finished run with labels.

    What counts are pixels with data in the run, of which the reference says anything, and whose centre lies in the
    area of interest. Objects and lines are cut along them; an object less than half of which lies there counts
    neither for nor against (COCO's `ignore`).

    Args:
        path: The RUN folder.
        labels: The reference.
        options: How to judge.

    Raises:
        RunFolderError: There is no run, it is not finished, a process works on it, or what it left is damaged.
        GeosegError: The labels cannot be used (`read_reference`), the area of interest cannot or does not touch the
            run, or a distance is out of bounds.
    """
    folder, run = RunFolder(path), open_run(path)
    if run.status in ("running", "stopped"):
        raise RunFolderError(
            f"expected a finished run, {path} is {run.status}: repeat its geoseg map command, then evaluate"
        )
    pixel_m = run.grid.ground_resolution_m()
    _check(options, pixel_m)
    with folder.unchanged(), ExitStack() as opened:
        layers = layers_of(folder, run)
        plane = Plane.of(run.grid)
        reference = read_reference(labels, plane, layers.labels, opened)
        aoi = None if options.aoi is None else read_aoi(options.aoi, run.grid)
        things = {
            class_id: layers.features[layer]
            for class_id, layer in layers.labels.layers
            if layers.labels.classes[class_id].kind == "thing" and class_id in reference.areas
        }
        windows = _windows_with_data(folder.mosaic, run.grid, aoi)
        counts, cells, drawn = _sweep(folder.mosaic, run.grid, reference, aoi, options, tuple(things), windows)
        features = {class_id: list(objects_in(batches)) for class_id, batches in things.items()}
        found = FoundObjects.of(batch for batches in features.values() for batch in batches)
        panoptic = panoptic_scores(
            folder, run, layers.labels, found, reference, windows, aoi, components=options.components
        )
        judged = _Judged(
            run=run,
            classes=layers.labels,
            features=features,
            plane=plane,
            reference=reference,
            extent=Extent(plane.from_pixels(cells)),
            objects={class_id: plane.from_pixels(some) for class_id, some in drawn.items()},
        )
        scores = _scores(judged, counts, labels, options)
        scores.document["panoptic"] = panoptic
        return scores


def _check(options: ScoreOptions, pixel_m: tuple[float, float]) -> None:
    most_m = _MOST_HALO_PX * min(pixel_m)
    for metres in options.boundary_m:
        if not 0 <= metres <= most_m:
            raise GeosegError(f"expected --boundary from 0 to {most_m:.6g} m ({_MOST_HALO_PX} px), got {metres:g}")
    if not 0 < options.buffer_m <= most_m:
        raise GeosegError(f"expected --buffer of up to {most_m:.6g} m, more than 0, got {options.buffer_m:g}")


def _sweep(
    mosaic: Mosaic,
    grid: Grid,
    reference: Reference,
    aoi: Aoi | None,
    options: ScoreOptions,
    things: tuple[int, ...],
    windows: Sequence[Window],
) -> tuple[dict[int, AreaCounts], NDArray[np.object_], dict[int, NDArray[np.object_]]]:
    """See every window once: counts of areas, the cells that count, and the objects of a raster's classes."""
    counting = Pieces()
    raster = reference.raster
    pieces = {class_id: Pieces() for class_id in things} if isinstance(raster, ClassRaster) else {}
    of_ids = IdPieces()
    distances = tuple(sorted(set(options.boundary_m)))
    measure = AreaMeasure(grid.height, grid.width, grid.ground_resolution_m(), distances, reference.areas)

    def truth(window: Window) -> Truth:
        said = reference.truth(window)
        return said if aoi is None else Truth(said.masks, said.known_hw & aoi.mask(window))

    with stage_progress("evaluate", sum(window.height * window.width for window in windows)) as advance:

        def see(window: Window, _: NDArray[np.uint8], said: Truth) -> None:
            for cell in _cells(window):
                counting.add(said.known_hw[cell.slices_in(window)], cell)
            for class_id, of_class in pieces.items():
                of_class.add(said.masks[class_id], window)
            if isinstance(raster, IdRaster) and things:
                of_ids.add(raster.read_ids(window), window)
            advance(window.height * window.width, 0)

        counts = measure.total(windows, partial(mosaic.read, 0, "classes"), truth, see)
    drawn = {class_id: of_class.joined() for class_id, of_class in pieces.items()}
    if isinstance(raster, IdRaster) and things:
        drawn[raster.class_id] = of_ids.joined()
    return counts, counting.pieces(), drawn


def _cells(window: Window) -> Iterator[Window]:
    for row in range(window.row, window.row_stop, _CELL_PX):
        for col in range(window.col, window.col_stop, _CELL_PX):
            cell = Window(row, col, _CELL_PX, _CELL_PX).intersection(window)
            assert cell is not None  # it begins in the window
            yield cell


def _windows_with_data(mosaic: Mosaic, grid: Grid, aoi: Aoi | None) -> list[Window]:
    """Windows of whole chunks in which the mosaic holds any, in raster order, and that the area touches."""
    side = WINDOW_PX // CHUNK_PX
    names = (name.split("/") for name in mosaic.chunk_files())
    corners = {(int(part[-2]) // side, int(part[-1]) // side) for part in names if part[:2] == ["0", "classes"]}
    windows = [
        window
        for row, col in sorted(corners)
        if (window := Window(row * WINDOW_PX, col * WINDOW_PX, WINDOW_PX, WINDOW_PX).intersection(grid.window))
    ]
    if aoi is None or not windows:
        return windows
    return [window for window, touched in zip(windows, aoi.touched(windows), strict=True) if touched]


def _scores(judged: _Judged, counts: dict[int, AreaCounts], labels: Labels, options: ScoreOptions) -> Scores:
    reference, names, run = judged.reference, judged.classes.names, judged.run
    distances = tuple(sorted(set(options.boundary_m)))
    scores = Scores({}, judged.plane.crs)
    classes: dict[str, dict[str, Any]] = {
        names[class_id]: {"areas": counts[class_id].figures(distances)} for class_id in reference.areas
    }
    for class_id in judged.features:
        classes[names[class_id]]["objects"] = _objects(judged, class_id, scores)
    not_scored = {}
    for class_id, of_class in reference.classes.items():
        if of_class.has_lines and len(of_class.lines):
            try:
                crs, lines = run_lines(run, names[class_id])
            except GeosegError as error:
                not_scored[names[class_id]] = str(error)
                continue
            mapped = judged.extent.lines(judged.plane.place(lines, crs))
            figures = _lines(judged, class_id, mapped, options.buffer_m, scores)
            classes.setdefault(names[class_id], {})["lines"] = figures
    ious = [one["areas"]["iou"] for one in classes.values() if one.get("areas", {}).get("iou") is not None]
    scores.document = {
        "run": str(run.path),
        "plan_hash": run.record.plan_hash,
        "status": run.status,
        "missing_blocks": len(run.failed_blocks),
        "labels": [{"class": name, "file": str(file)} for name, file in labels.files],
        "values": _values(reference, names),
        "repaired": reference.repaired,
        "left_out": reference.left_out,
        "area_m2": judged.extent.area_m2,
        "parameters": _parameters(judged.plane, options, distances),
        "miou": float(np.mean(ious)) if ious else None,
        "classes": classes,
        "not_scored": not_scored,
    }
    return scores


def _values(reference: Reference, names: tuple[str, ...]) -> dict[str, str] | None:
    """What the values of a raster were taken for."""
    if not isinstance(reference.raster, ClassRaster):
        return None
    pairs = sorted(reference.raster.ids.items())
    return {str(value): names[class_id] if class_id < len(names) else "" for value, class_id in pairs}


def _parameters(plane: Plane, options: ScoreOptions, distances: tuple[float, ...]) -> dict[str, Any]:
    return {
        "aoi": options.aoi,
        "crs": plane.name,
        "boundary_m": list(distances),
        "buffer_m": options.buffer_m,
        "objects": {"iou": 0.5, "ap_points": 101, "inside_share": 0.5},
        "panoptic": {"iou": 0.5, "void_share": 0.5, "ap_points": 101, "split_share": 0.5},
        "apls": {
            "control_point_spacing_m": apls.SPACING_M,
            "snap_m": apls.SNAP_M,
            "least_way_m": apls.LEAST_WAY_M,
            "most_control_points": apls.MOST_POINTS,
            "seed": apls.SEED,
        },
    }


def _objects(judged: _Judged, class_id: int, scores: Scores) -> dict[str, Any]:
    name = judged.classes.names[class_id]
    polygons, confidence, ids = _whole(judged.features[class_id])
    true_polygons = judged.objects.get(class_id)
    if true_polygons is None:
        true_polygons = judged.reference.classes[class_id].polygons
    found = judged.extent.objects(judged.plane.place(polygons, judged.run.grid.crs))
    true = judged.extent.objects(true_polygons)
    confidence, ids = confidence[found.index], ids[found.index]
    figures, matched = detection_figures(
        Objects(found.polygons, found.counts), Objects(true.polygons, true.counts), confidence
    )
    hit = (matched.true_of >= 0) & matched.counts
    false, missed = matched.counts & ~hit, true.counts.copy()
    missed[matched.true_of[matched.true_of >= 0]] = False
    for outcome, which in (("true", hit), ("false", false)):
        marks = Marks(
            "true" if outcome == "true" else "false",
            name,
            found.polygons[which],
            matched.iou[which] if outcome == "true" else None,
            confidence[which],
            ids[which],
        )
        scores.objects.append(marks)
    scores.objects.append(Marks("missed", name, true.polygons[missed]))
    # What is cut has sides of its own that nobody drew.
    alike = hit & found.whole
    alike[alike] = true.whole[matched.true_of[alike]]
    return {
        **figures,
        "matched_iou_mean": float(matched.iou[hit].mean()) if hit.any() else None,
        **shape_figures(found.polygons[alike], true.polygons[matched.true_of[alike]]),
        "not_counted": int(np.count_nonzero(~matched.counts)) + int(np.count_nonzero(~true.counts)),
    }


def _whole(
    batches: list[Features],
) -> tuple[NDArray[np.object_], NDArray[np.float64], NDArray[np.int64]]:
    """Polygon, confidence and id of each object (n,); one that was cut into parts is one again."""
    if not batches:
        return np.empty(0, object), np.empty(0), np.empty(0, np.int64)
    every = Features.concatenate(batches)
    ids, first, object_of, parts = np.unique(every.id, return_index=True, return_inverse=True, return_counts=True)
    polygons = every.geometry[first]
    for i in np.flatnonzero(parts > 1):
        polygons[i] = shapely.union_all(every.geometry[object_of == i])
    return polygons, every.confidence[first], ids


def _lines(
    judged: _Judged, class_id: int, mapped: NDArray[np.object_], buffer_m: float, scores: Scores
) -> dict[str, Any]:
    name = judged.classes.names[class_id]
    true = judged.extent.lines(judged.reference.classes[class_id].lines)
    similar = apls.apls(true, mapped)
    figures, of_true, of_mapped = buffered_figures(true, mapped, buffer_m)
    scores.lines += [
        Marks("true", name, _with_length(of_mapped.near)),
        Marks("false", name, _with_length(of_mapped.far)),
        Marks("missed", name, _with_length(of_true.far)),
    ]
    return {
        "apls": similar.both_ways,
        "apls_reference_in_map": similar.true_to_mapped,
        "apls_map_in_reference": similar.mapped_to_true,
        **figures,
        "control_points": dict(zip(("reference", "map"), similar.points, strict=True)),
        "ways_compared": dict(zip(("reference", "map"), similar.ways, strict=True)),
    }


def _with_length(lines: NDArray[np.object_]) -> NDArray[np.object_]:
    """The lines (n,) of those (m,) that have a length, without points that an intersection leaves."""
    parts = shapely.get_parts(shapely.get_parts(lines))
    found: NDArray[np.object_] = parts[shapely.length(parts) > 0]
    return found
