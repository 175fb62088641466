"""Supervisely's JSON: in each folder of a project `img` and `ann`, a file for each image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from geoseg.datasets.bitmaps import from_base64, inflate, png_mask
from geoseg.datasets.files import (
    IMAGE_SUFFIXES,
    MOST_BYTES_OF_A_CHIP,
    Record,
    files_in,
    parse_json,
    read_document,
    refuse_missing,
)
from geoseg.datasets.marks import Mark, MarkedChip, Patch, Shape
from geoseg.datasets.outlines import box, line, places, polygon
from geoseg.errors import ConfigError, SceneError


class Points(Record):
    """Places of an object."""

    exterior: tuple[Any, ...] = ()
    interior: tuple[Any, ...] = ()


class Bitmap(Record):
    """A mask, and where its first pixel lies (column, row)."""

    data: str
    origin: tuple[int, int]


class SuperviselyObject(Record):
    """An entry of `objects`."""

    classTitle: str  # noqa: N815  # Supervisely's name
    geometryType: str | None = None  # noqa: N815
    points: Points = Points()
    bitmap: Bitmap | None = None


class SuperviselySize(Record):
    """Of the image that was annotated."""

    height: Annotated[int, Field(gt=0)]
    width: Annotated[int, Field(gt=0)]


class SuperviselyDocument(Record):
    """The document."""

    size: SuperviselySize
    objects: tuple[SuperviselyObject, ...]


@dataclass(frozen=True, slots=True)
class SuperviselyChip(MarkedChip):
    """An image with Supervisely's objects, the later over the earlier.

    Attributes:
        document: The JSON.
        line_width_px: Width of lines; None where there shall be none.
    """

    document: Path
    line_width_px: float | None

    def marks(self, shape: tuple[int, int]) -> Sequence[Mark]:
        """Its objects: polygons, rectangles (both corners are pixels of them), bitmaps, lines with a width.

        Args:
            shape: (height, width) of the image in pixels.

        Raises:
            SceneError: The JSON cannot be read, or is about an image of another size.
        """
        read = read_document(self.document, MOST_BYTES_OF_A_CHIP)
        content = parse_json(SuperviselyDocument, read, self.where)
        self.check_size(content.size.height, content.size.width, shape)
        return [self._mark(some, f"{self.where}, object {n}", shape) for n, some in enumerate(content.objects)]

    def _mark(self, some: SuperviselyObject, where: str, shape: tuple[int, int]) -> Mark:
        shapes: tuple[Shape, ...] = ()
        trouble = None
        kind = some.geometryType or ("bitmap" if some.bitmap is not None else "polygon")
        match kind:
            case "polygon":
                shapes = (polygon(some.points.exterior, some.points.interior, where),)
            case "rectangle":
                corners_xy = places(some.points.exterior, where)
                if len(corners_xy) != 2:
                    raise SceneError(f"{where}: expected two corners of a rectangle, got {len(corners_xy)} places")
                shapes = (box([corners_xy.min(0), corners_xy.max(0) + 1], where),)
            case "bitmap" if some.bitmap is not None:
                packed = from_base64(some.bitmap.data, where)
                png = inflate(packed, shape[0] * shape[1], where)
                column, row = (int(number) for number in places([some.bitmap.origin], where)[0])
                shapes = (Patch(row, column, png_mask(png, shape, where)),)
            case "line" | "polyline" if self.line_width_px is not None:
                shapes = line(some.points.exterior, self.line_width_px, where)
            case "line" | "polyline":
                trouble = "a line has no pixels without a width: give one (line_width_px)"
            case other:
                trouble = (
                    f"expected a polygon, rectangle, bitmap or line, got a geometry of type {other!r}: outline it"
                )
        return Mark(some.classTitle, shapes, trouble=trouble)


def read_supervisely(
    project: Path, images: Path | None, ignored: frozenset[str], line_width_px: float | None
) -> tuple[SuperviselyChip, ...]:
    """The images of a Supervisely project, or of one folder of it.

    Args:
        project: The folder; annotations are all .json in folders named ann in it.
        images: Where the images are; by default in img beside each ann.
        ignored: Titles of classes that are ignored where no class is given to them.
        line_width_px: Width of lines; None where there shall be none.

    Raises:
        ConfigError: There are no annotations, or one has no image.
    """
    documents = [path for path in files_in(project, {".json"}) if path.parent.name == "ann"]
    if not documents:
        raise ConfigError(f"expected Supervisely's annotations in {project}/ann or {project}/*/ann, got none")
    chips, missing = [], []
    for document in documents:
        folder = images or document.parent.parent / "img"
        # NAME.png.json belongs to NAME.png; older projects write NAME.json.
        names = [document.stem, *(f"{document.stem}{suffix}" for suffix in sorted(IMAGE_SUFFIXES))]
        found = [folder / name for name in names if (folder / name).is_file()]
        if found:
            chips.append(SuperviselyChip(found[0], str(document), ignored, document, line_width_px))
        else:
            missing.append(str(document))
    refuse_missing(missing, "an image in img for each annotation", "put it there, or say where they are (images)")
    return tuple(chips)
