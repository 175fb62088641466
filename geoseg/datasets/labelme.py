"""Labelme's JSON, a file for each image, beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any

from pydantic import Field

from geoseg.datasets.bitmaps import from_base64, png_mask
from geoseg.datasets.files import (
    IMAGE_SUFFIXES,
    MOST_BYTES_OF_A_CHIP,
    Record,
    files_in,
    inside,
    parse_json,
    read_document,
    refuse_missing,
)
from geoseg.datasets.marks import Mark, MarkedChip, Patch, Shape
from geoseg.datasets.outlines import box, circle, line, places, polygon
from geoseg.errors import ConfigError, SceneError

Size = Annotated[int, Field(gt=0)]


class LabelmeShape(Record):
    """An entry of `shapes`."""

    label: str
    points: tuple[Any, ...]
    shape_type: str = "polygon"
    mask: str | None = None


class LabelmeDocument(Record):
    """The document."""

    shapes: tuple[LabelmeShape, ...]
    imagePath: str | None = None  # noqa: N815  # Labelme's name
    imageHeight: Size | None = None  # noqa: N815
    imageWidth: Size | None = None  # noqa: N815


@dataclass(frozen=True, slots=True)
class LabelmeChip(MarkedChip):
    """An image with Labelme's shapes, the later over the earlier.

    Attributes:
        document: The JSON.
        line_width_px: Width of lines and strips of lines; None where there shall be none.
    """

    document: Path
    line_width_px: float | None

    def marks(self, shape: tuple[int, int]) -> Sequence[Mark]:
        """Its shapes: polygons, rectangles, circles, masks, and lines where a width is given.

        Args:
            shape: (height, width) of the image in pixels.

        Raises:
            SceneError: The JSON cannot be read, or is about an image of another size.
        """
        content = _read(self.document)
        self.check_size(content.imageHeight, content.imageWidth, shape)
        return [self._mark(some, f"{self.where}, shape {n}", shape) for n, some in enumerate(content.shapes)]

    def _mark(self, some: LabelmeShape, where: str, shape: tuple[int, int]) -> Mark:
        shapes: tuple[Shape, ...] = ()
        trouble = None
        match some.shape_type:
            case "polygon":
                shapes = (polygon(some.points, (), where),)
            case "rectangle" if len(some.points) == 4:
                shapes = (polygon(some.points, (), where),)
            case "rectangle":
                shapes = (box(some.points, where),)
            case "circle":
                shapes = (circle(some.points, where),)
            case "mask":
                shapes = (_mask(some, where, shape),)
            case "line" | "linestrip" if self.line_width_px is not None:
                shapes = line(some.points, self.line_width_px, where)
            case "line" | "linestrip":
                trouble = "a line has no pixels without a width: give one (line_width_px)"
            case other:
                trouble = (
                    f"expected a polygon, rectangle, circle, mask, line or linestrip, got one of "
                    f"the type {other!r}: outline it"
                )
        return Mark(some.label, shapes, trouble=trouble)


def read_labelme(
    folder: Path, images: Path | None, ignored: frozenset[str], line_width_px: float | None
) -> tuple[LabelmeChip, ...]:
    """The images of Labelme's files in a folder and its folders.

    The image of a file is the one of the same name but for its suffix, or else the one that it names.

    Args:
        folder: Where the files are; one file alone may be named too.
        images: Where the images are; by default beside the files.
        ignored: Labels that are ignored where no class is given to them.
        line_width_px: Width of lines; None where there shall be none.

    Raises:
        SceneError: A file without an image of its name cannot be read, or names one that lies elsewhere.
        ConfigError: A file has no image.
    """
    documents = [folder] if folder.is_file() else files_in(folder, {".json"})
    root = folder.parent if folder.is_file() else folder
    if not documents:
        raise ConfigError(f"expected Labelme's files (.json) in {folder}, got none")
    chips, missing = [], []
    for document in documents:
        beside = document.parent if images is None else images / document.parent.relative_to(root)
        image = _image_of(document, beside, images or root)
        if image is None:
            missing.append(str(document))
        else:
            chips.append(LabelmeChip(image, str(document), ignored, document, line_width_px))
    refuse_missing(
        missing,
        "an image for each of Labelme's files",
        "say where the images are (images); what is kept in the JSON itself is not read",
    )
    return tuple(chips)


def _image_of(document: Path, beside: Path, root: Path) -> Path | None:
    for suffix in sorted(IMAGE_SUFFIXES):
        for ending in (suffix, suffix.upper()):
            if (image := beside / f"{document.stem}{ending}").is_file():
                return image
    named = _read(document).imagePath
    if named is None:
        return None
    # Labelme names it as seen from the JSON, which may lie in a folder beside that of the images.
    base = PureWindowsPath(named).name
    for candidate in (inside(beside, base, str(document)), inside(root, base, str(document))):
        if candidate.is_file():
            return candidate
    return None


def _read(document: Path) -> LabelmeDocument:
    return parse_json(LabelmeDocument, read_document(document, MOST_BYTES_OF_A_CHIP), str(document))


def _mask(some: LabelmeShape, where: str, shape: tuple[int, int]) -> Patch:
    """A mask between its first and last pixel, both included."""
    corners_xy = places(some.points, where)
    if len(corners_xy) != 2 or some.mask is None:
        raise SceneError(f"{where}: expected a mask with its first and last pixel, got {len(corners_xy)} places")
    (left, top), (right, bottom) = corners_xy.round().astype(int)
    mask_hw = png_mask(from_base64(some.mask, where), shape, where)
    if mask_hw.shape != (bottom - top + 1, right - left + 1):
        raise SceneError(
            f"{where}: expected a mask of {bottom - top + 1} x {right - left + 1} px, as its places say, got "
            f"{mask_hw.shape[0]} x {mask_hw.shape[1]}"
        )
    return Patch(int(top), int(left), mask_hw)
