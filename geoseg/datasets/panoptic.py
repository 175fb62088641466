"""COCO's panoptic format: a PNG of segment numbers for each image, and a JSON that says what they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError

from geoseg.datasets.coco import CocoCategory, CocoImage, Id, locate, refuse_strangers
from geoseg.datasets.files import (
    MOST_BYTES_OF_A_SET,
    Record,
    inside,
    parse_json,
    read_document,
    refuse_missing,
)
from geoseg.datasets.rasters import image_shape
from geoseg.datasets.values import planes_of, value_of
from geoseg.errors import ConfigError, SceneError
from geoseg.io.drivers import open_raster
from geoseg.io.formats import strictly
from geoseg.labels import NODATA_CLASS

_VOID = 0
"""The number of pixels that belong to no segment."""


class Segment(Record):
    """An entry of `segments_info`."""

    id: int
    category_id: Id
    iscrowd: bool = False


class PanopticAnnotation(Record):
    """An entry of `annotations`: the segments of an image."""

    image_id: Id
    file_name: str
    segments_info: tuple[Segment, ...]


class PanopticDocument(Record):
    """The document."""

    images: tuple[CocoImage, ...]
    annotations: tuple[PanopticAnnotation, ...]
    categories: tuple[CocoCategory, ...]


@dataclass(frozen=True, slots=True)
class PanopticChip:
    """An image with its segments (Kirillov et al., CVPR 2019; format of https://cocodataset.org/#format-data).

    A pixel's segment is R + 256 G + 65536 B of the PNG; void (0) and crowds are ignored.

    Attributes:
        image: The image file.
        labels: The PNG.
        segments: What the numbers stand for.
        names: From category to name.
        ignored: Names of categories that are ignored where no class is given to them.
    """

    image: Path
    labels: Path
    segments: tuple[Segment, ...]
    names: dict[Id, str]
    ignored: frozenset[str]

    @property
    def where(self) -> str:
        """The PNG."""
        return str(self.labels)

    def categories(self) -> frozenset[str]:
        """Which categories its segments are of.

        Raises:
            SceneError: A segment's category is not listed.
        """
        return frozenset(self._name(segment) for segment in self.segments)

    def draw(self, values: Mapping[str, int], rest: int) -> NDArray[np.uint8]:  # noqa: ARG002  # void is ignored
        """Coded labels (row, column); see `geoseg.datasets.chips.Chip`.

        Raises:
            ConfigError: A category stands for no class.
            SceneError: The PNG cannot be read, is of another size than the image, or holds a number of no segment.
        """
        ids_hw = self._ids(image_shape(self.image))
        known = {_VOID: NODATA_CLASS}
        for segment in self.segments:
            value = value_of(self._name(segment), values, self.ignored, self.where)
            known[segment.id] = NODATA_CLASS if segment.iscrowd else value
        numbers = np.array(sorted(known), np.int64)
        index_hw = np.minimum(np.searchsorted(numbers, ids_hw), len(numbers) - 1)
        strange_hw = numbers[index_hw] != ids_hw
        if strange_hw.any():
            raise SceneError(
                f"{self.labels} holds the segment {int(ids_hw[strange_hw][0])}: expected those of segments_info; "
                "is it the right PNG?"
            )
        return np.array([known[int(number)] for number in numbers], np.uint8)[index_hw]

    def planes(self, values: Mapping[str, int], classes: int) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column); see `geoseg.datasets.chips.Chip`.

        Raises:
            ConfigError: As for `draw`.
            SceneError: Likewise.
        """
        return planes_of(self.draw(values, NODATA_CLASS), values, classes)

    def _name(self, segment: Segment) -> str:
        if segment.category_id not in self.names:
            raise SceneError(
                f"{self.labels}, segment {segment.id}: expected one of the file's categories, got id "
                f"{segment.category_id!r}"
            )
        return self.names[segment.category_id]

    def _ids(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        with open_raster(str(self.labels)) as dataset:
            if (dataset.driver, dataset.count, *dataset.dtypes) != ("PNG", 3, "uint8", "uint8", "uint8"):
                raise SceneError(f"{self.labels}: expected a PNG of red, green and blue bytes, got another raster")
            if (dataset.height, dataset.width) != shape:
                raise SceneError(
                    f"{self.labels} has {dataset.height} x {dataset.width} px, its image {self.image} {shape[0]} x "
                    f"{shape[1]}: expected a segment for each pixel"
                )
            try:
                with strictly(dataset.driver):
                    red_hw, green_hw, blue_hw = dataset.read().astype(np.int64)
            except RasterioIOError as error:
                raise SceneError(f"{self.labels} cannot be read ({error}): is it damaged? Copy it again") from error
        return red_hw + 256 * green_hw + 65536 * blue_hw


def read_panoptic(
    path: Path, images: Path | None, masks: Path | None, ignored: frozenset[str]
) -> tuple[PanopticChip, ...]:
    """The images of a COCO panoptic JSON that have segments.

    Args:
        path: The JSON.
        images: Where the images are; by default as for `geoseg.datasets.coco.read_coco`.
        masks: Where the PNGs are; by default the folder beside the JSON of the same name without .json.
        ignored: Names of categories that are ignored where no class is given to them.

    Raises:
        SceneError: The JSON cannot be read, or is not as COCO describes it.
        ConfigError: Files are not where they were expected.
    """
    document = parse_json(PanopticDocument, read_document(path, MOST_BYTES_OF_A_SET), str(path))
    refuse_strangers((annotation.image_id for annotation in document.annotations), document.images, path)
    masks = masks or path.with_suffix("")
    if not masks.is_dir():
        raise ConfigError(f"{path}: expected its PNGs in a folder, {masks} is none; say where they are (masks)")
    files = locate(document.images, images, path)
    names = {category.id: category.name for category in document.categories}
    chips = tuple(
        PanopticChip(
            files[some.image_id], inside(masks, some.file_name, str(path)), some.segments_info, names, ignored
        )
        for some in document.annotations
    )
    missing = [chip.where for chip in chips if not chip.labels.is_file()]
    refuse_missing(missing, f"all PNGs of {path} in {masks}", "put them there")
    return chips
