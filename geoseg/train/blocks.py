"""Scenes divided into splits by square blocks of ground, apart by a buffer; no random chips that overlap."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.grid import Grid
from geoseg.io.plane import Plane, moved
from geoseg.io.regions import Region
from geoseg.train.class_places import class_places
from geoseg.train.footprint import LONLAT, footprint, in_pixels, lonlat_box, on_ground
from geoseg.train.scenes import LabelledScene

_BLOCKS = 36
"""How many blocks the ground holds where their side is not given."""

_BUFFER = 1 / 16
"""The buffer as a share of the side where it is not given."""

_WHOLE = 0.25
"""Blocks are judged on that hold data on this share of their area; where there are none, on any."""

_NEAR_DEGREES = 0.05
"""Scenes whose boxes are no further apart are divided by the same blocks."""

_DIAGONAL = 1.5
"""Half the diagonals of two pixels, in pixels: the buffer is between pixels, not their centres alone."""

_ORDERS = 32
"""Random orders of the blocks that are tried."""

Part = Literal["train", "val", "test"]
Judged = Literal["val", "test"]


@dataclass(frozen=True, slots=True)
class BlockRule:
    """How ground is divided; see `geoseg.config.data.SplitsConfig`.

    Attributes:
        block_m: Side of the blocks in metres; None for about 36 blocks.
        buffer_m: Least distance from training pixels to those that are judged; None for a 16th of the side.
        val: Share of the ground for validation.
        test: Share of the ground for the test.
        seed: Which blocks these are.
    """

    block_m: float | None = None
    buffer_m: float | None = None
    val: float = 0.15
    test: float = 0.15
    seed: int = 0


def divide(scenes: Sequence[LabelledScene], rule: BlockRule) -> list[dict[Part, Region]]:
    """The region of each split in each scene, within the scene's own region.

    Blocks lie on a lattice in a transverse Mercator plane about the scenes (those that lie near one another share
    one), so that scenes that overlap, in whatever CRS, are divided alike. Which blocks are judged follows from the
    seed: of each plane, blocks in random order until their ground is the wanted share; of 32 such orders the one
    whose shares of the classes (of a sample of pixels) are nearest to those of all ground, so that rare classes are
    judged too. No pixel of train lies within the buffer of one of val or test, no pixel of test within the buffer
    of one of val.

    Args:
        scenes: Open scenes, their `pixels` being the regions to divide.
        rule: How.

    Returns:
        For each scene its splits; one that it has no pixel of is left out.

    Raises:
        ConfigError: A scene has no place on earth, or there is too little ground for the blocks.
    """
    for scene in scenes:
        if not scene.grid.has_place:
            raise ConfigError(
                f"split: {scene.source.image} has no place on earth, so that it cannot be divided in blocks of "
                "ground; say train, val and test for folders of chips that do not overlap"
            )
    prints = [on_ground(footprint(scene)[0], scene.grid) for scene in scenes]
    planes = _planes(prints)
    grounds = [
        moved(np.array([one.geometry], object), one.crs, plane)[0]
        for one, plane in zip(prints, planes, strict=True)
    ]
    whole = {
        plane: shapely.union_all(
            shapely.make_valid([g for g, its in zip(grounds, planes, strict=True) if its == plane])
        )
        for plane in dict.fromkeys(planes)
    }
    coarsest_m = max(max(scene.grid.ground_resolution_m()) for scene in scenes)
    divided = {}
    for plane, ground in whole.items():
        its = [scene for scene, of_scene in zip(scenes, planes, strict=True) if of_scene == plane]
        seen = class_places(its, plane, its[0].classes)
        divided[plane] = _divided(ground, seen, rule, _DIAGONAL * coarsest_m)
    found = []
    for scene, plane in zip(scenes, planes, strict=True):
        regions: dict[Part, Region] = {}
        for part, geometry in divided[plane].items():
            if geometry.is_empty:
                continue
            pixels = shapely.intersection(in_pixels(Region(plane, geometry), scene.grid), scene.pixels)
            if pixels.area >= 1:
                regions[part] = on_ground(pixels, scene.grid)
        found.append(regions)
    for part in ("train", "val"):
        if not any(part in regions for regions in found):
            raise ConfigError(
                f"splits: nothing is left for {part}; choose smaller blocks and a smaller buffer with "
                "splits.block_m and splits.buffer_m, or add scenes"
            )
    return found


def _divided(
    ground: shapely.Geometry,
    seen: tuple[NDArray[np.object_], NDArray[np.int64]],
    rule: BlockRule,
    more_m: float,
) -> dict[Part, shapely.Geometry]:
    """The ground of each split in a plane; the buffer is wider by `more_m` than was asked for."""
    side_m = rule.block_m or math.sqrt(ground.area / _BLOCKS)
    buffer_m = (_BUFFER * side_m if rule.buffer_m is None else rule.buffer_m) + more_m
    judged = _choose(ground, seen, side_m, rule)
    val, test = (shapely.union_all(judged[part]) for part in ("val", "test"))
    test = shapely.difference(test, _wider(val, buffer_m))
    train = shapely.difference(ground, _wider(shapely.union(val, test), buffer_m))
    return {"train": train, "val": val, "test": test}


def _wider(geometry: shapely.Geometry, by_m: float) -> shapely.Geometry:
    # Square corners hold the round ones.
    return geometry if geometry.is_empty else shapely.buffer(geometry, by_m, join_style="mitre")


def _planes(prints: Sequence[Region]) -> list[str]:
    """For each footprint the plane that its blocks lie in, in which those near it lie too."""
    boxes = [shapely.box(*lonlat_box(one).bounds).buffer(_NEAR_DEGREES / 2, join_style="mitre") for one in prints]
    together = shapely.get_parts(shapely.union_all(boxes))
    tree = shapely.STRtree(together)
    planes: dict[int, str] = {}
    found = []
    for box in boxes:
        group = int(tree.query(box, predicate="intersects")[0])
        if group not in planes:
            left, bottom, right, top = together[group].bounds
            # A grid of one pixel: its plane is about its middle.
            grid = Grid(LONLAT, Affine(right - left, 0, left, 0, bottom - top, top), 1, 1)
            planes[group] = Plane.of(grid).crs
        found.append(planes[group])
    return found


def _choose(
    ground: shapely.Geometry,
    seen: tuple[NDArray[np.object_], NDArray[np.int64]],
    side_m: float,
    rule: BlockRule,
) -> dict[Judged, list[shapely.Geometry]]:
    """The blocks of val and test."""
    blocks = _lattice(ground, side_m)
    areas = shapely.area(shapely.intersection(blocks, ground))
    points, ids = seen
    pixels_bk = np.zeros((len(blocks), int(ids.max(initial=0)) + 1))
    at_point, in_block = shapely.STRtree(blocks).query(points, predicate="intersects")
    np.add.at(pixels_bk, (in_block, ids[at_point]), 1)
    rng = np.random.default_rng(rule.seed)
    orders: list[list[int]] = [rng.permutation(len(blocks)).tolist() for _ in range(_ORDERS)]
    large = areas >= _WHOLE * side_m**2
    chosen = [_taken([one for one in order if large[one]] or order, areas, rule) for order in orders]
    # The first of those that are equally near.
    best = min(chosen, key=lambda taken: _unlike(taken, pixels_bk))
    return {part: [blocks[number] for number in numbers] for part, numbers in best.items()}


def _taken(order: list[int], areas: NDArray[np.float64], rule: BlockRule) -> dict[Judged, list[int]]:
    """Blocks in an order until each part has its share of the ground."""
    left = list(order)
    chosen: dict[Judged, list[int]] = {"val": [], "test": []}
    shares: tuple[tuple[Judged, float], ...] = (("val", rule.val), ("test", rule.test))
    for part, share in shares:
        taken_m2 = 0.0
        # One block at least is left to train on.
        while taken_m2 < share * areas.sum() and len(left) > 1:
            taken_m2 += float(areas[left[0]])
            chosen[part].append(left.pop(0))
    return chosen


def _unlike(taken: dict[Judged, list[int]], pixels_bk: NDArray[np.float64]) -> float:
    """How far the shares of classes are from those of all ground; a class that a part lacks weighs most."""
    judged = [number for numbers in taken.values() for number in numbers]
    rest = [number for number in range(len(pixels_bk)) if number not in set(judged)]
    whole_k = pixels_bk.sum(0)
    apart = 0.0
    for numbers in (*(numbers for numbers in taken.values() if numbers), rest):
        part_k = pixels_bk[numbers].sum(0)
        apart += 10 * float(((part_k == 0) & (whole_k > 0)).sum())
        apart += float(np.abs(part_k / max(1.0, part_k.sum()) - whole_k / max(1.0, whole_k.sum())).sum())
    return apart


def _lattice(ground: shapely.Geometry, side_m: float) -> list[shapely.Geometry]:
    """The squares of a lattice, anchored at the ground's north-west corner, that meet it, row by row."""
    left, bottom, right, top = ground.bounds
    rows, cols = (max(1, math.ceil(length / side_m - 1e-6)) for length in (top - bottom, right - left))
    if rows * cols > 10**6:
        raise ConfigError(f"splits: expected at most a million blocks, got {rows} x {cols} of {side_m:g} m")
    row, col = np.divmod(np.arange(rows * cols), cols)
    x, y = left + col * side_m, top - row * side_m
    boxes = shapely.box(x, y - side_m, x + side_m, y)
    shapely.prepare(ground)
    return list(boxes[shapely.intersects(ground, boxes)])
