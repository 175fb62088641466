"""Which format labels seem to be in, by names of files and folders and the keys of a document."""

import mmap
from pathlib import Path
from typing import Literal, get_args

from geoseg.datasets.files import LABEL_FOLDERS, LABEL_SUFFIXES, files_in
from geoseg.errors import ConfigError, SceneError

ChipFormat = Literal[
    "folders",
    "voc",
    "cityscapes",
    "ade20k",
    "coco-stuff",
    "coco",
    "coco-panoptic",
    "labelme",
    "cvat",
    "supervisely",
]

FORMATS: tuple[ChipFormat, ...] = get_args(ChipFormat)
"""All formats of chips."""

_SUBSETS_OF_ADE20K = frozenset({"training", "validation"})
_SUBSETS_OF_COCO = frozenset({"train2017", "val2017", "train2014", "val2014"})

_KEYS = (b"annotations", b"segments_info", b"images", b"categories", b"classTitle", b"shapes")


def tell_format(path: Path, images: Path | None = None) -> ChipFormat:
    """The format that labels seem to be in.

    Args:
        path: The folder, JSON or XML of the labels.
        images: The folder of the images, if one was named.

    Raises:
        ConfigError: It looks like none of them.
        SceneError: The file cannot be read.
    """
    if path.is_file():
        return _format_of_file(path)
    if not path.is_dir():
        raise ConfigError(f"expected labels at {path}, there is nothing; name a folder, JSON or XML")
    names, inner = _names_in(path), _names_in(path / "annotations")
    looks: tuple[tuple[bool, ChipFormat], ...] = (
        ({"JPEGImages", "SegmentationClass"} <= names, "voc"),
        ({"leftImg8bit", "gtFine"} <= names, "cityscapes"),
        ({"ann", "img"} <= names or any((path / name / "ann").is_dir() for name in names), "supervisely"),
        ("images" in names and not inner.isdisjoint(_SUBSETS_OF_ADE20K), "ade20k"),
        ("images" in names and not inner.isdisjoint(_SUBSETS_OF_COCO), "coco-stuff"),
    )
    found = next((format_ for likely, format_ in looks if likely), None)
    return found or _format_of_folder(path, has_images=images is not None or "images" in names)


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def _format_of_folder(path: Path, *, has_images: bool) -> ChipFormat:
    """Of a folder with no layout of its own: by the annotations in it, or else rasters beside images."""
    if is_panoptic_folder(path):
        return "coco-panoptic"
    if has_images and any(
        files_in(path / name, LABEL_SUFFIXES) for name in LABEL_FOLDERS if (path / name).is_dir()
    ):
        return "folders"
    documents = files_in(path, {".json", ".xml"})
    if documents and _format_of_file(documents[0]) == "labelme":
        return "labelme"
    if documents:
        raise ConfigError(f"{path} holds annotations in one file: expected that file; name {documents[0]}")
    if has_images:
        return "folders"
    raise ConfigError(
        f"{path} looks like none of {', '.join(FORMATS)}: expected one of their layouts; name the format, and the "
        "folder of the images"
    )


def is_panoptic_folder(path: Path) -> bool:
    """Whether a folder is a panoptic set: one JSON that looks like it, and the folder of its PNGs.

    Raises:
        SceneError: The JSON cannot be read.
    """
    found = [one for one in path.glob("*.json") if one.is_file()]
    return len(found) == 1 and found[0].with_suffix("").is_dir() and b"segments_info" in (_keys(found[0]) or ())


def _format_of_file(path: Path) -> ChipFormat:
    holds = _keys(path)
    if holds is None:
        return "cvat"
    if {b"annotations", b"segments_info"} <= holds:
        return "coco-panoptic"
    if {b"annotations", b"images", b"categories"} <= holds:
        return "coco"
    if b"classTitle" in holds:
        raise ConfigError(
            f"{path} is one of Supervisely's: expected its project; name the folder above ann and img"
        )
    if b"shapes" in holds:
        return "labelme"
    raise ConfigError(
        f"{path} looks like none of coco, coco-panoptic, labelme and cvat: expected one of them; name the format"
    )


def _keys(path: Path) -> frozenset[bytes] | None:
    """Which of the keys that tell formats apart a document holds; None of XML.

    Raises:
        SceneError: It cannot be read.
    """
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
                return None
            # Categories are called so in words nowhere else than as these keys.
            return frozenset(key for key in _KEYS if content.find(b'"' + key + b'"') >= 0)
    except (OSError, ValueError) as error:  # an empty file cannot be mapped
        raise SceneError(f"{path} cannot be read ({error}): expected labels as JSON or XML") from error
