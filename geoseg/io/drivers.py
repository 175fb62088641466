"""Which raster formats may be opened, and how: by name, from an allow-list.

GDAL guesses a file's format from its content, whatever the name says, and some formats are programs: a VRT
named `scene.tif` reads any file on the machine, an MRF writes one. So every open here names the drivers that
may answer, and `geoseg.io.gdal_environment` keeps the others from being registered at all.
"""

import os
from itertools import product
from pathlib import Path

import numpy as np
from rasterio.enums import Interleaving
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.io.addresses import is_remote
from geoseg.io.formats import RASTER_DRIVERS, is_whole_png, open_with_drivers, what_is
from geoseg.io.remote import RemoteDataset
from geoseg.io.vrt import vrt_sources

_BLOCK_BYTES = 256 * 2**20
"""A block (tile or strip) is decoded whole, for each read again if it is larger than GDAL's cache."""

_HUGE_BYTES = 64 * 2**30
_HUGE_RATIO = 2000
"""Pixels of more bytes than the one are believed only if the file holds one byte for this many: imagery does not
compress so far (deflate ends at 1032), and forged headers and all but empty files are told apart by nothing."""


def open_raster(path: str, *, trust_vrt: bool = False) -> DatasetReader | RemoteDataset:
    """Open a raster with a driver from the allow-list; reads its header, no pixels.

    Args:
        path: A file, or an address of a kind that is read (`geoseg.io.addresses`).
        trust_vrt: Whether a file named .vrt may be one; its sources must still be local rasters that this function
            opens, no VRTs among them.

    Raises:
        SceneError: No such file or no answer, not a file, empty, in no format of the allow-list, of a size that
            it cannot hold, in blocks too large to decode, or with parts in files of other names or formats.
    """
    if is_remote(path):
        return RemoteDataset(path, _check_remote)
    return _open_local(path, trust_vrt=trust_vrt)


def _check_remote(name: str, dataset: DatasetReader, file_bytes: int | None) -> None:
    _check_overviews(name, dataset)
    _check_size(name, dataset, file_bytes)


def _open_local(path: str, *, trust_vrt: bool = False) -> DatasetReader:
    if is_remote(path) or path.lstrip().startswith("<"):
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
    _check_sidecars(path)
    is_vrt = trust_vrt and file.suffix.lower() == ".vrt"
    # GDAL opens sources when it opens a VRT, so they are looked at before.
    sources = vrt_sources(path) if is_vrt else []
    for source in sources:
        _open_local(source).close()
    # A path from the root: what has a colon in it is no subdataset.
    absolute = os.path.abspath(path)  # noqa: PTH100  # resolving links would name another file in messages
    dataset = _open(absolute, head, ("VRT",) if is_vrt else RASTER_DRIVERS)
    try:
        if dataset.driver == "PNG":
            _check_png(file)
        _check_overviews(path, dataset)
        listed = [name for name in dataset.files if name != absolute] if is_vrt else []
        for source in listed:
            _open_local(source).close()
        sources = sorted({*map(os.path.abspath, sources), *map(os.path.abspath, listed)})
        _check_size(path, dataset, file.stat().st_size + sum(Path(source).stat().st_size for source in sources))
    except SceneError:
        dataset.close()
        raise
    return dataset


def _open(path: str, head: bytes, drivers: tuple[str, ...]) -> DatasetReader:
    try:
        return open_with_drivers(path, drivers)
    except RasterioIOError as error:
        raise SceneError(
            f"{path} cannot be opened as a raster: expected one of {', '.join(drivers)}, "
            f"got {what_is(head)}; convert it, for example with gdal_translate -of COG"
        ) from error
    except UnicodeDecodeError as error:  # rasterio reads the CRS and its name while it opens
        raise SceneError(
            f"{path} names its CRS in bytes that are not UTF-8: expected a raster with a readable CRS; name it "
            "anew, for example with gdal_translate -a_srs EPSG:N"
        ) from error


def _check_png(file: Path) -> None:
    with file.open("rb", buffering=0) as stream:
        if not is_whole_png(stream):
            raise SceneError(f"{file} is a PNG that is cut short or damaged: expected a whole one; copy it again")


def _check_sidecars(path: str) -> None:
    """Masks and overviews beside a file are opened by GDAL itself, as whatever they are: look at them first."""
    for letters in (*product("oO", "vV", "rR"), *product("mM", "sS", "kK")):
        sidecar = f"{path}.{''.join(letters)}"
        if Path(sidecar).exists():
            try:
                _open_local(sidecar).close()
            except SceneError as error:
                raise SceneError(f"the file beside {path} is not a raster to trust: {error}") from error


def _check_overviews(path: str, dataset: DatasetReader) -> None:
    """A tag may name any file, or address, as the raster's overviews."""
    elsewhere = dataset.tags(ns="OVERVIEWS").get("OVERVIEW_FILE")
    if elsewhere is not None:
        raise SceneError(
            f"{path} names another file for its overviews ({elsewhere!r}): expected a raster that stands "
            "for itself; copy it, for example with gdal_translate -of COG"
        )


def _check_size(path: str, dataset: DatasetReader, file_bytes: int | None) -> None:
    """Refuse what cannot be read in bounded memory, and headers that declare what the file cannot hold."""
    pixel_bytes = [_bytes_of(dtype) for dtype in dataset.dtypes]
    declared = dataset.height * dataset.width * sum(pixel_bytes)
    # Of a file in a cloud nobody but GDAL knows the size: it is read by windows all the same.
    if file_bytes is not None and declared > _HUGE_BYTES and declared > _HUGE_RATIO * file_bytes:
        raise SceneError(
            f"{path} declares {dataset.height} x {dataset.width} px of {dataset.count} band(s), {_size(declared)}, "
            f"in a file of {_size(file_bytes)}: expected a raster that holds its pixels; cut it to where it has "
            "data, for example with gdal_translate -srcwin"
        )
    together = dataset.interleaving is Interleaving.pixel
    for (rows, cols), bytes_each in zip(dataset.block_shapes, pixel_bytes, strict=True):
        block = rows * cols * (sum(pixel_bytes) if together else bytes_each)
        if block > _BLOCK_BYTES:
            raise SceneError(
                f"{path} keeps its pixels in blocks of {rows} x {cols} px, {_size(block)} each: expected at most "
                f"{_size(_BLOCK_BYTES)}; tile it, for example with gdal_translate -of COG"
            )


def _bytes_of(dtype: str) -> int:
    # GDAL's complex integers have no name in numpy.
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize


def _size(count: int) -> str:
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6), ("kB", 3)):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count} bytes"
