"""Regularized outlines: made where each object begins, judged among their neighbours in two stages.

First those that would overlap another object go back to what they were, then those that would cut a road in two.
Other layers are cut back from the rest with the features (`work/features.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.io.arrays import read_arrays, read_each, write_arrays
from geoseg.io.layers import Outcome
from geoseg.io.place import Place, sorted_files
from geoseg.io.run_folder import RunFolder
from geoseg.objects.ground import nominal_pixel_m2
from geoseg.vectorize.fitting import Walls, overlapping, splitting, stands_apart
from geoseg.vectorize.outlines import Objects, Outlines
from geoseg.vectorize.regularize import Regularization, regularize
from geoseg.vectorize.rings import Rings
from geoseg.work.stage_files import StageFiles
from geoseg.work.whole import Gathering, Pixels

Box = tuple[float, float, float, float]
"""Least x and y, greatest x and y, in pixels."""


@dataclass(frozen=True, slots=True)
class RegularizeObjects:
    """Bring objects together, and regularize those that are to have straight walls.

    Attributes:
        gathering: How they are brought together.
    """

    gathering: Gathering

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Keep pixels at hand, also from block to block."""
        gathering = self.gathering
        files, pixels = StageFiles(gathering.run, "whole", gathering.depends), gathering.pixels()

        def make(key: str) -> dict[str, Any]:
            found = gathering.gather(key, pixels)
            objects = found.objects
            walled = is_wall(objects, gathering)
            walls, outcome = _regularized(objects, walled, gathering, key, pixels)
            written = {_file(files, key): write_arrays(_file(files, key), _to_arrays(objects, found.scene))}
            box = None
            if len(walls):
                file = _walls_file(files, key)
                written[file] = write_arrays(file, {**_walls_to_arrays(walls), "outcome": outcome})
                box = [*map(float, shapely.total_bounds(np.concatenate((walls.before, walls.after))))]
            more = {
                "box": box,
                "others": int((~walled).sum()),
                "holes": found.filled.count,
                "holes_m2": found.filled.area_m2,
            }
            files.commit(key, written, more)
            return {}

        return make


@dataclass(frozen=True, slots=True)
class KeepApart:
    """Take back the regularized outlines of a block that would overlap another object.

    Attributes:
        run: The RUN folder.
        depends: Hash of all that outlines and what follows depend on.
    """

    run: RunFolder
    depends: str

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Learn where walls lie."""
        around = WallsAround(self.run, self.depends)
        files = StageFiles(self.run, "overlaps", self.depends)

        def judge(key: str) -> dict[str, Any]:
            own, outcome = around.of_block(key)
            near = [walls for other, walls in around.near(own.after[own.changed], but=key)]
            apart = stands_apart(own, Walls.concatenate([own.take(np.empty(0, np.int64)), *near]))
            outcome = np.where(own.changed & ~apart, np.uint8(Outcome.UNCHANGED_OVERLAP), outcome)
            file = _file(files, key)
            files.commit(key, {file: write_arrays(file, {"outcome": outcome})}, {})
            return {}

        return judge


@dataclass(frozen=True, slots=True)
class FindSplits:
    """Find the regularized outlines that would cut another object, that begins in a block, into several.

    Attributes:
        gathering: How objects were brought together.
    """

    gathering: Gathering

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Learn where walls lie."""
        gathering = self.gathering
        around = WallsAround(gathering.run, gathering.depends, judged=True)
        files = StageFiles(gathering.run, "splits", gathering.depends)
        pixel_m2 = nominal_pixel_m2(gathering.grid)

        def find(key: str) -> dict[str, Any]:
            objects, _ = read_whole(gathering, key)
            bodies = np.flatnonzero(~is_wall(objects, gathering))
            walls = around.changed_near(objects.polygons[bodies])
            taken_back = []
            for body, index in zip(bodies, overlapping(objects.polygons[bodies], walls.after), strict=True):
                if len(index):
                    least_px2 = gathering.cleaning.min_area_m2[objects.class_id[body]] / pixel_m2
                    goes = splitting(objects.polygons[body], walls.after[index], least_px2)
                    taken_back.append(walls.id[index][goes])
            ids = np.unique(np.concatenate([np.empty(0, np.int64), *taken_back]))
            file = _file(files, key)
            files.commit(key, {file: write_arrays(file, {"id": ids})}, {})
            return {}

        return find


