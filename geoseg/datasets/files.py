"""Files of a data set: found in folders, named by annotations that are not trusted, read up to a size."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from geoseg.errors import ConfigError, SceneError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".jp2"})
"""How the names of images end, in lower case."""

LABEL_SUFFIXES = frozenset({".png", ".tif", ".tiff"})
"""How the names of label rasters end: formats that keep every value."""

LABEL_FOLDERS = ("labels", "masks", "annotations", "label", "mask", "gt")
"""What the folder of the label rasters beside `images` may be called, the likeliest first."""

MOST_BYTES_OF_A_SET = 2**30
"""Of a document about all images of a set: COCO's own of 2017 has 450 MB."""

MOST_BYTES_OF_A_CHIP = 2**27
"""Of a document about one image; Labelme keeps the image itself in it."""

_NAMED = 3
"""Files that a message names."""


class Record(BaseModel):
    """A JSON object of an annotation format; keys that labels do not need are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


AnyRecord = TypeVar("AnyRecord", bound=Record)


def parse_json(kind: type[AnyRecord], content: bytes, where: str) -> AnyRecord:
    """A JSON document, checked against what it must hold.

    The parser bounds how deep objects nest, and numbers are no longer than floats or Python's own integers.

    Args:
        kind: What it must hold.
        content: The document, UTF-8.
        where: What messages call it.

    Raises:
        SceneError: It is no JSON, or holds something else.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise SceneError(f"{where} {problem(error)}: mend it, or export it again") from error


def problem(error: ValidationError) -> str:
    """What is wrong with a record: the first thing, on one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    if first["type"] == "json_invalid":
        return f"cannot be read as JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
    came = repr(first["input"])
    key = ".".join(str(part) for part in first["loc"])
    came = came if len(came) <= 60 else came[:57] + "..."
    return f"is not as its format says, at {key or 'its top'}: {first['msg']}, got {came}"


def read_document(path: Path, most_bytes: int) -> bytes:
    """The bytes of an annotation file.

    Raises:
        SceneError: It cannot be read, or is longer than `most_bytes`.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        raise SceneError(f"{path} cannot be read ({error.strerror}): expected an annotation file") from error
    if len(content) > most_bytes:
        raise SceneError(
            f"{path}: expected annotations of at most {most_bytes >> 20} MiB, got more: split the file"
        )
    return content


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """Files under a folder and its folders whose names end so, in order; hidden ones are passed over.

    Raises:
        ConfigError: There is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"expected a folder, got {folder}; name the one that holds the files")
    found = (path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    return sorted(path for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def inside(folder: Path, name: str, where: str) -> Path:
    """The file that an annotation names, which lies in the folder or its folders: names cannot lead out.

    Args:
        folder: Where the images are.
        name: As it is written; folders may be parted by / or, as Windows writes them, by a backslash.
        where: The annotation, for the message.

    Raises:
        SceneError: The name leads elsewhere.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or parts[0] == "/" or PureWindowsPath(name).drive or "\0" in name:
        raise SceneError(f"{where} names the file {name!r}: expected one in {folder}; correct the name")
    return folder.joinpath(*parts)


def refuse_missing(missing: Collection[str], what: str, advice: str) -> None:
    """Refuse a set to which files are missing.

    Args:
        missing: What they are called.
        what: What was expected of them ("an image for each label").
        advice: What to do.

    Raises:
        ConfigError: There are any; names the first.
    """
    if missing:
        first = ", ".join(sorted(missing)[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise ConfigError(f"expected {what}, got none for {first}{more}; {advice}")


def image_folder(candidates: Collection[Path], names: Collection[str], where: str) -> Path:
    """The first folder that holds the first image.

    Args:
        candidates: Folders, the likeliest first.
        names: Images as the annotations name them.
        where: The annotations, for messages.

    Raises:
        ConfigError: None does.
        SceneError: The name leads out of the folders.
    """
    first = min(names)
    for folder in candidates:
        if inside(folder, first, where).is_file():
            return folder
    looked = ", ".join(str(folder) for folder in candidates)
    raise ConfigError(f"{where} names the image {first}, not found in {looked}; say where the images are (images)")
