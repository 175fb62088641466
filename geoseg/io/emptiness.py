"""Windows of a raster that hold no data for certain, told from its overviews.

Overviews may be older than the pixels, or leave pixels out. They tell the truth where the file is an intact COG
(which GDAL does not change unless it is told to break it, and whose mark it takes away when that happens) that says
that they are averages: GDAL averages over pixels with data alone, so that an overview's pixel is without data only
where all of its pixels are.
"""

import math

import numpy as np
from rasterio.enums import Compression
from rasterio.io import DatasetReader
from rasterio.windows import Window

_LONGEST = 16
"""Coarser overviews say little of a window as large as a block."""

_LEAST_PX = 8
"""From fewer of an overview's pixels along an axis GDAL would choose another overview, or none."""

_MARGIN_PX = 2
"""GDAL may be so many of an overview's pixels off, where its size is not a whole part of the file's."""

_LOSSLESS = frozenset(
    {Compression.deflate, Compression.lzw, Compression.packbits, Compression.zstd, Compression.lzma}
)


def telling_overview(dataset: DatasetReader, bands: tuple[int, ...]) -> int:
    """How many times coarser the overview is that tells windows without data; 0 where none does.

    Args:
        dataset: The raster, in which nodata values say what is no data.
        bands: 1-based numbers of those that are read.
    """
    structure = dataset.tags(ns="IMAGE_STRUCTURE")
    # GDAL says it since 3.12 as part of the structure, rio-cogeo as a tag like any other.
    tags = {**dataset.tags(), **structure}
    made_by = tags.get("OVERVIEW_RESAMPLING") or tags.get("OVR_RESAMPLING_ALG") or ""
    compression = dataset.compression
    if structure.get("LAYOUT") != "COG" or made_by.upper() != "AVERAGE":
        return 0
    if compression is not None and compression not in _LOSSLESS:
        return 0
    for band in bands:
        dtype, nodata = np.dtype(dataset.dtypes[band - 1]), dataset.nodatavals[band - 1]
        # The mean of other values is never the least or the greatest of all.
        if dtype.kind not in "ui" or nodata not in (np.iinfo(dtype).min, np.iinfo(dtype).max):
            return 0
    common = set.intersection(*(set(dataset.overviews(band)) for band in bands))
    longest = min(_LONGEST, dataset.height // _LEAST_PX, dataset.width // _LEAST_PX)
    return max((factor for factor in common if factor <= longest), default=0)


def is_empty(dataset: DatasetReader, bands: tuple[int, ...], factor: int, window: Window) -> bool:
    """Whether a window holds no data for certain; False says nothing.

    Args:
        dataset: The raster.
        bands: 1-based numbers of those that are read.
        factor: As `telling_overview` says, more than 0.
        window: In the file's pixels.

    Raises:
        RasterioIOError: The overview cannot be read there.
    """
    row, height = _around(window.row_off, window.height, factor, dataset.height)
    col, width = _around(window.col_off, window.width, factor, dataset.width)
    shape = len(bands), math.ceil(height / factor), math.ceil(width / factor)
    coarse_chw = dataset.read(list(bands), window=Window(col, row, width, height), out_shape=shape)
    nodata = np.array([dataset.nodatavals[band - 1] for band in bands]).reshape(-1, 1, 1)
    return bool((coarse_chw == nodata).all())


def _around(start: float, length: float, factor: int, size: int) -> tuple[int, int]:
    """First pixel and number of those along an axis that an overview's pixels in and around a window stand for."""
    first = max(0, math.floor(start / factor) - _MARGIN_PX)
    last = min(math.ceil(size / factor), math.ceil((start + length) / factor) + _MARGIN_PX)
    # Towards the end where there is room, else towards the beginning.
    last = min(math.ceil(size / factor), max(last, first + _LEAST_PX))
    first = min(first, max(0, last - _LEAST_PX))
    return first * factor, min(size, last * factor) - first * factor
