"""A finished run as COCO's panoptic format: pictures of its segments, cut from the whole grid, and what they are.

Numbers. In a PNG the number of a class of stuff is 2^24 - 1 - its class id. That of an object is its place, from 1
on, in the order of first pixels in raster order (which is that of ids) among the objects of the region; where these
are more than there are numbers left, among the objects of the PNG. So an object has the same number in all PNGs
wherever numbers suffice; by `geoseg.object`, its id, its parts are known in either case.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.grid import Grid, Window
from geoseg.io.coco_panoptic import PNGS, Segments, categories_of, category_id, panoptic_document
from geoseg.io.mosaic import CHUNK_PX, Mosaic
from geoseg.io.segment_png import MOST_NUMBER, segment_png
from geoseg.labels import LabelSet
from geoseg.objects.segment_runs import VOID, KeyRuns, SegmentTable, class_of_stuff, segment_keys
from geoseg.tiling import Block
from geoseg.work.object_index import ObjectIndex, indexed
from geoseg.work.run_objects import RunObjects

TILE_PX = 8192
"""Side of a PNG where the user does not say it."""

MOST_TILE_PX = 16384
"""Readers hold a whole PNG in memory."""


@dataclass(frozen=True, slots=True)
class PanopticFiles:
    """What was written.

    Attributes:
        pngs: Names of the PNGs, in row-major order.
        objects: How many objects there are.
    """

    pngs: tuple[str, ...]
    objects: int


@dataclass(slots=True)
class PanopticPictures:
    """Segments of a mosaic, cut into PNGs.

    Attributes:
        mosaic: The mosaic.
        grid: Its grid.
        labels: Its classes.
        blocks: Those that hold data, in row-major order.
        instances: Its objects.
        tile_px: Side of the PNGs, which begin at the grid's corner; those at the far edges are smaller.
        most: The largest number in a PNG.
    """

    mosaic: Mosaic
    grid: Grid
    labels: LabelSet
    blocks: Sequence[Block]
    instances: RunObjects
    tile_px: int = TILE_PX
    most: int = MOST_NUMBER
    _stuff: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        if not 16 <= self.tile_px <= MOST_TILE_PX:
            raise GeosegError(f"expected a --tile-size of 16 to {MOST_TILE_PX} px, got {self.tile_px}")
        self._stuff = tuple(sorted(set(range(len(self.labels))) - self.instances.things))

    @property
    def room(self) -> int:
        """How many numbers of a PNG are left for objects."""
        return self.most - len(self.labels)

    def write(
        self, folder: Path, info: Mapping[str, Any], advance: Callable[[int], None] = lambda _: None
    ) -> PanopticFiles:
        """Write all PNGs that hold a segment, and the document.

        Args:
            folder: Where; it is there, and empty.
            info: What the document says of the run.
            advance: Told of pixels that were gone over, which each block's are twice.

        Raises:
            GeosegError: A PNG has more objects than numbers.
            RunFolderError: The mosaic's objects are damaged.
            StoppedError: The disk is full.
        """
        (folder / PNGS).mkdir()
        names = []
        with TemporaryDirectory(prefix=".objects.", suffix=".partial", dir=folder) as scratch:
            index = self._index(Path(scratch), advance)
            about = {**info, "tile_size": self.tile_px, "objects": len(index)}
            description = {"description": f"geoseg run {info['run']}", "version": "1.0", "geoseg": about}
            categories = categories_of(self.labels, self.instances.things)
            with panoptic_document(folder, description, categories) as document:
                for window, parts in self._windows():
                    name = f"r{window.row:06}_c{window.col:06}"
                    table = self._draw(folder / PNGS / f"{name}.png", window, parts, index, advance)
                    if len(table):
                        document.add(name, window, self.grid, _segments(table))
                        names.append(f"{name}.png")
        return PanopticFiles(tuple(names), len(index))

    def _index(self, scratch: Path, advance: Callable[[int], None]) -> ObjectIndex:
        """All objects; of those that may be mixed, how many pixels they have of each class."""
        index = indexed(scratch, self.instances, self.blocks, advance)
        if self.instances.is_mixed:
            for block in self.blocks:
                self._count(block.window, index)
        return index

    def _count(self, window: Window, index: ObjectIndex) -> None:
        classes_hw = self.mosaic.read(0, "classes", window)
        is_thing_hw = np.isin(classes_hw, sorted(self.instances.things))
        ids_hw = np.where(is_thing_hw, self.instances.read(window), np.uint64(0))
        # Ids are places on a grid: there are eight bits to spare.
        runs = KeyRuns.of(np.where(ids_hw > 0, ids_hw << np.uint64(8) | classes_hw, np.uint64(0)))
        area, _ = runs.measure(0, 0)
        known = runs.keys > 0
        keys = runs.keys[known]
        index.count(keys >> np.uint64(8), (keys & np.uint64(255)).astype(np.int64), area[known])

    def _windows(self) -> Iterator[tuple[Window, list[Window]]]:
        """The PNGs that blocks with data touch, in row-major order, and what of them lies in these blocks."""
        side = self.tile_px
        touched: dict[tuple[int, int], list[Window]] = {}
        for block in self.blocks:
            for i in range(block.window.row // side, (block.window.row_stop - 1) // side + 1):
                for j in range(block.window.col // side, (block.window.col_stop - 1) // side + 1):
                    touched.setdefault((i, j), []).append(block.window)
        for (i, j), windows in sorted(touched.items()):
            row, col = i * side, j * side
            picture = Window(row, col, min(side, self.grid.height - row), min(side, self.grid.width - col))
            yield picture, [part for one in windows if (part := one.intersection(picture)) is not None]

    def _draw(
        self,
        path: Path,
        window: Window,
        parts: Sequence[Window],
        index: ObjectIndex,
        advance: Callable[[int], None],
    ) -> SegmentTable:
        """Write a PNG, and tell what is in it."""
        table = SegmentTable.empty()
        with segment_png(path, window.height, window.width) as rows:
            for strip in _strips(window):
                here = [common for part in parts if (common := part.intersection(strip)) is not None]
                if not here:
                    continue
                classes_hw = self.mosaic.read(0, "classes", strip)
                keys_hw = segment_keys(classes_hw, self.instances.read(strip), self._stuff)
                runs = KeyRuns.of(keys_hw)
                numbers = self._numbers(runs, classes_hw, table, index, path.name)
                row = strip.row - window.row
                area, box = runs.measure(row, 0)
                is_segment = runs.keys != VOID
                table.count(runs.keys[is_segment], area[is_segment], box[is_segment])
                rows.write(row, runs.paint(numbers))
                advance(sum(part.height * part.width for part in here))
        return table

    def _numbers(
        self, runs: KeyRuns, classes_hw: NDArray[np.uint8], table: SegmentTable, index: ObjectIndex, name: str
    ) -> NDArray[np.uint32]:
        """What stands for each key (m,) of a part of a PNG; those that are new are taken in."""
        is_segment = runs.keys != VOID
        new = is_segment & table.unknown(runs.keys)
        keys, class_id = runs.keys[new], class_of_stuff(runs.keys[new])
        number = self.most - class_id
        is_object = class_id < 0
        ids = keys[is_object]
        if self.instances.is_mixed:
            class_id[is_object] = index.classes(ids)
        else:
            class_id[is_object] = classes_hw.reshape(-1)[runs.first[new][is_object]]
        if len(index) <= self.room:
            number[is_object] = index.places(ids) + 1
        else:
            before = int(np.count_nonzero(class_of_stuff(table.key) < 0))
            if before + len(ids) > self.room:
                raise GeosegError(
                    f"{name} would hold more than {self.room} objects, which three bytes do not tell apart: choose "
                    "a smaller --tile-size"
                )
            number[is_object] = before + 1 + np.arange(len(ids))
        table.add(keys, number, class_id)
        numbers = np.zeros(len(runs.keys), np.uint32)
        numbers[is_segment] = table.numbers(runs.keys[is_segment])
        return numbers


def _segments(table: SegmentTable) -> Segments:
    object_id = np.where(class_of_stuff(table.key) < 0, table.key, np.uint64(0))
    return Segments(table.number, category_id(0) + table.class_id, table.area, table.box, object_id)


def _strips(window: Window) -> Iterator[Window]:
    """The rows of a window that are read at once: those of a row of chunks."""
    row = window.row
    while row < window.row_stop:
        stop = min((row // CHUNK_PX + 1) * CHUNK_PX, window.row_stop)
        yield Window(row, window.col, stop - row, window.width)
        row = stop
