"""Labelled scenes: windows of imagery with coded labels, within the region that a split owns."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.datasets.chip_labels import ChipLabels
from geoseg.datasets.label_files import REST, ChipFile, LabelFiles, RasterFile, VectorFiles
from geoseg.datasets.object_rasters import ObjectRaster
from geoseg.datasets.raster_labels import RasterLabels, ValueTable
from geoseg.datasets.vector_labels import VectorLabels
from geoseg.errors import ConfigError
from geoseg.grid import Grid, Window
from geoseg.imagery import Imagery
from geoseg.io.raster import SceneReader
from geoseg.io.regions import Region, region_mask, region_on_grid
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.labels import NODATA_CLASS
from geoseg.train.apart import refuse_overlap
from geoseg.train.coding import LabelCoding
from geoseg.train.open_files import OpenFiles

__all__ = ["LabelCoding", "LabelledScene", "Source", "open_scenes", "refuse_overlap"]

_SQUARES = 512
"""Squares of drawn labels that all scenes keep together, 128 MB."""

_PLAIN = SceneOptions()


@dataclass(frozen=True, slots=True)
class Source:
    """A scene, its labels, and the region of it that a split owns.

    Attributes:
        name: What reports call it.
        image: Path of the scene.
        labels: Where its labels are; a path alone is a raster in the coding of the run.
        split: The split.
        region: The part of the scene that belongs to the split; None means all.
        labelled: Ids of the classes that it labels; None means all.
        ignored: The part that never counts.
        weight: How often an epoch of training sees its ground.
        options: What the user says about how the scene is read.
        instances: Path of a raster that numbers the objects of the classes in `labels`; None where there is none.
    """

    name: str
    image: str
    labels: LabelFiles
    split: Literal["train", "val", "test"]
    region: Region | None
    labelled: frozenset[int] | None = None
    ignored: Region | None = None
    weight: float = 1.0
    options: SceneOptions = _PLAIN
    instances: str | None = None

    @property
    def label_path(self) -> str:
        """Where its labels are kept, for messages."""
        match self.labels:
            case RasterFile(path=path):
                return path
            case VectorFiles(files=files):
                return ", ".join(dict.fromkeys(file.path for file in files))
            case ChipFile(chip=chip):
                return chip.where
            case path:
                return path


class LabelledScene:
    """A scene and its labels, for reading on one thread. Files are open while they are used.

    Attributes:
        source: What it was opened from.
        grid: The pixels it is read on.
        pixels: The split's region in pixel coordinates (x = column, y = row).
        labelled: Ids of the classes that it labels.
    """

    def __init__(
        self,
        source: Source,
        imagery: Imagery,
        coding: LabelCoding,
        files: OpenFiles | None = None,
        squares: int = 32,
    ) -> None:
        """Open the rasters.

        Args:
            source: What to open.
            imagery: What the model expects.
            coding: The meaning of label values.
            files: What keeps files open; of its own when not given.
            squares: How many squares of drawn labels are kept.

        Raises:
            SceneError: A file cannot be opened or used.
            ConfigError: The region does not meet the scene, or labels have no meaning.
        """
        self.source = source
        self._imagery, self._coding, self._squares = imagery, coding, squares
        self._own = OpenFiles() if files is None else None
        self._files = files or self._own or OpenFiles()
        everything = frozenset(range(coding.candidates.classes))
        self.labelled = everything if source.labelled is None else source.labelled
        self._rest = coding.candidates.rest(self.labelled)
        if self.labelled != everything and self._rest == NODATA_CLASS:
            raise ValueError(
                f"{source.name} labels {sorted(self.labelled)}, which the run's candidates do not know"
            )
        # Labels lie on the scene's own pixels, also where those are rotated or sheared: nothing is resampled twice.
        self.ref = describe_scene(source.image, imagery, replace(source.options, rotated="own-pixels"))
        self.grid: Grid = self.ref.grid
        self._vectors: VectorLabels | None = None
        if isinstance(source.labels, VectorFiles):
            self._vectors = VectorLabels(source.labels, self.grid, self._rest, squares)
        elif not isinstance(source.labels, ChipFile):
            self._drawn()
        if source.instances is not None:
            self._numbered(source.instances)
        self.pixels: shapely.Geometry = region_on_grid(source.region, self.grid)
        if source.ignored is not None:
            self.pixels = shapely.difference(self.pixels, region_on_grid(source.ignored, self.grid))
        if self.pixels.area == 0:
            raise ConfigError(f"{source.name}: expected a region that meets {source.image}, it lies beside it")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, unless others keep them open."""
        if self._own is not None:
            self._own.close()

    @property
    def reader(self) -> SceneReader:
        """Of the scene's pixels."""
        return self._files.get((id(self), "image"), lambda: SceneReader(self.ref))

    @property
    def classes(self) -> int:
        """How many classes the run tells apart."""
        return self._coding.candidates.classes

    def labels(self, window: Window) -> NDArray[np.uint8]:
        """Coded labels (row, column) of a window; `NODATA_CLASS` where ignored, outside the region or the scene.

        Validity of the image is not known here: see `read`.

        Raises:
            SceneError: They cannot be read there, or hold a value that means nothing.
        """
        labels_hw = np.full(window.shape, NODATA_CLASS, np.uint8)
        inside = window.intersection(self.grid.window)
        if inside is not None:
            coded_hw = self._drawn().read(inside)
            coded_hw[~region_mask(self.pixels, inside)] = NODATA_CLASS
            labels_hw[inside.slices_in(window)] = coded_hw
        return labels_hw

    def planes(self, window: Window) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column), where classes may overlap: 1, 0, or `NODATA_CLASS`.

        Raises:
            SceneError: As for `labels`.
        """
        classes = self._coding.candidates.classes
        planes_khw = np.full((classes, *window.shape), NODATA_CLASS, np.uint8)
        inside = window.intersection(self.grid.window)
        if inside is not None:
            match self._drawn():
                case VectorLabels() as drawn:
                    inner_khw = drawn.planes(inside, classes, self.labelled)
                case ChipLabels() as drawn:
                    inner_khw = drawn.planes(inside, classes)
                    unlabelled = sorted(frozenset(range(classes)) - self.labelled)
                    inner_khw[unlabelled] = NODATA_CLASS
                case drawn:
                    inner_khw = self._coding.planes(drawn.read(inside))
            inner_khw[:, ~region_mask(self.pixels, inside)] = NODATA_CLASS
            planes_khw[:, *inside.slices_in(window)] = inner_khw
        return planes_khw

    def coded(self, window: Window) -> NDArray[np.uint8]:
        """Coded labels (row, column) of a window on the grid, also where regions leave them out.

        Raises:
            SceneError: As for `labels`.
        """
        return self._drawn().read(window)

    def objects(self, window: Window) -> NDArray[np.int32] | None:
        """The object that each pixel (row, column) of a window on the grid is of, also where regions leave it out.

        Of vector labels each feature is an object, and has the pixels that no later one has.

        Returns:
            Numbers from 1 on, of objects of any class, the same whatever window is read; 0 where there is none, or
            none that is known. None where the labels say classes alone.

        Raises:
            SceneError: They cannot be read there, or hold a number that no object can have.
        """
        if self.source.instances is not None:
            return self._numbered(self.source.instances).read(window)
        match self._drawn():
            case VectorLabels() as drawn:
                return drawn.features(window)
            case ChipLabels() as drawn:
                return drawn.objects(window)
            case _:
                return None

    def features_on(self, window: Window, classes: Collection[int]) -> NDArray[np.int32] | None:
        """How many features of some classes hold each pixel (row, column); None where labels are no features."""
        drawn = self._vectors
        return None if drawn is None or self.source.instances is not None else drawn.depth(window, classes)

    def image(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Pixel values (band, row, column) in the raster's own numbers, and where they hold data.

        A window may reach beyond the scene: it continues mirrored there, as in mapping (the overlap-tile
        strategy of Ronneberger et al. 2015).

        Raises:
            ValueError: The window lies wholly beside the scene.
            SceneError: The file is damaged there.
        """
        inside = window.intersection(self.grid.window)
        if inside is None:
            raise ValueError(f"{window} lies beside the scene")
        image_chw, valid_hw = self.reader.read(inside)
        if inside != window:
            rows, cols = inside.slices_in(window)
            pad = ((rows.start, window.height - rows.stop), (cols.start, window.width - cols.stop))
            image_chw = np.pad(image_chw, ((0, 0), *pad), "symmetric")
            valid_hw = np.pad(valid_hw, pad, "symmetric")
        return image_chw, valid_hw

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """A window as the model sees it: normalized image (band, row, column) and coded labels (row, column)."""
        image_chw, valid_hw = self.image(window)
        labels_hw = self.labels(window)
        labels_hw[~valid_hw] = NODATA_CLASS
        return self._imagery.normalize(image_chw, valid_hw), labels_hw

    def read_planes(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """As `read`, where classes may overlap: with planes (class, row, column)."""
        image_chw, valid_hw = self.image(window)
        planes_khw = self.planes(window)
        planes_khw[:, ~valid_hw] = NODATA_CLASS
        return self._imagery.normalize(image_chw, valid_hw), planes_khw

    def is_labelled(self, window: Window, *, overlapping: bool = False) -> bool:
        """Whether anything is known of a window; of the image's validity nothing is asked."""
        labels = self.planes(window) if overlapping else self.labels(window)
        return bool((labels != NODATA_CLASS).any())

    def _drawn(self) -> RasterLabels | VectorLabels | ChipLabels:
        """What reads the labels."""
        if self._vectors is not None:
            return self._vectors
        return self._files.get((id(self), "labels"), self._open_labels)

    def _numbered(self, path: str) -> ObjectRaster:
        """What reads the raster of objects."""
        return self._files.get((id(self), "instances"), lambda: ObjectRaster(path, self.ref))

    def _open_labels(self) -> RasterLabels | ChipLabels:
        match self.source.labels:
            case str() as path:
                return RasterLabels(path, self.ref, self._coding)
            case RasterFile(path=path, ids=ids, rest=rest):
                table: ValueTable = self._coding
                if ids is not None:
                    table = ValueTable({value: self._code(meaning) for value, meaning in ids})
                return RasterLabels(path, self.ref, table, self._code(rest))
            case ChipFile() as file:
                return ChipLabels(file, self.ref, self._rest)
            case VectorFiles():
                raise AssertionError("vector files are drawn, not opened")

    def _code(self, meaning: int) -> int:
        return self._rest if meaning == REST else meaning


@contextmanager
def open_scenes(
    sources: Sequence[Source], imagery: Imagery, coding: LabelCoding
) -> Iterator[tuple[LabelledScene, ...]]:
    """Open scenes together, and close them together."""
    with ExitStack() as stack:
        files = OpenFiles()
        stack.callback(files.close)
        squares = max(4, _SQUARES // max(1, len(sources)))
        yield tuple(LabelledScene(source, imagery, coding, files, squares) for source in sources)
