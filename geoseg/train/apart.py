"""Whether the splits of a data set lie apart on the ground."""

import hashlib
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Protocol

import shapely

from geoseg.errors import ConfigError
from geoseg.grid import Grid
from geoseg.train.footprint import Placed, footprint, in_pixels, lonlat_box, on_ground

_THIN_PX = 1.0
"""Strips that are shared and no wider than twice this are the seam of neighbours."""


class _Source(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def split(self) -> str: ...


class SplitScene(Placed, Protocol):
    """An open scene that belongs to a split."""

    @property
    def source(self) -> _Source:
        """What it was opened from."""
        ...

    @property
    def grid(self) -> Grid:
        """The pixels it is read on."""
        ...


def refuse_overlap(scenes: Sequence[SplitScene]) -> None:
    """Check that no ground belongs to two splits.

    Of one raster regions are compared pixel by pixel. Of different ones, in whatever CRS, the parts of the regions
    that hold data are: a strip that is no wider than two pixels is taken for the seam of neighbours, or than two
    pixels of the picture (of 1,024 px) that data is told from. Of chips without a place on earth the files are.

    Raises:
        ConfigError: Regions of different splits overlap, or a file is in two; names both and the area.
    """
    of_image: dict[str, list[SplitScene]] = {}
    for scene in scenes:
        of_image.setdefault(scene.source.image, []).append(scene)
    for same in of_image.values():
        for other, scene in combinations(same, 2):
            if scene.source.split == other.source.split:
                continue
            shared_px = shapely.intersection(scene.pixels, other.pixels).area
            # Regions that only touch share slivers from rounding, never a whole pixel.
            if shared_px >= 1:
                raise ConfigError(
                    f"expected {other.source.split} and {scene.source.split} to be apart on the ground, their "
                    f"regions share {shared_px:.0f} pixels of {scene.source.image}; give them regions apart"
                )
    _refuse_copies([scene for scene in scenes if not scene.grid.has_place])
    _refuse_shared_ground([scene for scene in scenes if scene.grid.has_place])


def _refuse_shared_ground(scenes: Sequence[SplitScene]) -> None:
    if len({scene.source.split for scene in scenes}) < 2:
        return
    boxes = [lonlat_box(on_ground(scene.pixels, scene.grid)) for scene in scenes]
    pairs = shapely.STRtree(boxes).query(boxes, predicate="intersects").T.tolist()
    prints: dict[int, tuple[shapely.Geometry, float]] = {}
    for first, second in sorted(pairs):
        one, other = scenes[first], scenes[second]
        apart = one.source.split == other.source.split or one.source.image == other.source.image
        if first >= second or apart:
            continue
        for number in (first, second):
            if number not in prints:
                prints[number] = footprint(scenes[number])
        (mine, off_px), (theirs, their_off_px) = prints[first], prints[second]
        moved = in_pixels(on_ground(theirs, other.grid), one.grid)
        ratio = max(other.grid.ground_resolution_m()) / min(one.grid.ground_resolution_m())
        thin_px = max(_THIN_PX, off_px, their_off_px * ratio)
        shared = shapely.intersection(mine, moved)
        if shapely.buffer(shared, -thin_px, join_style="mitre").area > 0:
            height_m, width_m = one.grid.ground_resolution_m()
            raise ConfigError(
                f"expected {one.source.split} and {other.source.split} to be apart on the ground, "
                f"{one.source.image} and {other.source.image} share {shared.area * height_m * width_m:.0f} m2; "
                "give them regions apart, or the same split"
            )


def _refuse_copies(scenes: Sequence[SplitScene]) -> None:
    if len({scene.source.split for scene in scenes}) < 2:
        return
    known: dict[str, SplitScene] = {}
    for scene in scenes:
        digest = hashlib.sha256(Path(scene.source.image).read_bytes()).hexdigest()
        first = known.setdefault(digest, scene)
        if first.source.split != scene.source.split and first.source.image != scene.source.image:
            raise ConfigError(
                f"expected {first.source.split} and {scene.source.split} to be apart, {first.source.image} and "
                f"{scene.source.image} are the same file; leave one of them out"
            )
