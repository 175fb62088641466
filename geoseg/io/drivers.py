"""Which raster formats may be opened, and how: by name, from an allow-list.

GDAL guesses a file's format from its content, whatever the name says, and some formats are programs: a VRT
named `scene.tif` reads any file on the machine, an MRF writes one. So every open here names the drivers that
may answer, and `geoseg.io.gdal_environment` keeps the others from being registered at all.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

from rasterio.env import ensure_env
from rasterio.errors import NotGeoreferencedWarning, RasterioIOError
from rasterio.io import DatasetReader

from geoseg.errors import SceneError

RASTER_DRIVERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG")
"""Drivers that may open a user's raster."""

# rasterio.open takes one driver; its DatasetReader takes several, but does not register them by itself.
_open_with_drivers: Callable[..., DatasetReader] = ensure_env(DatasetReader)


def open_raster(path: str) -> DatasetReader:
    """Open a local raster with a driver from the allow-list.

    Raises:
        SceneError: No such file, not a file, empty, or in no format of the allow-list.
    """
    if path.startswith("/vsi") or "://" in path or path.lstrip().startswith("<"):
        raise SceneError(f"expected the path of a raster file on this machine, got {path!r}")
    file = Path(path)
    try:
        if not file.exists():
            raise SceneError(f"no such file: {path}; expected a raster ({', '.join(RASTER_DRIVERS)})")
        if not file.is_file():
            raise SceneError(f"expected a raster file, got a folder: {path}")
        with file.open("rb") as stream:
            head = stream.read(64)
    except OSError as error:
        raise SceneError(
            f"{path} cannot be read ({error.strerror}): expected a raster file that this user may read"
        ) from error
    if not head:
        raise SceneError(f"{path} is empty (0 bytes): expected a raster; copy or download it again")
    try:
        with warnings.catch_warnings():
            # A file without georeference is refused in words, with the way out, by whoever needs one.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            return _open_with_drivers(path, driver=list(RASTER_DRIVERS))
    except RasterioIOError as error:
        raise SceneError(
            f"{path} cannot be opened as a raster: expected one of {', '.join(RASTER_DRIVERS)}, "
            f"got {_what(head)}; convert it, for example with gdal_translate -of COG"
        ) from error
    except UnicodeDecodeError as error:  # rasterio reads the CRS and its name while it opens
        raise SceneError(
            f"{path} names its CRS in bytes that are not UTF-8: expected a raster with a readable CRS; name it "
            "anew, for example with gdal_translate -a_srs EPSG:N"
        ) from error


def _what(head: bytes) -> str:
    if head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}:
        return "a TIFF whose directory cannot be read (cut short or damaged?)"
    if head.lstrip()[:1] == b"<":
        return "an XML document (a VRT and the like are not opened)"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return "a text file"
    return f"something else (first bytes {head[:8].hex(' ')})"
