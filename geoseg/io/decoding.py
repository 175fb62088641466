"""How GDAL decodes blocks of files, where that is decided in a process that has loaded it already."""

from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio.env import get_gdal_config, set_gdal_config


@contextmanager
def decoding(cache_mib: int, threads: int) -> Iterator[None]:
    """Have GDAL keep so much of decoded blocks, and decode so many at a time, as long as a with-block runs.

    Args:
        cache_mib: What it keeps, in the whole process.
        threads: Of them several blocks of a window are decoded at a time.
    """
    with rasterio.Env():
        before = get_gdal_config("GDAL_CACHEMAX")
        with rasterio.Env(GDAL_CACHEMAX=cache_mib * 2**20, GDAL_NUM_THREADS=threads):
            yield
        # rasterio forgets the setting, and GDAL's cache stays as large as it was told to be.
        set_gdal_config("GDAL_CACHEMAX", before)
