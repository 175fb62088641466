"""Small labelled scenes on disk."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from geoseg.imagery import Imagery
from geoseg.io.regions import Region
from geoseg.train.scenes import Source

WriteScene = Callable[..., Source]

CRS = "EPSG:32640"
WEST, NORTH = 320000.0, 2770000.0


@pytest.fixture
def imagery() -> Imagery:
    """RGB bytes at 1 m."""
    return Imagery(("red", "green", "blue"), "uint8", (0, 255), (100.0,) * 3, (50.0,) * 3, 1.0)


@pytest.fixture
def write_scene(tmp_path: Path) -> WriteScene:
    """Write image_chw (uint8), labels_hw (uint8, 0 = no data) and valid_hw as GeoTIFFs; returns a source."""

    def write(
        name: str,
        image_chw: NDArray[np.uint8],
        labels_hw: NDArray[np.uint8],
        valid_hw: NDArray[np.bool_] | None = None,
        split: str = "train",
        region: Region | None = None,
    ) -> Source:
        paths = tmp_path / f"{name}.tif", tmp_path / f"{name}_label.tif"
        height, width = labels_hw.shape
        profile = {
            "driver": "GTiff",
            "height": height,
            "width": width,
            "dtype": "uint8",
            "crs": CRS,
            "transform": Affine(1, 0, WEST, 0, -1, NORTH),
        }
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(paths[0], "w", count=3, photometric="RGB", **profile) as dataset,
        ):
            dataset.write(image_chw)
            if valid_hw is not None:
                dataset.write_mask(valid_hw)
        with rasterio.open(paths[1], "w", count=1, nodata=0, **profile) as dataset:
            dataset.write(labels_hw, 1)
        return Source(name, str(paths[0]), str(paths[1]), split, region)  # type: ignore[arg-type]  # a literal

    return write
