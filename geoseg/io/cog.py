"""The mosaic as Cloud Optimized GeoTIFFs, of classes or of objects, for tools that do not read Zarr."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.io import DatasetWriter
from rasterio.shutil import copy
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import StoppedError
from geoseg.grid import Grid, Window
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS, LabelSet

_CACHE_BYTES = 16 * 2**20
_SPARE_BYTES = 256 * 2**10
"""More than GDAL writes at once."""

_PART_PX = 2048
"""Side of what is in memory at once; whole chunks, so that each is decoded once."""


def write_class_cog(
    path: Path,
    mosaic: Mosaic,
    grid: Grid,
    labels: LabelSet,
    run_id: str,
    window: Window,
    covered: Iterable[Window],
) -> int:
    """Write `classes` of a window as a COG with a colour table, class names and majority overviews.

    Args:
        path: File to write; it appears whole or not at all.
        mosaic: The mosaic.
        grid: Its grid.
        labels: Names and colours of the classes.
        run_id: The run's plan hash, kept as a tag.
        window: What of the grid to write, from the corner of a chunk on.
        covered: Windows outside of which there is no data; what none of them touches is not even read.

    Returns:
        How many pixels hold data.

    Raises:
        StoppedError: GDAL could not write the whole file, or there was so little room that it may not have been.
        OSError: The mosaic cannot be read.
    """

    def dress(file: DatasetWriter) -> None:
        file.write_colormap(1, {i: (*label.rgb, 255) for i, label in enumerate(labels.classes)})
        file.colorinterp = [ColorInterp.palette]
        file.set_band_description(1, "class")
        file.update_tags(GEOSEG_RUN=run_id)
        file.update_tags(1, **{f"CLASS_{i}": name for i, name in enumerate(labels.names)})

    def read(part: Window) -> NDArray[np.uint8]:
        return mosaic.read(0, "classes", part)

    return _write(path, grid, window, covered, read, ("uint8", NODATA_CLASS), dress, "MODE")


def write_number_cog(
    path: Path,
    grid: Grid,
    window: Window,
    covered: Iterable[Window],
    read: Callable[[Window], NDArray[np.uint32]],
    run_id: str,
    name: str,
) -> int:
    """Write numbers of a window as a COG of uint32, with overviews of which each pixel is one of those it covers.

    Args:
        path: File to write; it appears whole or not at all.
        grid: The grid.
        window: What of it to write.
        covered: Windows outside of which there are no numbers.
        read: Gives the numbers of a window, uint32 (row, column); 0, which is nodata, for none.
        run_id: The run's plan hash, kept as a tag.
        name: What the numbers are of.

    Returns:
        How many pixels have a number.

    Raises:
        StoppedError: As `write_class_cog`.
    """

    def dress(file: DatasetWriter) -> None:
        file.set_band_description(1, name)
        file.update_tags(GEOSEG_RUN=run_id)

    return _write(path, grid, window, covered, read, ("uint32", 0), dress, "NEAREST")


def _write(
    path: Path,
    grid: Grid,
    window: Window,
    covered: Iterable[Window],
    read: Callable[[Window], NDArray[Any]],
    kind: tuple[str, int],
    dress: Callable[[DatasetWriter], None],
    overviews: Literal["MODE", "NEAREST"],
) -> int:
    """Write a band of a type and nodata value (`kind`); returns how many pixels hold data."""
    place = grid.part(window)
    valid_px = 0
    dtype, nodata = kind
    profile = {
        "driver": "GTiff",
        "dtype": dtype,
        "count": 1,
        "height": place.height,
        "width": place.width,
        "crs": rasterio.crs.CRS.from_user_input(place.crs),
        "transform": place.transform,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
        "sparse_ok": True,
        "num_threads": 1,
    }
    with TemporaryDirectory(prefix=f".{path.stem}.", suffix=".partial", dir=path.parent) as folder:
        plain, cog = Path(folder) / "plain.tif", Path(folder) / path.name
        with written_whole(path):
            with rasterio.open(plain, "w", **profile) as file:
                for part in _parts(window, covered):
                    value_hw = read(part)
                    valid = int(np.count_nonzero(value_hw != nodata))
                    if not valid:
                        continue  # what is never written is nodata, and costs neither time nor room
                    valid_px += valid
                    target = RasterioWindow(part.col - window.col, part.row - window.row, part.width, part.height)
                    file.write(value_hw, 1, window=target)
                dress(file)
            # GDAL makes overviews of so many rows at once, as wide as the raster; every block is read once.
            with rasterio.Env(GDAL_OVR_CHUNKYSIZE=128, GDAL_CACHEMAX=_CACHE_BYTES):
                copy(
                    plain,
                    cog,
                    driver="COG",
                    compress="DEFLATE",
                    level=6,
                    blocksize=512,
                    overview_resampling=overviews,
                    # The overviews of a single column are as wide as it is, which validators take for a fault.
                    overviews="AUTO" if place.width > 1 else "NONE",
                    bigtiff="IF_SAFER",
                    num_threads=1,
                )
        # GDAL does not tell when closing a file fails for want of room. What it removed since then are overviews,
        # which are smaller than the whole file: with this much room left, nothing can have been lost.
        if shutil.disk_usage(folder).free < max(plain.stat().st_size, cog.stat().st_size) + _SPARE_BYTES:
            raise StoppedError(f"the disk of {path} is nearly full: make room, then run the same command again")
        cog.replace(path)
    return valid_px


def _parts(window: Window, covered: Iterable[Window]) -> Iterator[Window]:
    """What is read at once of a window, where something covers it, in row-major order."""
    inside = (part for part in map(window.intersection, covered) if part is not None)
    places = {
        (i, j)
        for part in inside
        for i in range((part.row - window.row) // _PART_PX, (part.row_stop - 1 - window.row) // _PART_PX + 1)
        for j in range((part.col - window.col) // _PART_PX, (part.col_stop - 1 - window.col) // _PART_PX + 1)
    }
    for i, j in sorted(places):
        row, col = window.row + i * _PART_PX, window.col + j * _PART_PX
        height, width = min(_PART_PX, window.row_stop - row), min(_PART_PX, window.col_stop - col)
        yield Window(row, col, height, width)


@contextmanager
def written_whole(path: Path) -> Iterator[None]:
    """GDAL's own errors carry no number that says what is wrong; on a path of ours it is the storage.

    Args:
        path: What is being written, for the message.

    Raises:
        StoppedError: GDAL raised one.
    """
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise StoppedError(
            f"expected to write {path} whole, got: {error}; make room or choose another folder, then run the same "
            "command again"
        ) from error
