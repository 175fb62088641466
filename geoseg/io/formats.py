"""The raster formats that may be opened, by the names of GDAL's drivers, and what else a file may be."""

import struct
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO

from rasterio.env import Env, ensure_env
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from geoseg.io.turns import turn

RASTER_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")
"""Drivers that may open a user's raster."""

VECTOR_FORMATS = "GeoJSON, GeoPackage, FlatGeobuf, Shapefile, KML, KMZ or GeoParquet"
CONVERT_VECTOR = "convert it in QGIS, or with ogr2ogr area.gpkg FILE"
"""What to do with a user's vector file of another format."""

# rasterio.open takes one driver; its DatasetReader takes several, but does not register them by itself.
_dataset_reader: Callable[..., DatasetReader] = ensure_env(DatasetReader)


def open_with_drivers(path: str, drivers: tuple[str, ...]) -> DatasetReader:
    """Open what GDAL calls so with one of these drivers alone; reads a header, no pixels.

    Raises:
        RasterioIOError: None of them can.
    """
    with turn(), warnings.catch_warnings():
        # A file without georeference is refused in words, with the way out, by whoever needs one.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return _dataset_reader(path, driver=list(drivers))


def strictly(driver: str) -> AbstractContextManager[object]:
    """While pixels of a file are read: a JPEG that is cut short is an error, not a warning and grey pixels.

    Args:
        driver: GDAL's name of the driver that has the file open.
    """
    return Env(GDAL_ERROR_ON_LIBJPEG_WARNING="YES") if driver == "JPEG" else nullcontext()


def is_whole_png(file: BinaryIO) -> bool:
    """Whether all chunks of a PNG are there, up to the last (PNG specification, 5.3); nothing is decoded.

    GDAL's fast way of decoding one says nothing where chunks are missing, and leaves what lay in memory (3.10).
    What is wrong within chunks it finds.

    Args:
        file: The file, best without a buffer.
    """
    size = file.seek(0, 2)
    at = 8
    while at + 12 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        at += 12 + length
        if kind == b"IEND":
            return at <= size
    return False


def what_is(head: bytes) -> str:
    """What a file that is no raster seems to be, from its first 64 bytes."""
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "a TIFF whose directory cannot be read (cut short or damaged?)"
    if head.lstrip()[:1] == b"<":
        return "an XML document (a VRT is read with --trust-vrt if it is named .vrt; nothing else of the kind is)"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return f"something else (first bytes {head[:8].hex(' ')})"


_MAGIC = (
    (b"II*\0", "GTiff"),
    (b"MM\0*", "GTiff"),
    (b"II+\0", "GTiff"),
    (b"MM\0+", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\0\0\0\x0cjP  ", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
)


def driver_of(head: bytes) -> str | None:
    """The driver that a file's first bytes ask for, or None if it is none of `RASTER_DRIVERS`."""
    return next((driver for magic, driver in _MAGIC if head.startswith(magic)), None)
