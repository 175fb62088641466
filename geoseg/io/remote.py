"""Rasters that are not on this machine: opened at their address, and never taken for whole where they are not.

GDAL takes an answer that was cut short or failed for the end of the file, says nothing where a mask's directory
was meant to be, remembers it, and follows redirects wherever they lead. So from web servers geoseg asks itself, in
parts (`geoseg.io.parts`), and gives GDAL the bytes. For clouds GDAL signs the requests, and so makes them: what it
reports while it opens a file is an error, and a handle that failed is given up for a new one, with nothing kept of
the old.
"""

import hashlib
import logging
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.io.addresses import Address, is_remote, parse_address, shown
from geoseg.io.answers import HTTP_SETTINGS, Answer, RemoteError, ask, setting
from geoseg.io.formats import RASTER_DRIVERS, driver_of, open_with_drivers, what_is
from geoseg.io.parts import CHUNK_BYTES, Handle, RemoteFile
from geoseg.io.turns import turn

_HEAD_BYTES = 16384
"""Read of a file when it is identified: enough to tell what it is."""

_FRESH_S = 30.0
"""A file's identity is believed for so long by whoever asks for each block."""

_MOST_REMEMBERED = 10_000

_SAMPLED_BLOCKS = 1024
"""Of a file in a cloud, whose server only GDAL can ask, the places of so many blocks tell one version apart."""

# No listing of folders, and nothing beside the file: no masks, overviews, world files or metadata.
_ALONE: dict[str, str] = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}

