"""Pseudo-labels as a raster: what a run is sure of, for the labels of an entry of training data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window as RasterioWindow

from geoseg.datasets.run_labels import RunLabels
from geoseg.errors import ConfigError, StoppedError
from geoseg.grid import Window
from geoseg.io.mosaic import CHUNK_PX
from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """What was written.

    Attributes:
        path: The raster: class ids of the run, `NODATA_CLASS` (its nodata value) where the run is not sure.
        names: Of the classes, by id.
        pixels: Of each class that are labelled.
        unlabelled: Pixels that are not, with those without data.
    """

    path: Path
    names: tuple[str, ...]
    pixels: tuple[int, ...]
    unlabelled: int

    @property
    def values(self) -> dict[int, str]:
        """What the raster's values mean, as the `values` of an entry say it."""
        return dict(enumerate(self.names))


def write_pseudo_labels(
    run: Path, output: Path, least: Mapping[str, float], *, force: bool = False
) -> PseudoLabels:
    """Write the classes that a run is sure of as a GeoTIFF, chunk by chunk.

    Args:
        run: The RUN folder.
        output: The file, .tif.
        least: Least probability by class name; "*" stands for all others.
        force: Replace the file if it is there.

    Raises:
        RunFolderError: There is no run.
        ConfigError: A threshold is wrong, no pixel reaches one, or the output cannot be.
        StoppedError: The file cannot be written.
    """
    if output.suffix.lower() not in (".tif", ".tiff") or not output.parent.is_dir():
        raise ConfigError(f"expected a .tif in a folder that exists as output, got {output}")
    if output.exists() and not force:
        raise ConfigError(f"{output} is there already: name another file, or replace it with --force")
    labels = RunLabels(run, None, None, least)
    grid, counts_v = labels.grid, np.zeros(NODATA_CLASS + 1, np.int64)
    profile = {
        "driver": "GTiff",
        "height": grid.height,
        "width": grid.width,
        "count": 1,
        "dtype": "uint8",
        "crs": grid.crs,
        "transform": grid.transform,
        "nodata": NODATA_CLASS,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": CHUNK_PX,
        "blockysize": CHUNK_PX,
        "sparse_ok": True,
        "bigtiff": "if_safer",
    }
    partial = output.with_name(f"{output.name}.partial.tif")
    try:
        with rasterio.open(partial, "w", **profile) as dataset:
            for row in range(0, grid.height, CHUNK_PX):
                for col in range(0, grid.width, CHUNK_PX):
                    window = Window(row, col, CHUNK_PX, CHUNK_PX).intersection(grid.window)
                    assert window is not None
                    coded_hw = labels.read(window)
                    counts_v += np.bincount(coded_hw.ravel(), minlength=NODATA_CLASS + 1)
                    place = RasterioWindow(window.col, window.row, window.width, window.height)
                    dataset.write(coded_hw, 1, window=place)
            dataset.update_tags(**{f"class_{number}": name for number, name in enumerate(labels.names)})
        if counts_v[:NODATA_CLASS].sum() == 0:
            raise ConfigError(f"{run}: no pixel is that sure of its class: lower --min-confidence")
        partial.replace(output)
    except rasterio.errors.RasterioIOError as error:
        raise StoppedError(f"{output} cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    pixels = tuple(int(count) for count in counts_v[: len(labels.names)])
    return PseudoLabels(output, labels.names, pixels, int(counts_v[NODATA_CLASS]))
