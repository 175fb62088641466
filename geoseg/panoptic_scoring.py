"""The segments of a run beside those of a reference: seen window by window, counted, and judged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RunFolderError
from geoseg.grid import Window
from geoseg.io.aoi import Aoi
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.objects.thresholds import Thresholds
from geoseg.progress import stage_progress
from geoseg.run import Run
from geoseg.scores.class_raster import ClassRaster
from geoseg.scores.found_objects import FoundObjects
from geoseg.scores.map_components import MapComponents
from geoseg.scores.overlaps import NOTHING, VOID, Overlaps, OverlapSum, Segmented
from geoseg.scores.panoptic import PanopticFigures
from geoseg.scores.reference import Reference
from geoseg.scores.true_segments import true_segments
from geoseg.work.run_objects import RunObjects, StoredObjects, data_blocks, objects_of

WINDOW_PX = 2 * CHUNK_PX
"""Side of the windows in which a run is looked at, of whole chunks."""


def panoptic_scores(
    folder: RunFolder,
    run: Run,
    labels: LabelSet,
    found: FoundObjects,
    reference: Reference,
    windows: Sequence[Window],
    aoi: Aoi | None,
    *,
    components: bool = False,
) -> dict[str, Any] | None:
    """Judge a run by its segments.

    Objects of the map are those that its layers list, on the pixels that the mosaic gives them; what was left out
    of the layers as too small is none. Stuff is one segment for each class. Pixels without data in the run, or
    outside of the area of interest, are void for objects on both sides: they count towards what of an object lies
    outside. Stuff is not looked for there.

    Args:
        folder: The RUN folder.
        run: The same run.
        labels: Its classes.
        found: The objects of its layers of things, with their confidence.
        reference: The labels.
        windows: Those of `WINDOW_PX` in which pixels count, whole but for the grid's edges. Objects are also looked
            at in the eight around each, and cut where they go further.
        aoi: Where pixels count; None for everywhere.
        components: Whether connected components of the classes are judged in place of the objects of the layers:
            what a run of a model that tells objects apart would be without that.

    Returns:
        What `--json` prints of it; None where the reference says nothing of any class that has segments.

    Raises:
        RunFolderError: What the run left of its objects is missing or damaged.
        GeosegError: A raster of labels holds a value that means nothing, or is damaged.
    """
    layers = {class_id for class_id, _ in labels.layers}
    of_things = {number for number, label in enumerate(labels.classes) if label.kind == "thing"}
    judged = [one for one in reference.areas if one not in of_things or one in layers]
    if not judged:
        return None
    shapes: Mapping[str, Any] = (folder.existing_plan() or {}).get("shapes", {})
    ids: RunObjects | MapComponents
    if components:
        ids = MapComponents(folder.mosaic, run.grid, sorted(of_things & layers), *_rules(folder, shapes))
    else:
        ids = objects_of(folder, run.grid, labels, data_blocks(folder, run.grid, shapes), shapes)
    truth = true_segments(reference, labels, run.grid.window.shape)
    is_thing = np.zeros(256, np.bool_)
    is_thing[list(of_things)] = True
    added, contested_px = OverlapSum(), 0
    every = _with_neighbours(windows, run.grid.window)
    with stage_progress("instances", sum(window.height * window.width for window in every)) as advance:
        for window in every:
            classes_hw = folder.mosaic.read(0, "classes", window)
            ids_hw = ids.read(window).astype(np.int64)
            # Pixels of things that are of no object are of nothing.
            classes_hw = np.where(is_thing[classes_hw] & (ids_hw == 0), np.uint8(NOTHING), classes_hw)
            counted_hw = classes_hw != VOID
            if aoi is not None:
                counted_hw &= aoi.mask(window)
            said = truth.read(window)
            for overlaps in _counts(Segmented(classes_hw, ids_hw), said, counted_hw):
                added.add(overlaps)
            contested_px += truth.contested_px(window, counted_hw)
            advance(window.height * window.width, 0)
    overlaps = added.total().renamed(true=truth.rename)
    if isinstance(ids, MapComponents):
        overlaps, found = overlaps.renamed(ids.rename), ids.found()
    overlaps = overlaps.renamed(found.rename)
    things = sorted(set(judged) & of_things)
    figures = PanopticFigures.of(overlaps, judged, things, (found.id, found.confidence))
    return {
        "map": "instances" if isinstance(ids, StoredObjects) else "components",
        "reference": truth.kind,
        "warnings": _warnings(reference, contested_px, components=bool(things) and truth.kind == "components"),
        "contested_px": contested_px,
        "without_layer": [labels.names[one] for one in reference.areas if one not in judged],
        **figures.to_json(labels.names),
    }


def _rules(folder: RunFolder, shapes: Mapping[str, Any]) -> tuple[Thresholds, list[float]]:
    """How probable pixels of objects must be, and how large objects, by class id."""
    try:
        least = Thresholds(tuple((int(one), float(share)) for one, share in shapes["thresholds"]))
        return least, [float(area_m2) for area_m2 in shapes["cleaning"]["min_area_m2"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(
            f"{folder.plan_file} does not say how objects were found ({error}): remove {folder.run_file}, then "
            "repeat the run's geoseg map command, which finds the rest done"
        ) from error


def _counts(found: Segmented, said: Segmented, counted_hw: NDArray[np.bool_]) -> Iterable[Overlaps]:
    """What a window adds; of objects also what of them lies on pixels that do not count, which is void."""
    if counted_hw.all():
        yield Overlaps.of(found, said)
        return
    yield Overlaps.of(found.only(counted_hw), said.only(counted_hw))
    void = Segmented.void(counted_hw.shape)
    yield Overlaps.of(found.only(~counted_hw & (found.id_hw > 0)), void)
    yield Overlaps.of(void, said.only(~counted_hw & (said.id_hw > 0)))


def _with_neighbours(windows: Sequence[Window], whole: Window) -> list[Window]:
    """Windows of `WINDOW_PX` and those around them, in raster order."""
    side = WINDOW_PX
    corners = {
        (window.row // side + down, window.col // side + right)
        for window in windows
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    around = (Window(i * side, j * side, side, side).intersection(whole) for i, j in sorted(corners))
    return [window for window in around if window is not None]


def _warnings(reference: Reference, contested_px: int, *, components: bool) -> list[str]:
    words = []
    if components and isinstance(reference.raster, ClassRaster):
        words.append(
            f"{reference.raster.path} does not tell objects apart: each connected component of a class of things "
            "counts as an object, so that those that touch are one; better are polygons, or a raster of ids with "
            "--labels CLASS=FILE"
        )
    if contested_px:
        words.append(f"{contested_px} px lie in several objects of the labels: each counts for the last of them")
    return words
