"""CVAT's XML for images (version 1.1), one file for many images: told by expat, as KML is.

Entities are refused with the DOCTYPE that declares them, so that no document unpacks to more than its own length,
and nothing outside it is read; the standard library's trees would unpack them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from geoseg.datasets.files import MOST_BYTES_OF_A_SET, image_folder, inside, read_document, refuse_missing
from geoseg.datasets.marks import Mark, MarkedChip, Patch, Shape
from geoseg.datasets.outlines import box, ellipse, line, polygon
from geoseg.datasets.rle import mask_of
from geoseg.errors import SceneError

_SHAPES = frozenset({"polygon", "polyline", "box", "mask", "ellipse", "points", "cuboid", "skeleton"})

_DEEPEST = 100
"""Elements within elements."""


@dataclass(frozen=True, slots=True)
class CvatShape:
    """An element of an image.

    Attributes:
        kind: Its name.
        attributes: As they are written.
        line: On which line of the file it is.
    """

    kind: str
    attributes: dict[str, str]
    line: int


@dataclass(frozen=True, slots=True)
class CvatChip(MarkedChip):
    """An image with CVAT's shapes, by z_order, and of the same z_order the later over the earlier.

    Attributes:
        size: (height, width) as the file says.
        shapes: Its elements.
        line_width_px: Width of polylines; None where there shall be none.
    """

    size: tuple[int, int]
    shapes: tuple[CvatShape, ...]
    line_width_px: float | None

    def marks(self, shape: tuple[int, int]) -> Sequence[Mark]:
        """Its shapes: polygons, boxes, ellipses, masks, and polylines where a width is given.

        Args:
            shape: (height, width) of the image in pixels.

        Raises:
            SceneError: A shape cannot be read, or the image is of another size.
        """
        self.check_size(*self.size, shape)
        numbered = [(some, f"{self.where}, line {some.line}") for some in self.shapes]
        ordered = sorted(numbered, key=lambda pair: _number(pair[0], "z_order", pair[1], 0.0))
        return [self._mark(some, where, shape) for some, where in ordered]

    def _mark(self, some: CvatShape, where: str, shape: tuple[int, int]) -> Mark:
        shapes: tuple[Shape, ...] = ()
        trouble = None
        turned_deg = _number(some, "rotation", where, 0.0)
        match some.kind:
            case "polygon":
                shapes = (polygon(_points(some, where), (), where),)
            case "box":
                left, top, right, bottom = (_number(some, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
                shapes = (box([(left, top), (right, bottom)], where, turned_deg),)
            case "ellipse":
                x, y, radius_x, radius_y = (_number(some, key, where) for key in ("cx", "cy", "rx", "ry"))
                shapes = (ellipse(x, y, radius_x, radius_y, turned_deg, where),)
            case "mask":
                shapes = (_mask(some, where, shape),)
            case "polyline" if self.line_width_px is not None:
                shapes = line(_points(some, where), self.line_width_px, where)
            case "polyline":
                trouble = "a polyline has no pixels without a width: give one (line_width_px)"
            case other:
                trouble = f"expected a polygon, box, ellipse, mask or polyline, got <{other}>: outline it"
        return Mark(_text(some, "label", where), shapes, trouble=trouble)


def read_cvat(
    path: Path, images: Path | None, ignored: frozenset[str], line_width_px: float | None
) -> tuple[CvatChip, ...]:
    """The images of a CVAT XML.

    Args:
        path: The XML.
        images: Where they are; by default in images beside it, or beside it.
        ignored: Labels that are ignored where no class is given to them.
        line_width_px: Width of polylines; None where there shall be none.

    Raises:
        SceneError: It is no XML, has a DOCTYPE, is about videos, or an image has no name or size.
        ConfigError: Images are not where they were expected.
    """
    found = _Images(path)
    try:
        found.parser.Parse(read_document(path, MOST_BYTES_OF_A_SET), True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: encodings that Python lacks
        raise SceneError(f"{path} cannot be read as XML ({error}): export it again") from error
    if not found.images:
        raise SceneError(f"{path} lists no images: expected CVAT for images 1.1; export it in that format")
    names = [name for name, _, _ in found.images]
    if images is None:
        images = image_folder([path.parent / "images", path.parent], names, str(path))
    files = [inside(images, name, str(path)) for name in names]
    missing = [name for name, file in zip(names, files, strict=True) if not file.is_file()]
    refuse_missing(missing, f"all images of {path} in {images}", "put them there")
    return tuple(
        CvatChip(file, f"{path}, image {name}", ignored, size, tuple(shapes), line_width_px)
        for file, (name, size, shapes) in zip(files, found.images, strict=True)
    )


class _Images:
    """What expat tells of a document, kept as far as images and their shapes go."""

    def __init__(self, path: Path) -> None:
        self.images: list[tuple[str, tuple[int, int], list[CvatShape]]] = []
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self._path = path
        self._open: list[str] = []

    def _doctype(self, *_: object) -> None:
        raise SceneError(
            f"{self._path} has a DOCTYPE, which may declare entities without end: expected CVAT's XML, which has "
            "none; delete it, or export the file again"
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self._open and name != "annotations":
            raise SceneError(
                f"{self._path}: expected CVAT's <annotations>, got XML with the root <{name[:80]}>; export it as "
                "CVAT for images 1.1"
            )
        parent = self._open[-1] if self._open else ""
        self._open.append(name)
        if len(self._open) > _DEEPEST:
            raise SceneError(f"{self._path}: expected at most {_DEEPEST} elements within one another, got more")
        if parent == "annotations" and name == "track":
            raise SceneError(
                f"{self._path} is about a video: expected CVAT for images 1.1; export it in that format"
            )
        read = CvatShape(name, attributes, self.parser.CurrentLineNumber)
        where = f"{self._path}, line {read.line}"
        if parent == "annotations" and name == "image":
            size = int(_number(read, "height", where)), int(_number(read, "width", where))
            self.images.append((_text(read, "name", where), size, []))
        elif parent == "image" and name in _SHAPES:
            self.images[-1][2].append(read)

    def _end(self, _: str) -> None:
        self._open.pop()


def _text(some: CvatShape, key: str, where: str) -> str:
    if key not in some.attributes:
        raise SceneError(f"{where}: expected <{some.kind}> with the attribute {key}, it has none; export it again")
    return some.attributes[key]


def _number(some: CvatShape, key: str, where: str, default: float | None = None) -> float:
    if default is not None and key not in some.attributes:
        return default
    text = _text(some, key, where)
    try:
        number = float(text)
    except ValueError as error:
        raise SceneError(f"{where}: expected a number as {key}, got {text[:40]!r}") from error
    if not abs(number) < 1e9:
        raise SceneError(f"{where}: expected a number as {key} that is a size or place, got {text[:40]!r}")
    return number


def _points(some: CvatShape, where: str) -> list[tuple[float, float]]:
    """Places written "x,y;x,y"."""
    try:
        pairs = [tuple(map(float, pair.split(","))) for pair in _text(some, "points", where).split(";")]
        return [(x, y) for x, y in pairs]
    except ValueError as error:
        raise SceneError(f"{where}: expected places as x,y;x,y, got something else ({error})") from error


def _mask(some: CvatShape, where: str, shape: tuple[int, int]) -> Patch:
    """A mask in a box, from runs along the box's rows; nothing larger than the image is unpacked."""
    left, top, width, height = (int(_number(some, key, where)) for key in ("left", "top", "width", "height"))
    if not (0 < height <= shape[0] and 0 < width <= shape[1]):
        raise SceneError(f"{where}: expected a mask within {shape[0]} x {shape[1]} px, got {height} x {width}")
    try:
        runs = [int(run) for run in _text(some, "rle", where).split(",")]
    except ValueError as error:
        raise SceneError(f"{where}: expected run lengths in whole numbers, got others ({error})") from error
    return Patch(top, left, mask_of(runs, (height, width), where))