class WallsAround:
    """The walls of blocks, found by where they lie.

    Args:
        run: The RUN folder.
        depends: Hash of all that outlines and what follows depend on.
        judged: Whether those that would overlap another are taken back already.
        taken_back: Ids of those that are taken back besides, int64 (n,), in order.
    """

    def __init__(
        self,
        run: RunFolder,
        depends: str,
        *,
        judged: bool = False,
        taken_back: NDArray[np.int64] | None = None,
    ) -> None:
        self._whole = StageFiles(run, "whole", depends)
        self._judged = StageFiles(run, "overlaps", depends) if judged else None
        self._taken_back = np.empty(0, np.int64) if taken_back is None else taken_back
        arrays = read_arrays(boxes_file(run, depends))
        self._keys = arrays["key"].tolist()
        self._boxes = shapely.STRtree(shapely.box(*arrays["box"].T) if len(self._keys) else [])

    def of_block(self, key: str) -> tuple[Walls, NDArray[np.uint8]]:
        """The walls that begin in a block, and what became of each, uint8 (n,)."""
        arrays = read_arrays(_walls_file(self._whole, key))
        walls, outcome = _walls_from_arrays(arrays), arrays["outcome"]
        if self._judged is not None:
            outcome = read_arrays(_file(self._judged, key))["outcome"]
            outcome = np.where(
                np.isin(walls.id, self._taken_back) & (outcome == Outcome.REGULARIZED),
                Outcome.UNCHANGED_SPLIT,
                outcome,
            ).astype(np.uint8)
        changed = outcome == Outcome.REGULARIZED
        after = np.where(changed, walls.after, walls.before)
        return Walls(walls.id, walls.before, after, changed), outcome

    def near(self, polygons: NDArray[np.object_], but: str = "") -> Iterator[tuple[str, Walls]]:
        """The walls whose box meets that of some polygons (n,), by block, but for those of one block."""
        if len(polygons) == 0:
            return
        boxes = shapely.STRtree(shapely.box(*shapely.bounds(polygons).T))
        blocks = self._boxes.query(shapely.box(*shapely.total_bounds(polygons)))
        for key in sorted(self._keys[number] for number in blocks):
            if key != but:
                walls, _ = self.of_block(key)
                sides = shapely.bounds(walls.before), shapely.bounds(walls.after)
                left_top = np.minimum(sides[0][:, :2], sides[1][:, :2])
                right_bottom = np.maximum(sides[0][:, 2:], sides[1][:, 2:])
                reach = shapely.box(left_top[:, 0], left_top[:, 1], right_bottom[:, 0], right_bottom[:, 1])
                yield key, walls.take(np.unique(boxes.query(reach)[0]))

    def changed_near(self, polygons: NDArray[np.object_]) -> Walls:
        """The regularized walls whose box meets that of some polygons (n,), in the order of their ids."""
        near = [walls.take(walls.changed) for _, walls in self.near(polygons)]
        nothing = np.empty(0, object)
        together = Walls.concatenate([Walls(np.empty(0, np.int64), nothing, nothing, np.empty(0, bool)), *near])
        return together.take(np.argsort(together.id))


def write_boxes(run: RunFolder, depends: str) -> tuple[list[str], list[str]]:
    """Write down where the walls of each block lie, as the markers say.

    Returns:
        The keys of the blocks in which walls begin, and of those in which other objects do.
    """
    with_walls, boxes, with_others = [], [], []
    for key, record in run.ledger("whole").records():
        if record["box"] is not None:
            with_walls.append(key)
            boxes.append(record["box"])
        if record["others"]:
            with_others.append(key)
    arrays = {"key": np.array(with_walls, "U"), "box": np.array(boxes, np.float64).reshape(-1, 4)}
    file, files = boxes_file(run, depends), StageFiles(run, "boxes", depends)
    there = read_arrays(file) if "all" in run.ledger("boxes").done_for(depends) else None
    # A run that goes on keeps what it has; one that lacked a block then may have it now.
    if there is None or not all(np.array_equal(arrays[name], there[name]) for name in arrays):
        run.ledger("boxes").forget("all")
        files.commit("all", {file: write_arrays(file, arrays)}, {})
    return with_walls, with_others


