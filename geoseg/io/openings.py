"""How GDAL is made to open a raster that is not on this machine, and what it says of it while it does."""

import logging
import os
import threading
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.io.addresses import Address, shown
from geoseg.io.answers import HTTP_SETTINGS, RemoteError, setting
from geoseg.io.formats import RASTER_DRIVERS, driver_of, open_with_drivers, what_is
from geoseg.io.parts import Handle, RemoteFile
from geoseg.io.turns import turn

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


def layout_of(dataset: DatasetReader) -> tuple[Any, ...]:
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


def open_in_cloud(address: Address) -> tuple[DatasetReader, tuple[Any, ...]]:
    """A raster and its layout; GDAL keeps these settings with the handle.

    Raises:
        RemoteError: The cloud does not give the file, or it is no raster.
    """
    name = shown(address.text)
    settings = {**_CLOUD, **{name: setting(name) for name in HTTP_SETTINGS}}
    try:
        with turn(), rasterio.Env(**settings), _complaints() as complaints:
            dataset = open_with_drivers(address.gdal_path, RASTER_DRIVERS)
            layout = layout_of(dataset)
    except (RasterioError, UnicodeDecodeError) as error:
        raise RemoteError(f"{name} cannot be read: {error}") from error
    if complaints:
        dataset.close()
        raise RemoteError(f"{name} cannot be read whole: {complaints[0]}; try again later")
    return dataset, layout


def open_on_web(name: str, file: RemoteFile, head: bytes) -> DatasetReader:
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
