"""The formats that labels are kept in, read as chips."""

from pathlib import Path
from typing import Literal

from geoseg.datasets.chips import Chip
from geoseg.datasets.coco import read_coco
from geoseg.datasets.cvat import read_cvat
from geoseg.datasets.folders import (
    VOID,
    read_ade20k,
    read_cityscapes,
    read_coco_stuff,
    read_folders,
    read_voc,
)
from geoseg.datasets.labelme import read_labelme
from geoseg.datasets.panoptic import read_panoptic
from geoseg.datasets.supervisely import read_supervisely
from geoseg.datasets.telling import FORMATS, ChipFormat, tell_format
from geoseg.errors import ConfigError

__all__ = ["FORMATS", "ChipFormat", "read_chips", "tell_format"]

_IN_SUBSETS = frozenset({"folders", "voc", "cityscapes", "ade20k", "coco-stuff"})
_WITH_IMAGES = frozenset({"folders", "coco", "coco-panoptic", "labelme", "cvat", "supervisely"})
_WITH_LINES = frozenset({"labelme", "cvat", "supervisely"})
_LABELME_IGNORED = frozenset({"__ignore__"})
"""What Labelme's own export to VOC writes as void."""

_WIDEST_PX = 1e6


def read_chips(
    path: Path,
    format: ChipFormat | Literal["auto"] = "auto",  # noqa: A002  # what users call it
    *,
    images: Path | None = None,
    masks: Path | None = None,
    subset: str | None = None,
    ignored: frozenset[str] | None = None,
    line_width_px: float | None = None,
) -> tuple[Chip, ...]:
    """Images with labels, in any of the formats.

    Nothing but names is settled here (and a document about a whole set read): a chip's labels are read when it is
    drawn, and a damaged one is a `SceneError` then that names the file.

    Args:
        path: The folder, JSON or XML of the labels.
        format: How they are kept; "auto" tells it from what is there (`tell_format`).
        images: Where the images are, if not where the format has them: for formats that name their images.
        masks: Where the PNGs of a panoptic JSON are, if not in the folder of its name.
        subset: A part of a set that has parts: a folder within, for VOC one of its lists.
        ignored: Categories that are ignored where no class is given to them; by default 255 of indexed
            rasters (0 of ADE20K; Cityscapes' void), `__ignore__` of Labelme, and none of the others.
        line_width_px: Width of lines, in formats that have lines; without one, a line of a class is refused.

    Raises:
        ConfigError: There are no labels of the format, an image or label has no partner, or an option does not
            belong to the format.
        SceneError: A document about a whole set cannot be read.
    """
    if not path.exists():
        raise ConfigError(f"expected labels at {path}, there is nothing; name a folder, JSON or XML")
    if format == "auto":
        format = tell_format(path, images)  # noqa: A001
    _refuse_option("images", images, format, _WITH_IMAGES)
    _refuse_option("masks", masks, format, frozenset({"coco-panoptic"}))
    _refuse_option("subset", subset, format, _IN_SUBSETS)
    _refuse_option("line_width_px", line_width_px, format, _WITH_LINES)
    if line_width_px is not None and not 0 < line_width_px < _WIDEST_PX:
        raise ConfigError(f"expected a width of lines above 0 px, got {line_width_px:g}")
    _check_kind(path, format)
    if format in _IN_SUBSETS:
        return _rasters(path, format, images, subset, ignored)
    return _annotations(path, format, images, masks, ignored, line_width_px)


def _rasters(
    path: Path,
    format: ChipFormat,  # noqa: A002
    images: Path | None,
    subset: str | None,
    ignored: frozenset[str] | None,
) -> tuple[Chip, ...]:
    match format:
        case "voc":
            return read_voc(path, subset, ignored)
        case "cityscapes":
            return read_cityscapes(path, subset, ignored)
        case "ade20k":
            return read_ade20k(path, subset, ignored)
        case "coco-stuff":
            return read_coco_stuff(path, subset, ignored)
        case _:
            return read_folders(path, images, subset, VOID if ignored is None else ignored)


def _annotations(
    path: Path,
    format: ChipFormat,  # noqa: A002
    images: Path | None,
    masks: Path | None,
    ignored: frozenset[str] | None,
    line_width_px: float | None,
) -> tuple[Chip, ...]:
    if ignored is None:
        ignored = _LABELME_IGNORED if format == "labelme" else frozenset()
    match format:
        case "coco":
            return read_coco(path, images, ignored)
        case "coco-panoptic":
            return read_panoptic(path, images, masks, ignored)
        case "cvat":
            return read_cvat(path, images, ignored, line_width_px)
        case "supervisely":
            return read_supervisely(path, images, ignored, line_width_px)
        case _:
            return read_labelme(path, images, ignored, line_width_px)


def _refuse_option(name: str, value: object, format: ChipFormat, known: frozenset[str]) -> None:  # noqa: A002
    if value is not None and format not in known:
        raise ConfigError(f"{name} is of {', '.join(sorted(known))}: expected none for {format}; leave it out")


def _check_kind(path: Path, format: ChipFormat) -> None:  # noqa: A002
    """Refuse a folder where a file is meant, and a file where a folder is."""
    of_a_file = format in {"coco", "coco-panoptic", "cvat"}
    of_either = path.is_dir() if format == "coco-panoptic" else format == "labelme" and path.is_file()
    if path.is_dir() == of_a_file and not of_either:
        raise ConfigError(
            f"expected the {'file' if of_a_file else 'folder'} of labels in the format {format}, got the "
            f"{'folder' if path.is_dir() else 'file'} {path}"
        )
