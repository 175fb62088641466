"""Features: whole objects, cut back from regularized ones, placed and measured, by the block where they begin."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.io.arrays import read_each, write_arrays
from geoseg.io.layers import NO_OUTCOME, Features, Outcome
from geoseg.io.ledger import canonical_hash
from geoseg.io.place import sorted_files
from geoseg.io.run_folder import RunFolder
from geoseg.objects.ground import nominal_pixel_m2
from geoseg.vectorize.features import from_arrays, place, to_arrays
from geoseg.vectorize.fitting import cut_back, overlapping
from geoseg.vectorize.outlines import Objects
from geoseg.work.fitting import WallsAround, is_wall, read_whole, splits_of
from geoseg.work.stage_files import StageFiles
from geoseg.work.whole import Gathering


@dataclass(frozen=True, slots=True)
class PlaceFeatures:
    """Make the features of the objects that begin in a block.

    Attributes:
        gathering: How objects are brought together.
    """

    gathering: Gathering

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Learn where walls lie, where outlines are regularized; keep pixels at hand."""
        gathering = self.gathering
        run, depends, grid = gathering.run, gathering.depends, gathering.grid
        files, pixels = StageFiles(run, "features", depends), gathering.pixels()
        around = None
        if gathering.cleaning.regularize:
            around = WallsAround(run, depends, judged=True, taken_back=splits_of(run, depends))

        def make(key: str) -> dict[str, Any]:
            if around is None:
                found = gathering.gather(key, pixels)
                objects, scene = found.objects, found.scene
                outcome = np.full(len(objects), NO_OUTCOME, np.uint8)
                more: dict[str, Any] = {"holes": found.filled.count, "holes_m2": found.filled.area_m2}
            else:
                objects, scene, outcome, more = _fitted(gathering, around, key)
            features = replace(place(objects, grid, scene), outcome=outcome)
            more["vertices"] = int(shapely.get_num_coordinates(features.geometry).sum())
            file = files.folder / f"{key}.npz"
            files.commit(key, {file: write_arrays(file, to_arrays(features))}, {"features": len(features), **more})
            return {"features": len(features)}

        return make


def _fitted(
    gathering: Gathering, around: WallsAround, key: str
) -> tuple[Objects, NDArray[np.int64] | None, NDArray[np.uint8], dict[str, Any]]:
    """The objects that begin in a block among regularized ones; the scene and outcome of each (n,); figures."""
    objects, scene = read_whole(gathering, key)
    polygons, outcome = objects.polygons, np.full(len(objects), NO_OUTCOME, np.uint8)
    walled = is_wall(objects, gathering)
    gaps_px2 = cut_px2 = 0.0
    figures: dict[str, Any] = {}
    if walled.any():
        own, became = around.of_block(key)
        polygons[walled], outcome[walled] = own.after, became
        bared = shapely.difference(own.before[own.changed], own.after[own.changed])
        gaps_px2 += float(shapely.area(bared).sum())
        figures["outcomes"] = {
            Outcome(code).name.lower(): int((became == code).sum()) for code in np.unique(became)
        }
    bodies = np.flatnonzero(~walled)
    walls = around.changed_near(polygons[bodies])
    parts: list[float] = []
    for body, index in zip(bodies, overlapping(polygons[bodies], walls.after), strict=True):
        if len(index):
            left, cut_off = cut_back(polygons[body], walls.after[index])
            parts += shapely.area(cut_off).tolist()
            cut_px2 += shapely.area(polygons[body]) - shapely.area(left) - shapely.area(cut_off).sum()
            polygons[body] = shapely.normalize(left)
    pixel_m2 = nominal_pixel_m2(gathering.grid)
    figures |= {
        "cut_back_m2": float(cut_px2) * pixel_m2,
        "parts": len(parts),
        "parts_m2": sum(parts) * pixel_m2,
        "gaps_m2": (gaps_px2 + sum(parts)) * pixel_m2,
    }
    columns = (objects.id, objects.part, objects.class_id, objects.confidence)
    return Objects(*columns, polygons=polygons), scene, outcome, figures


def shapes_hash(mosaic: str, shapes: Mapping[str, Any]) -> str:
    """Hash of all that outlines and features, or a network, depend on.

    Args:
        mosaic: Hash of the mosaic's content.
        shapes: What they depend on besides, as plan.json has it.
    """
    return canonical_hash({"mosaic": mosaic, **shapes})


def owner_keys(run: RunFolder, depends: str) -> list[str]:
    """Keys of the blocks in which objects begin that have outlines."""
    return sorted(path.name for path in StageFiles(run, "outlines", depends).folder.iterdir())


def features_of(run: RunFolder, depends: str, class_id: int) -> Iterator[Features]:
    """The features of a class in raster order of their first pixels, those of a row of blocks at a time."""
    # An id is a place in raster order, and a block's key begins with its row; so is the number of a part.
    files = sorted_files(StageFiles(run, "features", depends).folder, "*.npz")
    for _, row in groupby(files, lambda file: file.stem.partition("-")[0]):
        parts = [from_arrays(arrays) for arrays in read_each(list(row))]
        parts = [part.at(part.class_id == np.uint8(class_id)) for part in parts]
        together = Features.concatenate(parts)
        yield together.at(np.argsort(together.feature, kind="stable"))
