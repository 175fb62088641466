"""Paths in an object store, with those of `pathlib.Path`'s methods that a run needs.

An object appears whole or not at all, so that nothing is written under another name first. There are no folders:
one is there as soon as something lies below it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from geoseg.io.fence import CLAIM, Held
from geoseg.io.stores import Scheme, Store, open_store, patiently

if TYPE_CHECKING:
    from obstore import ObjectMeta, UpdateVersion

_PART_BYTES = 8 * 2**20
_PARTS_AT_ONCE = 4
_STREAMED_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Version:
    """A store's names for what an object was at some moment.

    Attributes:
        e_tag: As S3 and Azure want it back.
        generation: As Google wants it back.
    """

    e_tag: str | None
    generation: str | None

    def as_condition(self) -> "UpdateVersion":
        """What asks a store to replace this version alone."""
        condition: UpdateVersion = {}
        if self.e_tag is not None:
            condition["e_tag"] = self.e_tag
        if self.generation is not None:
            condition["version"] = self.generation
        return condition


@dataclass(frozen=True, slots=True, order=True)
class BucketPath:
    """An object, or what would be a folder.

    Attributes:
        scheme: The kind of store.
        bucket: Its name.
        key: The object's, without a slash at either end.
        held: The claim under which things are written; None where nobody else can be.
    """

    scheme: Scheme
    bucket: str
    key: str
    held: Held | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def __truediv__(self, below: str | PurePosixPath) -> "BucketPath":
        return replace(self, key=f"{self.key}/{below}".strip("/"))

    @property
    def name(self) -> str:
        """The last part."""
        return PurePosixPath(self.key).name

    @property
    def stem(self) -> str:
        """The last part without its ending."""
        return PurePosixPath(self.key).stem

    @property
    def parent(self) -> "BucketPath":
        """What would be its folder."""
        return replace(self, key=self.key.rpartition("/")[0])

    def relative_to(self, folder: "BucketPath") -> PurePosixPath:
        """The way from a folder."""
        return PurePosixPath(self.key).relative_to(folder.key)

    def absolute(self) -> "BucketPath":
        """Itself."""
        return self

    def store(self) -> Store:
        """What lies below, as a store of its own."""
        return open_store(self.scheme, self.bucket, self.key)

    def is_file(self) -> bool:
        """Whether there is such an object."""
        try:
            patiently(str(self), lambda: obstore.head(self._all, self.key))
        except FileNotFoundError:
            return False
        return True

    def is_dir(self) -> bool:
        """Whether something lies below."""
        return next(self._list(most=1), None) is not None

    def exists(self) -> bool:
        """Whether it is one of both."""
        return self.is_file() or self.is_dir()

    def size(self) -> int:
        """Bytes.

        Raises:
            FileNotFoundError: There is no such object.
        """
        return patiently(str(self), lambda: obstore.head(self._all, self.key))["size"]

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: There is no such object.
        """
        return patiently(str(self), lambda: obstore.get(self._all, self.key).bytes().to_bytes())

    def read_text(self) -> str:
        """The content, in UTF-8.

        Raises:
            FileNotFoundError: There is no such object.
        """
        return self.read_bytes().decode()

    def read_version(self) -> tuple[bytes, Version]:
        """The content, and the store's name for this version of it.

        Raises:
            FileNotFoundError: There is no such object.
        """

        def read() -> tuple[bytes, Version]:
            found = obstore.get(self._all, self.key)
            return found.bytes().to_bytes(), Version(found.meta["e_tag"], found.meta["version"])

        return patiently(str(self), read)

    def sha256(self) -> str:
        """Of the content, which is never whole in memory.

        Raises:
            FileNotFoundError: There is no such object.
        """

        def read() -> str:
            digest = hashlib.sha256()
            for part in obstore.get(self._all, self.key).stream(_STREAMED_BYTES):
                digest.update(part)
            return digest.hexdigest()

        return patiently(str(self), read)

    def fetch(self, file: Path) -> None:
        """Write the content to a file.

        Raises:
            FileNotFoundError: There is no such object.
        """

        def read() -> None:
            with file.open("wb") as stream:
                for part in obstore.get(self._all, self.key).stream(_STREAMED_BYTES):
                    stream.write(part)

        patiently(str(self), read)

    def write(self, content: bytes | Path) -> None:
        """Put bytes, or those of a file, in place of whatever is there.

        Raises:
            StoppedError: The folder was claimed by another process.
        """
        self.refuse_lost()

        def put() -> None:
            obstore.put(self._all, self.key, content, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

        patiently(str(self), put)

    def create(self, content: bytes) -> Version | None:
        """Put bytes where nothing is yet, of several that do the first; its version, or None where something is.

        An object that one's own lost attempt put there counts as something.

        Raises:
            StoppedError: The folder was claimed by another process.
        """
        self.refuse_lost()
        try:
            made = patiently(str(self), lambda: obstore.put(self._all, self.key, content, mode="create"))
        except AlreadyExistsError:
            return None
        return Version(made["e_tag"], made["version"])

    def swap(self, content: bytes, version: Version) -> Version | None:
        """Put bytes in place of one version; the new one, or None where it is another by now.

        Raises:
            StoppedError: The folder was claimed by another process.
        """
        self.refuse_lost()
        try:
            made = patiently(
                str(self), lambda: obstore.put(self._all, self.key, content, mode=version.as_condition())
            )
        except (PreconditionError, FileNotFoundError):
            return None
        return Version(made["e_tag"], made["version"])

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove the object, if it is there.

        Args:
            missing_ok: Makes no difference: not all stores say whether there was one.
        """
        del missing_ok
        self.refuse_lost()
        with suppress(FileNotFoundError):
            patiently(str(self), lambda: obstore.delete(self._all, self.key))

    def remove_all(self) -> None:
        """Remove the object and all that lies below."""
        self.unlink()
        below = f"{self.key}/"
        while names := list(islice(self._list(), 1000)):
            assert all(name.startswith(below) for name in names)
            self.refuse_lost()
            with suppress(FileNotFoundError):
                patiently(str(self), lambda: obstore.delete(self._all, names))

    def mkdir(self, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Nothing: there are no folders."""

    def iterdir(self) -> Iterator["BucketPath"]:
        """Objects and folders right below."""
        found = patiently(str(self), lambda: obstore.list_with_delimiter(self._all, self.key or None))
        for prefix in found["common_prefixes"]:
            yield replace(self, key=prefix.strip("/"))
        for one in found["objects"]:
            yield replace(self, key=one["path"])

    def glob(self, pattern: str) -> Iterator["BucketPath"]:
        """What lies right below with a name like a pattern; of one that ends with a slash only folders."""
        found = patiently(str(self), lambda: obstore.list_with_delimiter(self._all, self.key or None))
        folders = [prefix.strip("/") for prefix in found["common_prefixes"]]
        objects = [] if pattern.endswith("/") else [one["path"] for one in found["objects"]]
        for key in folders + objects:
            if fnmatch(PurePosixPath(key).name, pattern.rstrip("/")):
                yield replace(self, key=key)

    def rglob(self, pattern: str) -> Iterator["BucketPath"]:
        """The objects below, however deep, with a name like a pattern."""
        for key in self._list():
            if fnmatch(PurePosixPath(key).name, pattern):
                yield replace(self, key=key)

    def refuse_lost(self) -> None:
        """Refuse to go on where another process claimed the folder since.

        Raises:
            StoppedError: One did.
        """
        if self.held is not None:
            folder = replace(self, key=self.held.folder, held=None)
            self.held.refuse_lost(str(folder), (folder / CLAIM).read_bytes)

    @property
    def _all(self) -> Store:
        return open_store(self.scheme, self.bucket)

    def _list(self, most: int | None = None) -> Iterator[str]:
        """Keys of the objects below, in their order."""
        last: str | None = None
        listing: Iterator[Sequence[ObjectMeta]] | None = None

        def batch() -> "Sequence[ObjectMeta] | None":
            nonlocal listing
            if listing is None:
                prefix = f"{self.key}/" if self.key else None
                listing = obstore.list(self._all, prefix, offset=last, chunk_size=most or 1000)
            try:
                return next(listing, None)
            except BaseError:
                # One that failed says next that it is at its end: the rest is asked for anew.
                listing = None
                raise

        while found := patiently(str(self), batch):
            yield from (one["path"] for one in found)
            last = found[-1]["path"]