_CLOUD: dict[str, str] = {
    **_ALONE,
    # Nothing is kept of a file that is closed: what went wrong is forgotten when it is opened again.
    "CPL_VSIL_CURL_NON_CACHED": os.pathsep.join(("/vsis3/", "/vsigs/", "/vsiaz/")),
    # A server that trickles is as slow as one that is silent.
    "GDAL_HTTP_LOW_SPEED_TIME": "20",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
}

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one version of a remote file from another.

    Attributes:
        size: Bytes, 0 where only GDAL can ask for it.
        etag: The server's name for the version, or of a cloud's file a digest of where its blocks lie, or "".
        changed_ns: When the server says that it changed, nanoseconds since 1970, or 0.
        content: sha256 of the first and last bytes where the server says neither, or "".
    """

    size: int
    etag: str
    changed_ns: int
    content: str

    @property
    def fingerprint(self) -> str:
        """sha256 of all that is known."""
        return hashlib.sha256(repr((self.size, self.etag, self.changed_ns, self.content)).encode()).hexdigest()


_remembered: dict[str, tuple[float, Identity]] = {}
_remembering = threading.Lock()


def identify(text: str, *, within_s: float = _FRESH_S) -> Identity:
    """What a remote file is now, or was at most some seconds ago.

    Args:
        text: Its address.
        within_s: Seconds for which an earlier answer in this process is as good.

    Raises:
        RemoteError: The server does not answer, or has no such file.
        SceneError: It is none that is read.
    """
    with _remembering:
        seen, identity = _remembered.get(text, (-1e9, None))
    if identity is not None and time.monotonic() - seen <= within_s:
        return identity
    address = parse_address(text)
    try:
        identity = _web_identity(address, _head(address)) if address.is_web else _cloud_identity(address)
    except SceneError:
        with _remembering:
            _remembered.pop(text, None)
        raise
    return _remember(text, identity)


def _remember(text: str, identity: Identity) -> Identity:
    with _remembering:
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[text] = time.monotonic(), identity
    return identity


def _head(address: Address, count: int = _HEAD_BYTES) -> Answer:
    answer = ask(address, 0, count)
    if answer.size == 0:
        raise SceneError(f"{shown(address.text)} is empty (0 bytes): expected a raster")
    if not answer.partial or answer.size is None:
        raise SceneError(
            f"{shown(address.text)} lies on a server that does not send parts of files: expected one that knows "
            "Range requests; download the file"
        )
    return answer


def _web_identity(address: Address, head: Answer) -> Identity:
    size = head.size or 0
    etag, changed = head.headers.get("etag", ""), head.headers.get("last-modified", "")
    try:
        changed_ns = round(parsedate_to_datetime(changed).timestamp()) * 10**9 if changed else 0
    except ValueError:
        changed_ns = 0
    content = ""
    if not etag and not changed_ns:
        tail = ask(address, max(0, size - _HEAD_BYTES), min(size, _HEAD_BYTES)).body
        content = hashlib.sha256(head.body[:_HEAD_BYTES] + tail).hexdigest()
    return Identity(size, etag, changed_ns, content)


def _cloud_identity(address: Address) -> Identity:
    dataset, _ = _open_in_cloud(address)
    with dataset:
        return Identity(0, _where_blocks_lie(dataset), 0, "")


def _where_blocks_lie(dataset: DatasetReader) -> str:
    """sha256 of a raster's layout: blocks of other pixels have other lengths once they are compressed."""
    digest = hashlib.sha256(repr(_layout(dataset)).encode())
    rows, cols = dataset.block_shapes[0]
    down, across = -(-dataset.height // rows), -(-dataset.width // cols)
    for number in range(0, down * across, max(1, down * across // _SAMPLED_BLOCKS)):
        i, j = divmod(number, across)
        for item in ("OFFSET", "SIZE"):
            tag = dataset.get_tag_item(f"BLOCK_{item}_{j}_{i}", "TIFF", bidx=1)
            digest.update(f"{tag}:".encode())
    return digest.hexdigest()


def _layout(dataset: DatasetReader) -> tuple[Any, ...]:
    """All of a header that decides how pixels are read."""
    return (
        dataset.driver,
        dataset.shape,
        dataset.dtypes,
        dataset.nodatavals,
        dataset.block_shapes,
        dataset.colorinterp,
        dataset.mask_flag_enums,
        [dataset.overviews(band) for band in dataset.indexes],
        tuple(dataset.transform),
        None if dataset.crs is None else dataset.crs.to_wkt(),
        dataset.scales,
        dataset.offsets,
        sorted(dataset.tags().items()),
    )


def place_of(text: str) -> tuple[str, str]:
    """What a scene's place is called, and the address that it is opened at: "" where that is the same.

    Args:
        text: A path or an address, as the user gave it.
    """
    if not is_remote(text):
        return str(Path(text).resolve()), ""
    address = parse_address(text).text
    name = shown(address)
    return name, "" if name == address else address


CheckHeader = Callable[[str, DatasetReader, int | None], None]
"""Raise what is wrong with an open raster, given what it is called and its file's bytes, where they are known."""


class _Complaints(logging.Handler):
    """Errors of GDAL in one thread that rasterio only mentions: a directory of a mask that did not come is one."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.words: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if record.thread == self._thread and (record.levelno >= logging.ERROR or "signalled an error" in words):
            self.words.append(words)


_listening = threading.Lock()


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """What GDAL complains of; one opening at a time, because the level of the log is one for all."""
    log, handler = logging.getLogger("rasterio._env"), _Complaints()
    with _listening:
        level = log.level
        log.setLevel(logging.INFO)
        log.addHandler(handler)
        try:
            yield handler.words
        finally:
            log.removeHandler(handler)
            log.setLevel(level)


def _open_in_cloud(address: Address) -> tuple[DatasetReader, tuple[Any, ...]]:
    """A raster and its layout; GDAL keeps these settings with the handle.

    Raises:
        RemoteError: The cloud does not give the file, or it is no raster.
    """
    name = shown(address.text)
    settings = {**_CLOUD, **{name: setting(name) for name in HTTP_SETTINGS}}
    try:
        with turn(), rasterio.Env(**settings), _complaints() as complaints:
            dataset = open_with_drivers(address.gdal_path, RASTER_DRIVERS)
            layout = _layout(dataset)
    except (RasterioError, UnicodeDecodeError) as error:
        raise RemoteError(f"{name} cannot be read: {error}") from error
    if complaints:
        dataset.close()
        raise RemoteError(f"{name} cannot be read whole: {complaints[0]}; try again later")
    return dataset, layout


def _open_on_web(name: str, file: RemoteFile, head: bytes) -> DatasetReader:
    """A raster of a web server.

    Raises:
        SceneError: It is none, or the server does not send it.
    """
    driver = driver_of(head)
    # GDAL is given a name of its own: only this one exists, and nothing beside it.
    path = f"/{uuid.uuid4().hex}/scene"

    def opener(asked: str, _mode: str = "rb", **_: object) -> Handle:
        if asked != path:
            raise FileNotFoundError(asked)
        return file.handle()

    words = what_is(head)
    try:
        if driver is not None:
            with turn(), warnings.catch_warnings(), rasterio.Env(**_ALONE):
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                return rasterio.open(path, driver=driver, opener=opener)
    except RasterioIOError:
        if file.failure is not None:
            raise file.failure from None
    except UnicodeDecodeError:  # rasterio reads the CRS and its name while it opens
        words = "one that names its CRS in bytes that are not UTF-8"
    raise SceneError(
        f"{name} cannot be opened as a raster: expected one of {', '.join(RASTER_DRIVERS)}, got {words}; convert "
        "it, for example with gdal_translate -of COG"
    ) from None


class RemoteDataset:
    """A raster at an address, with the attributes and methods of rasterio's DatasetReader.

    After a reading that failed the next one begins with a new handle. Not thread-safe.

    Args:
        text: The address.
        check: Called whenever the file was opened.

    Raises:
        SceneError: It is no address that is read, the server does not answer, or what lies there is no raster.
    """

    def __init__(self, text: str, check: CheckHeader) -> None:
        self._address = parse_address(text)
        self.name = shown(text)
        self.files = [self.name]
        self._check = check
        self._file: RemoteFile | None = None
        self._version: object = None
        self._dataset: DatasetReader | None = None
        self._current()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # rasterio's own
        return getattr(self._current(), name)

    def close(self) -> None:
        """Close the file."""
        dataset, self._dataset, self._file = self._dataset, None, None
        if dataset is not None:
            with turn():
                dataset.close()

    def read(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # rasterio's own
        """Pixels, as rasterio's DatasetReader gives them."""
        return self._whole(lambda dataset: dataset.read(*arguments, **options))

    def read_masks(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # rasterio's own
        """Masks, likewise."""
        return self._whole(lambda dataset: dataset.read_masks(*arguments, **options))

    def dataset_mask(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # rasterio's own
        """The mask of all bands, likewise."""
        return self._whole(lambda dataset: dataset.dataset_mask(*arguments, **options))

    def _whole(self, read: Callable[[DatasetReader], _Result]) -> _Result:
        """What was read, if all of it came.

        Raises:
            RemoteError: It did not.
            RasterioIOError: It did, and cannot be decoded.
        """
        dataset = self._current()
        try:
            result = read(dataset)
            self._refuse_failure()
        except RasterioIOError as error:
            self._refuse_failure()
            self.close()
            if self._address.is_web:
                raise
            raise RemoteError(
                f"{self.name} cannot be read: the cloud does not send that part of it, or the file is cut short or "
                "damaged; try again later"
            ) from error
        return result

    def _refuse_failure(self) -> None:
        failure = None if self._file is None else self._file.failure
        if failure is not None:
            self.close()
            raise failure

    def _current(self) -> DatasetReader:
        if self._dataset is None:
            version = self._open_web() if self._address.is_web else self._open_cloud()
            if self._version not in (None, version):
                self.close()
                raise RemoteError(f"{self.name} changed while it was read: expected the file of before")
            self._version = version
        return self._dataset

    def _open_web(self) -> Identity:
        head = _head(self._address, CHUNK_BYTES)
        identity = _remember(self._address.text, _web_identity(self._address, head))
        file = RemoteFile(self._address, head)
        dataset = _open_on_web(self.name, file, head.body[:64])
        self._accept(dataset, head.size, file)
        return identity

    def _open_cloud(self) -> tuple[Any, ...]:
        dataset, layout = _open_in_cloud(self._address)
        self._accept(dataset, None, None)
        return layout

    def _accept(self, dataset: DatasetReader, size: int | None, file: RemoteFile | None) -> None:
        """Take a dataset for ours if its header is whole and nothing is wrong with it."""
        self._dataset, self._file = dataset, file
        try:
            _layout(dataset)  # what GDAL reads only when it is asked for
            self._refuse_failure()
            self._check(self.name, dataset, size)
            self._refuse_failure()
        except (SceneError, RasterioIOError):
            self.close()
            raise
