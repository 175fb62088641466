"""A PNG of segment numbers as COCO's panoptic format has it, written from top to bottom.

A number is R + 256 G + 65536 B of its pixel; 0, black, is void (https://cocodataset.org/#format-data, section 3).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import StoppedError
from geoseg.io.chip_files import without_place_is_no_surprise
from geoseg.io.cog import written_whole
from geoseg.io.formats import is_whole_png

MOST_NUMBER = 2**24 - 1
"""The largest number that three bytes hold."""

_CACHE_BYTES = 16 * 2**20


def number_rgb(number_hw: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """Red, green and blue (band, row, column) of numbers (row, column) up to `MOST_NUMBER`."""
    bytes_hwc = np.ascontiguousarray(number_hw, "<u4")[..., None].view(np.uint8)
    return np.moveaxis(bytes_hwc[..., :3], -1, 0)


class SegmentRows:
    """Takes the numbers of a picture, any rows of it at a time.

    Attributes:
        is_void: Whether no pixel so far is of a segment.
    """

    def __init__(self, file: DatasetWriter) -> None:
        self._file = file
        self.is_void = True

    def write(self, row: int, number_hw: NDArray[np.uint32]) -> None:
        """Write whole rows.

        Args:
            row: The first of them.
            number_hw: Their numbers (row, column).
        """
        if number_hw.any():
            self.is_void = False
            self._file.write(
                number_rgb(number_hw), window=RasterioWindow(0, row, number_hw.shape[1], len(number_hw))
            )


@contextmanager
def segment_png(path: Path, height: int, width: int) -> Iterator[SegmentRows]:
    """Write a PNG of segment numbers; it appears whole, when the block ends well, and not at all if it is void.

    GDAL makes the PNG row by row out of a temporary file beside it, so that memory does not grow with its height.

    Args:
        path: File to write; its folder is there.
        height: Rows.
        width: Columns.

    Yields:
        What takes the numbers; rows that it is not given are void.

    Raises:
        StoppedError: It could not be written whole.
    """
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": height,
        "width": width,
        "interleave": "pixel",
        "photometric": "RGB",
        "compress": "deflate",
        "zlevel": 1,
        "blockysize": 16,
        "bigtiff": "if_safer",
        "sparse_ok": True,
        "num_threads": 1,
    }
    with TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as folder:
        plain, png = Path(folder) / "plain.tif", Path(folder) / path.name
        with (
            written_whole(path),
            without_place_is_no_surprise(),
            # No .aux.xml beside a file that says all there is.
            rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES, GDAL_PAM_ENABLED=False),
        ):
            with rasterio.open(plain, "w", **profile) as file:
                rows = SegmentRows(file)
                yield rows
            if rows.is_void:
                return
            copy(plain, png, driver="PNG", zlevel=6)
        with png.open("rb") as stream:
            whole = is_whole_png(stream)
        if not whole:
            raise StoppedError(f"expected to write {path} whole, got a part of it: is the disk full? Make room")
        png.replace(path)
