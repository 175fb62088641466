"""A set in COCO's panoptic format read back, without the images that it is of: what `geoseg export` wrote."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pydantic import Field

from geoseg.datasets.coco import CocoImage, Id
from geoseg.datasets.files import MOST_BYTES_OF_A_SET, Record, parse_json, read_document
from geoseg.datasets.panoptic import PanopticAnnotation, PanopticDocument, Segment, panoptic_file, segment_maps
from geoseg.datasets.segment_map import VOID, SegmentMap
from geoseg.grid import Window


class _Place(Record):
    """Where a picture lies, as `geoseg export` says it."""

    row: Annotated[int, Field(ge=0)]
    col: Annotated[int, Field(ge=0)]
    crs: str | None
    transform: tuple[float, float, float, float, float, float]


class _PlacedImage(CocoImage):
    geoseg: _Place | None = None


class _Origin(Record):
    object: Annotated[int, Field(ge=0, lt=2**64)]


class _OriginalSegment(Segment):
    geoseg: _Origin | None = None


class _Annotation(PanopticAnnotation):
    segments_info: tuple[_OriginalSegment, ...]


class _Document(PanopticDocument):
    images: tuple[_PlacedImage, ...]
    annotations: tuple[_Annotation, ...]


@dataclass(frozen=True, slots=True)
class PanopticSegment:
    """A segment of a picture.

    Attributes:
        category: Its name.
        is_thing: Whether it is an object; None where the file does not say it.
        is_crowd: Whether it is several that are not told apart.
        object_id: Which object of the region it is or is a part of: the same in all pictures. None where the file
            does not say it.
    """

    category: str
    is_thing: bool | None
    is_crowd: bool
    object_id: int | None


@dataclass(frozen=True, slots=True)
class PanopticPicture:
    """A picture of segments, which is read when it is asked for.

    Attributes:
        name: Of its image.
        segments: By the number that stands for each in the picture.
        window: Which pixels of the region's grid it shows; None where the file does not say it.
        crs: Of the grid.
        transform: From (column, row) at its own pixel corners to (x, y) in the CRS; None where that is not said.
    """

    name: str
    segments: Mapping[int, PanopticSegment]
    window: Window | None
    crs: str | None
    transform: Affine | None
    _map: SegmentMap

    def read(self) -> NDArray[np.int64]:
        """The number of each pixel's segment, int64 (row, column); 0 where there is none.

        Raises:
            SceneError: As `SegmentMap.read`.
        """
        return self._map.read()

    def object_ids(self) -> NDArray[np.uint64]:
        """The id of each pixel's object in the region, uint64 (row, column); 0 of stuff and void.

        Raises:
            SceneError: As for `read`.
        """
        numbers = np.array([VOID, *sorted(self.segments)], np.int64)
        ids = np.array([0, *(self.segments[number].object_id or 0 for number in sorted(self.segments))], np.uint64)
        return ids[np.searchsorted(numbers, self.read())]


def read_coco_panoptic(folder: Path) -> tuple[PanopticPicture, ...]:
    """The pictures of a panoptic set.

    Args:
        folder: The folder that holds its JSON and, beside that, a folder of its name with the PNGs; or the JSON.

    Raises:
        SceneError: The JSON cannot be read, is not as COCO describes it, or contradicts itself.
        ConfigError: Files are not where they were expected.
    """
    path = panoptic_file(folder)
    document = parse_json(_Document, read_document(path, MOST_BYTES_OF_A_SET), str(path))
    if not document.images and not document.annotations:
        return ()
    maps = segment_maps(path, document, None)
    names: dict[Id, str] = {category.id: category.name for category in document.categories}
    things = {category.id: category.isthing for category in document.categories}
    images = {image.id: image for image in document.images}
    found = []
    for some, segment_map in zip(document.annotations, maps, strict=True):
        image = images[some.image_id]
        segments = {
            one.id: PanopticSegment(
                names[one.category_id],
                things[one.category_id],
                one.iscrowd,
                None if one.geoseg is None else one.geoseg.object,
            )
            for one in some.segments_info
        }
        place, window = image.geoseg, None
        if place is not None and image.height is not None and image.width is not None:
            window = Window(place.row, place.col, image.height, image.width)
        found.append(
            PanopticPicture(
                image.file_name,
                segments,
                window,
                None if place is None else place.crs,
                None if place is None else Affine(*place.transform),
                segment_map,
            )
        )
    return tuple(found)