def boxes_file(run: RunFolder, depends: str) -> Place:
    """Where `write_boxes` writes."""
    return StageFiles(run, "boxes", depends).folder / "all.npz"


def splits_of(run: RunFolder, depends: str) -> NDArray[np.int64]:
    """Ids of all walls that would cut another object into several, int64 (n,), in order."""
    splits = StageFiles(run, "splits", depends).folder
    found = [arrays["id"] for arrays in read_each(sorted_files(splits, "*.npz"))]
    return np.unique(np.concatenate([np.empty(0, np.int64), *found]))


def is_wall(objects: Objects, gathering: Gathering) -> NDArray[np.bool_]:
    """Which objects (n,) are to be regularized: those of some classes, unless they come in parts."""
    return np.isin(objects.class_id, gathering.cleaning.regularize) & (objects.part == 0)


def read_whole(gathering: Gathering, key: str) -> tuple[Objects, NDArray[np.int64] | None]:
    """The objects that begin in a block, as `RegularizeObjects` left them, and the scene of each (n,)."""
    arrays = read_arrays(_file(StageFiles(gathering.run, "whole", gathering.depends), key))
    of_all = Outlines.from_arrays(arrays)
    objects = Objects(of_all.id, of_all.part, of_all.class_id, of_all.confidence, of_all.rings.polygons())
    return objects, arrays.get("scene")


def _regularized(
    objects: Objects, walled: NDArray[np.bool_], gathering: Gathering, key: str, pixels: Pixels
) -> tuple[Walls, NDArray[np.uint8]]:
    before = objects.polygons[walled]
    if not walled.any():
        return Walls(objects.id[walled], before, before, walled[walled]), np.empty(0, np.uint8)
    of_pixels = before
    if not gathering.cleaning.leaves_outlines:
        walls = gathering.gather_walls(key, pixels)
        if not np.array_equal(walls.id, objects.id[walled]):
            raise ValueError(f"the outlines of block {key} are of other objects than those of its pixels")
        of_pixels = walls.polygons
    # Small holes are filled already, where they may be.
    after, outcome = regularize(of_pixels, Regularization(min_hole_px2=0))
    changed = outcome == Outcome.REGULARIZED
    into_nodata = np.zeros(len(before), bool)
    into_nodata[changed] = pixels.covers_nodata(after[changed])
    outcome = np.where(into_nodata, np.uint8(Outcome.UNCHANGED_NODATA), outcome)
    changed &= ~into_nodata
    return Walls(objects.id[walled], before, np.where(changed, after, before), changed), outcome


def _file(files: StageFiles, key: str) -> Place:
    return files.folder / f"{key}.npz"


def _walls_file(files: StageFiles, key: str) -> Place:
    return files.folder / f"{key}.walls.npz"


def _to_arrays(objects: Objects, scene: NDArray[np.int64] | None) -> dict[str, NDArray[Any]]:
    arrays = Outlines(
        id=objects.id,
        part=objects.part,
        is_cut=np.ones(len(objects), np.bool_),
        class_id=objects.class_id,
        confidence=objects.confidence,
        rings=Rings.of(objects.polygons),
    ).to_arrays()
    return arrays if scene is None else {**arrays, "scene": scene}


def _walls_to_arrays(walls: Walls) -> dict[str, NDArray[Any]]:
    before, after = Rings.of(walls.before).to_arrays(), Rings.of(walls.after).to_arrays()
    return {
        "id": walls.id,
        "changed": walls.changed,
        **{f"before_{name}": array for name, array in before.items()},
        **{f"after_{name}": array for name, array in after.items()},
    }


def _walls_from_arrays(arrays: dict[str, NDArray[Any]]) -> Walls:
    before, after = (
        Rings.from_arrays({name: arrays[f"{which}_{name}"] for name in ("ring_xy", "ring_size", "ring_count")})
        for which in ("before", "after")
    )
    return Walls(arrays["id"], before.polygons(), after.polygons(), arrays["changed"])
