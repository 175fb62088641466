"""Whole objects, by the block in which each begins: brought together, their small holes filled."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Grid, Window
from geoseg.io.arrays import read_each
from geoseg.io.mosaic import CHUNK_PX
from geoseg.io.place import Place, sorted_files
from geoseg.io.run_folder import RunFolder
from geoseg.labels import NODATA_CLASS
from geoseg.objects.ground import GROUND_UNIT, nominal_pixel_m2, pixel_ground
from geoseg.objects.grouping import Panoptic
from geoseg.objects.thresholds import Thresholds
from geoseg.objects.votes import Votes
from geoseg.squares import Squares
from geoseg.vectorize.cleaning import Cleaning
from geoseg.vectorize.features import geodesic_measures, on_grid
from geoseg.vectorize.holes import Filled, fill_holes, nothing_kept, window_of
from geoseg.vectorize.outlines import PARTS_ABOVE_SIDES, Objects, Outlines, assemble
from geoseg.work.stage_files import StageFiles


def walls_folder(files: StageFiles, owner: str) -> Place:
    """Where the pixels' outlines lie of objects that begin in a block and are to be regularized."""
    return files.folder / owner / "walls"


_SQUARES_KEPT = 32
"""Chunks whose pixels are at hand: a wide block and most of what begins in it."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """The objects that begin in a block.

    Attributes:
        objects: In pixel coordinates.
        scene: int64 (n,), which scene most of each object's pixels come from; None where there is one only.
        filled: Holes that were filled.
    """

    objects: Objects
    scene: NDArray[np.int64] | None
    filled: Filled


@dataclass(frozen=True, slots=True)
class Gathering:
    """How objects are brought together.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        block_px: (height, width) of the blocks.
        keep: Ids of the classes that have a layer.
        thresholds: How probable they must be.
        cleaning: Minimum areas, and whether outlines are those of pixels.
        depends: Hash of all that outlines and what follows depend on.
        panoptic: How objects are told apart that touch; None where what touches is one.
        several_scenes: Whether the mosaic keeps which scene each pixel comes from.
        parts_above_sides: Objects with a longer outline (`Measures.sides`) become features in parts.
    """

    run: RunFolder
    grid: Grid
    block_px: tuple[int, int]
    keep: tuple[int, ...]
    thresholds: Thresholds
    cleaning: Cleaning
    depends: str
    panoptic: Panoptic | None = None
    several_scenes: bool = False
    parts_above_sides: int = PARTS_ABOVE_SIDES

    def gather(self, key: str, pixels: "Pixels") -> Gathered:
        """Bring together what blocks hold of the objects that begin in one.

        Args:
            key: Of the block in which they begin.
            pixels: Those of the mosaic.
        """
        of_blocks = sorted_files(StageFiles(self.run, "outlines", self.depends).folder / key, "*.npz")
        arrays = read_each(of_blocks)
        outlines = Outlines.concatenate([Outlines.from_arrays(part) for part in arrays])
        objects = assemble(outlines, self.block_px if self.cleaning.leaves_outlines else None)
        scene = None
        if self.several_scenes:
            scene = Votes.together([Votes.from_arrays(part) for part in arrays]).winners(objects.feature)
        objects, filled = self._filled(objects, pixels)
        return Gathered(objects, scene, filled)

    def gather_walls(self, key: str, pixels: "Pixels") -> Objects:
        """The objects that begin in a block and are to be regularized, outlined by their pixels.

        Their small holes are filled as those of the others are.

        Args:
            key: Of the block in which they begin.
            pixels: Those of the mosaic.
        """
        folder = walls_folder(StageFiles(self.run, "outlines", self.depends), key)
        of_blocks = [Outlines.from_arrays(arrays) for arrays in read_each(sorted_files(folder, "*.npz"))]
        objects, _ = self._filled(assemble(Outlines.concatenate(of_blocks), self.block_px), pixels)
        return objects

    def pixels(self) -> "Pixels":
        """The pixels of the mosaic."""
        return Pixels(self)

    def _filled(self, objects: Objects, pixels: "Pixels") -> tuple[Objects, Filled]:
        least_ground = np.full(256, np.inf)
        unit_m2 = nominal_pixel_m2(self.grid) / GROUND_UNIT
        for class_id in self.keep:
            least_ground[class_id] = self.cleaning.min_area_m2[class_id] / unit_m2

        def is_free(hole: shapely.Polygon, index: int) -> bool:
            window = window_of(hole, self.grid.height, self.grid.width)
            classes_hw, ground_hw = pixels.classes(window), pixels.ground(window)
            return nothing_kept(hole, int(objects.class_id[index]), classes_hw, ground_hw, window, least_ground)

        def area_m2(polygons: NDArray[np.object_]) -> NDArray[np.float64]:
            return geodesic_measures(on_grid(polygons, self.grid), self.grid.crs)[0]

        most_m2 = np.array(self.cleaning.min_hole_m2, np.float64)[objects.class_id]
        polygons, filled = fill_holes(objects.polygons, most_m2, area_m2, is_free)
        columns = (objects.id, objects.part, objects.class_id, objects.confidence)
        return Objects(*columns, polygons=polygons), filled


class Pixels:
    """The classes and ground areas of a mosaic, read and measured when they are first asked for.

    Args:
        gathering: Where they lie, and how probable they must be.
    """

    def __init__(self, gathering: Gathering) -> None:
        self._grid = grid = gathering.grid
        read = partial(gathering.thresholds.read, gathering.run.mosaic)
        self._classes = Squares(read, grid.window.shape, CHUNK_PX, _SQUARES_KEPT)
        self._ground = Squares(partial(pixel_ground, grid), grid.window.shape, CHUNK_PX, _SQUARES_KEPT)

    def classes(self, window: Window) -> NDArray[np.uint8]:
        """The classes of a window of the grid, uint8 (row, column)."""
        return self._classes.read(window)

    def ground(self, window: Window) -> NDArray[np.int32]:
        """The ground area of each pixel of a window, int32 (row, column), as of `pixel_ground`."""
        return self._ground.read(window)

    def covers_nodata(self, polygons: NDArray[np.object_]) -> NDArray[np.bool_]:
        """Which polygons (n,), in pixel coordinates, reach into pixels without data or off the grid; bool (n,)."""
        height, width = self._grid.window.shape
        covers = np.zeros(len(polygons), bool)
        for i, polygon in enumerate(polygons):
            left, top, right, bottom = shapely.bounds(polygon)
            if left < 0 or top < 0 or right > width or bottom > height:
                covers[i] = True
                continue
            row, col = int(top), int(left)
            window = Window(row, col, int(np.ceil(bottom)) - row, int(np.ceil(right)) - col)
            row_of, col_of = np.nonzero(self.classes(window) == NODATA_CLASS)
            if len(row_of):
                x, y = col_of + col, row_of + row
                pixels = shapely.box(x, y, x + 1, y + 1)
                covers[i] = bool((shapely.area(shapely.intersection(polygon, pixels)) > 0).any())
        return covers
