"""COCO's JSON of instances: polygons and run lengths, with categories, for many images."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from geoseg.datasets.files import (
    MOST_BYTES_OF_A_SET,
    Record,
    image_folder,
    inside,
    parse_json,
    read_document,
    refuse_missing,
)
from geoseg.datasets.marks import Mark, MarkedChip, Patch, Shape
from geoseg.datasets.outlines import polygon
from geoseg.datasets.rle import coco_mask
from geoseg.errors import SceneError

Id = int | str
Size = Annotated[int, Field(gt=0)]


class CocoImage(Record):
    """An entry of `images`."""

    id: Id
    file_name: str
    height: Size | None = None
    width: Size | None = None


class CocoCategory(Record):
    """An entry of `categories`."""

    id: Id
    name: str


class CocoAnnotation(Record):
    """An entry of `annotations`; its outlines are looked at when the image is drawn."""

    image_id: Id
    category_id: Id
    id: Id | None = None
    iscrowd: bool = False
    segmentation: Any = None


class CocoDocument(Record):
    """The document."""

    images: tuple[CocoImage, ...]
    annotations: tuple[CocoAnnotation, ...]
    categories: tuple[CocoCategory, ...]


@dataclass(frozen=True, slots=True)
class CocoChip(MarkedChip):
    """An image with its instances: larger ones are drawn first, so that what lies on a roof stays on it.

    A segmentation of several polygons is all of them together. Crowds are ignored.

    Attributes:
        described: The entry of the image.
        annotations: Those of the image.
        names: From category to name.
    """

    described: CocoImage
    annotations: tuple[CocoAnnotation, ...]
    names: dict[Id, str]

    def marks(self, shape: tuple[int, int]) -> Sequence[Mark]:
        """Its instances, the largest (in pixels) first; of the same size in the file's order.

        Args:
            shape: (height, width) of the image in pixels.

        Raises:
            SceneError: An instance has no outline that can be read, or the image is of another size.
        """
        self.check_size(self.described.height, self.described.width, shape)
        found = [self._mark(number, some, shape) for number, some in enumerate(self.annotations)]
        return sorted(found, key=lambda mark: -mark.area_px)

    def _mark(self, number: int, annotation: CocoAnnotation, shape: tuple[int, int]) -> Mark:
        where = f"{self.where}, annotation {number if annotation.id is None else annotation.id}"
        if annotation.category_id not in self.names:
            raise SceneError(f"{where}: expected one of the file's categories, got id {annotation.category_id!r}")
        shapes = tuple(_shapes(annotation.segmentation, shape, where))
        return Mark(self.names[annotation.category_id], shapes, ignored=annotation.iscrowd)


def read_coco(path: Path, images: Path | None, ignored: frozenset[str]) -> tuple[CocoChip, ...]:
    """The images of a COCO JSON of instances.

    Args:
        path: The JSON.
        images: Where they are; by default beside it, in a folder images there or one above, or in one that is named
            like the set (instances_train2017.json: train2017).
        ignored: Names of categories that are ignored where no class is given to them.

    Raises:
        SceneError: The JSON cannot be read, or is not as COCO describes it.
        ConfigError: Images are not where they were expected.
    """
    document = parse_json(CocoDocument, read_document(path, MOST_BYTES_OF_A_SET), str(path))
    by_image: dict[Id, list[CocoAnnotation]] = defaultdict(list)
    for annotation in document.annotations:
        by_image[annotation.image_id].append(annotation)
    refuse_strangers(by_image, document.images, path)
    files = locate(document.images, images, path)
    names = {category.id: category.name for category in document.categories}
    return tuple(
        CocoChip(files[image.id], f"{path}, image {image.id}", ignored, image, tuple(by_image[image.id]), names)
        for image in document.images
    )


def refuse_strangers(image_ids: Iterable[Id], images: Sequence[CocoImage], path: Path) -> None:
    """Refuse annotations of images that a document does not list, and images that it lists twice.

    Raises:
        SceneError: There are some.
    """
    known = [image.id for image in images]
    if not known:
        raise SceneError(f"{path} lists no images: expected some; is it the right file?")
    if len(set(known)) < len(known):
        raise SceneError(f"{path} lists images with the same id: expected each once; merge them into one entry")
    strangers = set(image_ids) - set(known)
    if strangers:
        raise SceneError(
            f"{path} annotates the image id {min(strangers, key=str)!r}, which it does not list: expected an entry "
            "in images for each"
        )


def locate(described: Sequence[CocoImage], images: Path | None, path: Path) -> dict[Id, Path]:
    """The files of a document's images, by id.

    Raises:
        SceneError: A name leads out of the folder.
        ConfigError: A file is not there; names the first.
    """
    names = [image.file_name for image in described]
    if images is None:
        subset = path.stem.rpartition("_")[2]
        above = path.parent.parent
        candidates = [path.parent, path.parent / "images", above / "images", above / subset]
        images = image_folder([*candidates, above / "images" / subset], names, str(path))
    files = {image.id: inside(images, image.file_name, f"{path}, image {image.id}") for image in described}
    missing = [str(file.relative_to(images)) for file in files.values() if not file.is_file()]
    refuse_missing(missing, f"all images of {path} in {images}", "put them there, or take them out of the file")
    return files


def _shapes(
    segmentation: Any,  # noqa: ANN401  # as it came
    shape: tuple[int, int],
    where: str,
) -> Iterable[Shape]:
    match segmentation:
        case {"size": [int(), int()] as size, "counts": str() | list() as counts}:
            if isinstance(counts, list) and not all(isinstance(count, int) for count in counts):
                raise SceneError(f"{where}: expected run lengths in whole numbers, got others")
            yield Patch(0, 0, coco_mask(size, counts, shape, where))
        case [_, *_] if all(isinstance(ring, list) and len(ring) % 2 == 0 for ring in segmentation):
            for ring in segmentation:
                yield polygon([ring[at : at + 2] for at in range(0, len(ring), 2)], (), where)
        case _:
            raise SceneError(
                f"{where}: expected a segmentation of polygons (lists of x, y, x, y, ...) or run lengths (size and "
                f"counts), got {str(segmentation)[:60]}; boxes alone cannot be learned from"
            )
