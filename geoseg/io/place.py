"""Where a run's files lie, on a disk or in an object store: the one seam through which they are written."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast, get_args
from uuid import uuid4

from typing_extensions import TypeVar

from geoseg.errors import GeosegError, SceneError
from geoseg.io.addresses import is_remote, parse_address, shown
from geoseg.io.bucket import BucketPath
from geoseg.io.stores import Scheme

Place = Path | BucketPath
"""A path on a disk or in an object store."""

PlaceT_co = TypeVar("PlaceT_co", bound=Place, default=Place, covariant=True)
"""One kind of place: who names a path gets paths."""


def below(folder: PlaceT_co, name: str) -> PlaceT_co:  # type: ignore[misc]  # what comes in is read, never kept
    """A file or folder in a folder, of its kind."""
    return cast("PlaceT_co", folder / name)


def sorted_files(folder: Place, pattern: str) -> list[Place]:
    """What lies right in a folder with a name like a pattern, by name; nothing where there is no folder."""
    return sorted(folder.glob(pattern), key=lambda file: file.name)


def is_in_store(text: str) -> bool:
    """Whether a text is an address in an object store."""
    return text.partition("://")[0] in get_args(Scheme)


def parse_place(text: str | os.PathLike[str] | BucketPath) -> Place:
    """A place that the user named: an address with s3://, gs:// or az://, or else a path, made absolute.

    Raises:
        GeosegError: It is an address of another kind.
    """
    if isinstance(text, BucketPath):
        return text
    if isinstance(text, os.PathLike) or not is_remote(text):
        return Path(text).absolute()
    try:
        address = parse_address(text.rstrip("/"))
    except SceneError as error:
        raise GeosegError(str(error)) from None
    for scheme in get_args(Scheme):
        if address.scheme == scheme:
            return BucketPath(scheme, address.host, address.text.partition("://")[2].partition("/")[2])
    raise GeosegError(f"expected a path on this machine, or s3://, gs:// or az://BUCKET/FOLDER, got {address.text}")


def disk_path(text: str | os.PathLike[str], remedy: str = "write to a disk, and copy it there") -> Path:
    """A path on this machine that the user named.

    Args:
        text: What was named.
        remedy: What to do about an address.

    Raises:
        GeosegError: It is an address.
    """
    if isinstance(text, str) and is_remote(text):
        raise GeosegError(f"expected a path on this machine, got {shown(text)}: {remedy}")
    return Path(text)


def write_whole(place: Place, content: bytes) -> None:
    """Write a file in one step: readers see the old content or the new, never a part; its folder is made."""
    if isinstance(place, BucketPath):
        place.write(content)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    # Two processes or threads may write the same file: a unit whose answer was lost is done again.
    partial = place.with_name(f".{place.name}.{uuid4().hex}.partial")
    partial.write_bytes(content)
    partial.replace(place)


def file_sha256(place: Place) -> str:
    """sha256 of a file's bytes.

    Raises:
        OSError: There is no such file.
    """
    if isinstance(place, BucketPath):
        return place.sha256()
    with place.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def name_within(place: Place, folder: Place) -> str:
    """The way from a folder to what lies in it, with slashes.

    Raises:
        ValueError: It does not lie there.
    """
    if isinstance(place, BucketPath) and isinstance(folder, BucketPath):
        return place.relative_to(folder).as_posix()
    if isinstance(place, Path) and isinstance(folder, Path):
        return place.relative_to(folder).as_posix()
    raise ValueError(f"{place} does not lie in {folder}")


def file_bytes(place: Place) -> int:
    """How long a file is.

    Raises:
        OSError: There is no such file.
    """
    return place.size() if isinstance(place, BucketPath) else place.stat().st_size


def remove_all(place: Place) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if isinstance(place, BucketPath):
        place.remove_all()
    elif place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def copy_here(place: Place, file: Path) -> None:
    """Copy a file's content.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if isinstance(place, BucketPath):
        place.fetch(file)
    else:
        shutil.copyfile(place, file)


@contextmanager
def read_here(place: Place) -> Iterator[Path]:
    """A file for readers that can only read from a disk: itself, or a copy for a while.

    Raises:
        FileNotFoundError: There is no such file in the object store.
    """
    if isinstance(place, Path):
        yield place
        return
    with TemporaryDirectory(prefix="geoseg.") as folder:
        copy = Path(folder) / place.name
        place.fetch(copy)
        yield copy


def move_files(folder: Path, place: Place) -> None:
    """Move each file of a folder, however deep, to the same place below another, one after the other, whole.

    Args:
        folder: On this machine's disk; of what is on the same as `place`.
        place: It may be there, with other files or older ones of the same names.
    """
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        target = place / file.relative_to(folder).as_posix()
        if isinstance(target, BucketPath):
            target.write(file)
            file.unlink()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


@contextmanager
def made_here(place: Place) -> Iterator[Path]:
    """A folder on a disk for writers that can only write there; what they leave in it goes to a place, whole.

    On a disk it is the place itself: the writers see to it that files appear whole.

    Args:
        place: A folder; it is made.
    """
    if isinstance(place, BucketPath):
        with TemporaryDirectory(prefix="geoseg.", suffix=".partial") as folder:
            yield Path(folder)
            move_files(Path(folder), place)
        return
    place.mkdir(parents=True, exist_ok=True)
    yield place
