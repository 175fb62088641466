"""Chips on disk: small GeoTIFFs of an image and of its labels, in their place on earth."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning

from geoseg.grid import NO_PLACE, Grid
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS, LabelSet

_COLORS = {"red": ColorInterp.red, "green": ColorInterp.green, "blue": ColorInterp.blue}


def write_image_chip(
    path: Path, image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_], grid: Grid, imagery: Imagery
) -> None:
    """Write an image as a GeoTIFF in the data type of a model's imagery, nodata as an internal mask.

    Values of integer types are rounded: exact where the scene was not resampled, else at most half a number off.

    Args:
        path: Where; its folder is there.
        image_chw: Values (band, row, column) in the raster's own numbers.
        valid_hw: Where there is data.
        grid: Of these pixels.
        imagery: What the bands are.
    """
    dtype = np.dtype(imagery.dtype)
    values_chw = np.where(valid_hw, image_chw, np.float32(0))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values_chw = np.clip(np.rint(values_chw), limits.min, limits.max)
    bands = len(imagery.bands)
    # Of four bytes a pixel GDAL would take the last for transparency.
    photometric = {} if bands == 3 and dtype == np.uint8 else {"photometric": "MINISBLACK", "alpha": "NO"}
    with (
        without_place_is_no_surprise(),
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(path, "w", count=bands, dtype=imagery.dtype, **_profile(grid), **photometric) as dataset,
    ):
        dataset.write(values_chw.astype(dtype))
        dataset.colorinterp = [_COLORS.get(name, ColorInterp.undefined) for name in imagery.bands]
        for number, name in enumerate(imagery.bands, 1):
            dataset.set_band_description(number, name)
        if not valid_hw.all():
            dataset.write_mask(valid_hw)


def write_label_chip(path: Path, labels_hw: NDArray[np.uint8], grid: Grid, labels: LabelSet) -> None:
    """Write coded labels as a GeoTIFF in the colours of their classes; 255, not known, is no data.

    Args:
        path: Where; its folder is there.
        labels_hw: Class ids (row, column), values of `geoseg.train.candidates` among them.
        grid: Of these pixels.
        labels: The classes.
    """
    profile = {"count": 1, "dtype": "uint8", "nodata": NODATA_CLASS, **_profile(grid)}
    with without_place_is_no_surprise(), rasterio.open(path, "w", **profile) as dataset:
        dataset.write(labels_hw, 1)
        dataset.write_colormap(1, {number: (*label.rgb, 255) for number, label in enumerate(labels.classes)})


def _profile(grid: Grid) -> Mapping[str, Any]:
    placed = {} if grid.crs == NO_PLACE else {"crs": grid.crs, "transform": grid.transform}
    return {"driver": "GTiff", "height": grid.height, "width": grid.width, "compress": "deflate", **placed}


@contextmanager
def without_place_is_no_surprise() -> Iterator[None]:
    """Without rasterio's warning that a file has no place on earth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
