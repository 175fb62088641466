"""The class mosaic as a Cloud Optimized GeoTIFF, for tools that do not read Zarr."""

from pathlib import Path
from tempfile import TemporaryDirectory

import rasterio
from rasterio.enums import ColorInterp
from rasterio.shutil import copy
from rasterio.windows import Window as RasterioWindow

from geoseg.grid import Grid, Window
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS, LabelSet

_STRIP_PX = 2048
"""Rows in memory at once; whole chunks, so that each is decoded once."""


def write_class_cog(path: Path, mosaic: Mosaic, grid: Grid, labels: LabelSet, run_id: str) -> None:
    """Write `classes` as a COG with a colour table, class names and majority overviews.

    Args:
        path: File to write; it appears whole or not at all.
        mosaic: The mosaic.
        grid: Its grid.
        labels: Names and colours of the classes.
        run_id: The run's plan hash, kept as a tag.
    """
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": grid.height,
        "width": grid.width,
        "crs": rasterio.crs.CRS.from_user_input(grid.crs),
        "transform": grid.transform,
        "nodata": NODATA_CLASS,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "bigtiff": "if_safer",
    }
    with TemporaryDirectory(prefix=".classes.", suffix=".partial", dir=path.parent) as folder:
        plain, cog = Path(folder) / "plain.tif", Path(folder) / path.name
        with rasterio.open(plain, "w", **profile) as file:
            for row in range(0, grid.height, _STRIP_PX):
                window = Window(row, 0, min(_STRIP_PX, grid.height - row), grid.width)
                target = RasterioWindow(0, row, window.width, window.height)
                file.write(mosaic.read(0, "classes", window), 1, window=target)
            file.write_colormap(1, {i: (*label.rgb, 255) for i, label in enumerate(labels.classes)})
            file.colorinterp = [ColorInterp.palette]
            file.set_band_description(1, "class")
            file.update_tags(GEOSEG_RUN=run_id)
            file.update_tags(1, **{f"CLASS_{i}": name for i, name in enumerate(labels.names)})
        copy(
            plain,
            cog,
            driver="COG",
            compress="DEFLATE",
            level=6,
            blocksize=512,
            overview_resampling="MODE",
            # The overviews of a single column are as wide as it is, which validators take for a fault.
            overviews="AUTO" if grid.width > 1 else "NONE",
            bigtiff="IF_SAFER",
        )
        cog.replace(path)
