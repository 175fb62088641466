"""COCO's panoptic format: a PNG of segment numbers for each image, and a JSON that says what they are."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

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
from geoseg.datasets.segment_map import NUMBERS, VOID, SegmentMap
from geoseg.datasets.values import planes_of, value_of
from geoseg.errors import ConfigError, SceneError
from geoseg.labels import NODATA_CLASS


class Category(CocoCategory):
    """An entry of `categories`."""

    isthing: bool | None = None


class Segment(Record):
    """An entry of `segments_info`."""

    id: Annotated[int, Field(gt=VOID, lt=NUMBERS)]
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
    categories: tuple[Category, ...]


_ValueT = TypeVar("_ValueT", bound=np.generic)


@dataclass(frozen=True, slots=True)
class PanopticChip:
    """An image with its segments (Kirillov et al., CVPR 2019; format of https://cocodataset.org/#format-data).

    Void is ignored, and so are crowds of things: which of their pixels are of which object is not known, nor that
    all are of one. Of a crowd of stuff the class is known.

    Attributes:
        image: The image file.
        segment_map: The PNG.
        segments: What its numbers stand for.
        names: From category to name.
        things: From category to whether it is of things; None where the file does not say it.
        ignored: Names of categories that are ignored where no class is given to them.
    """

    image: Path
    segment_map: SegmentMap
    segments: tuple[Segment, ...]
    names: dict[Id, str]
    things: dict[Id, bool | None]
    ignored: frozenset[str]

    @property
    def where(self) -> str:
        """The PNG."""
        return str(self.segment_map.path)

    def categories(self) -> frozenset[str]:
        """Which categories its segments are of."""
        return frozenset(self.names[segment.category_id] for segment in self.segments)

    def draw(self, values: Mapping[str, int], rest: int) -> NDArray[np.uint8]:  # noqa: ARG002  # void is ignored
        """Coded labels (row, column); see `geoseg.datasets.chips.Chip`.

        Raises:
            ConfigError: A category stands for no class.
            SceneError: As `SegmentMap.read`, or the PNG is of another size than the image.
        """

        def label(segment: Segment) -> int:
            value = value_of(self.names[segment.category_id], values, self.ignored, self.where)
            unknown = segment.iscrowd and self.things[segment.category_id] is not False
            return NODATA_CLASS if unknown else value

        return self._recoded(label, np.array(NODATA_CLASS, np.uint8))

    def planes(self, values: Mapping[str, int], classes: int) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column); see `geoseg.datasets.chips.Chip`.

        Raises:
            ConfigError: As for `draw`.
            SceneError: Likewise.
        """
        return planes_of(self.draw(values, NODATA_CLASS), values, classes)

    def instances(self, categories: Collection[str]) -> NDArray[np.int32]:
        """The object of each pixel, int32 (row, column): its segment's number; see `geoseg.datasets.chips`.

        Args:
            categories: Names of those whose objects are asked for; of them, those of things have some.

        Raises:
            SceneError: As for `draw`, or the file does not say which of its categories are of things.
        """
        silent = sorted(
            self.names[one.category_id] for one in self.segments if self.things[one.category_id] is None
        )
        if silent:
            raise SceneError(
                f"{self.where}: expected isthing of each category, to know its objects, got none of {silent[0]!r}; "
                "add it to the JSON"
            )

        def number(segment: Segment) -> int:
            is_object = self.things[segment.category_id] and not segment.iscrowd
            return segment.id if is_object and self.names[segment.category_id] in categories else 0

        return self._recoded(number, np.array(0, np.int32))

    def _recoded(self, meaning: Callable[[Segment], int], void: NDArray[_ValueT]) -> NDArray[_ValueT]:
        """What each pixel's segment means (row, column), of the type of what void means."""
        known = {segment.id: meaning(segment) for segment in self.segments}
        shape, ids_hw = image_shape(self.image), self.segment_map.read()
        if ids_hw.shape != shape:
            raise SceneError(
                f"{self.where} has {ids_hw.shape[0]} x {ids_hw.shape[1]} px, its image {self.image} {shape[0]} x "
                f"{shape[1]}: expected a segment for each pixel"
            )
        numbers = np.array([VOID, *sorted(known)], np.int64)
        values = np.array([void, *(known[number] for number in sorted(known))], void.dtype)
        return values[np.searchsorted(numbers, ids_hw)]


def read_panoptic(
    path: Path, images: Path | None, masks: Path | None, ignored: frozenset[str]
) -> tuple[PanopticChip, ...]:
    """The images of a COCO panoptic JSON that have segments.

    Args:
        path: The JSON, or a folder with no other.
        images: Where the images are; by default as for `geoseg.datasets.coco.read_coco`.
        masks: Where the PNGs are; by default the folder beside the JSON of the same name without .json.
        ignored: Names of categories that are ignored where no class is given to them.

    Raises:
        SceneError: The JSON cannot be read, is not as COCO describes it, or contradicts itself.
        ConfigError: Files are not where they were expected.
    """
    path = panoptic_file(path)
    document = parse_json(PanopticDocument, read_document(path, MOST_BYTES_OF_A_SET), str(path))
    maps = segment_maps(path, document, masks)
    files = locate(document.images, images, path)
    names = {category.id: category.name for category in document.categories}
    things = {category.id: category.isthing for category in document.categories}
    return tuple(
        PanopticChip(files[some.image_id], segment_map, some.segments_info, names, things, ignored)
        for some, segment_map in zip(document.annotations, maps, strict=True)
    )


def panoptic_file(path: Path) -> Path:
    """The JSON of a set: itself, or the only one in a folder.

    Raises:
        ConfigError: There is none in the folder, or several.
    """
    if not path.is_dir():
        return path
    found = sorted(one for one in path.glob("*.json") if one.is_file())
    if len(found) != 1:
        raise ConfigError(
            f"expected one panoptic JSON in {path}, found {len(found)}; name the file"
            + (f", for example {found[0]}" if found else "")
        )
    return found[0]


def segment_maps(path: Path, document: PanopticDocument, masks: Path | None) -> tuple[SegmentMap, ...]:
    """The PNG of each annotation of a document, which does not contradict itself.

    Args:
        path: The JSON.
        document: What it holds.
        masks: Where the PNGs are; by default the folder beside the JSON of the same name without .json.

    Raises:
        SceneError: Something is listed twice, or a segment or an annotation names what is not listed.
        ConfigError: A PNG is missing.
    """
    refuse_strangers((annotation.image_id for annotation in document.annotations), document.images, path)
    _refuse_twice((category.id for category in document.categories), f"{path} lists the category")
    _refuse_twice((some.image_id for some in document.annotations), f"{path} annotates the image")
    masks = masks or path.with_suffix("")
    if not masks.is_dir():
        raise ConfigError(f"{path}: expected its PNGs in a folder, {masks} is none; say where they are (masks)")
    known = {category.id for category in document.categories}
    size = {image.id: (image.height, image.width) for image in document.images}
    maps = []
    for some in document.annotations:
        png = inside(masks, some.file_name, str(path))
        _refuse_twice((segment.id for segment in some.segments_info), f"{path}, {some.file_name} lists the segment")
        for segment in some.segments_info:
            if segment.category_id not in known:
                raise SceneError(
                    f"{png}, segment {segment.id}: expected one of the file's categories, got id "
                    f"{segment.category_id!r}"
                )
        maps.append(SegmentMap(png, tuple(one.id for one in some.segments_info), size[some.image_id]))
    missing = [str(one.path) for one in maps if not one.path.is_file()]
    refuse_missing(missing, f"all PNGs of {path} in {masks}", "put them there")
    return tuple(maps)


def _refuse_twice(ids: Iterable[Id], what: str) -> None:
    seen: set[Id] = set()
    for one in ids:
        if one in seen:
            raise SceneError(f"{what} {one!r} twice: expected each once; which of them holds?")
        seen.add(one)
