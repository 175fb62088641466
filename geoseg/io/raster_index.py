"""The index of class rasters that lie far apart: a polygon for each, as gdaltindex makes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.vector_file import GEOPACKAGE_OPTIONS, gdal_options, not_written, replacing

_LAYER = "index"
_GEOMETRY = "geom"


@dataclass(frozen=True, slots=True)
class IndexedRaster:
    """A raster of the index.

    Attributes:
        location: Its path from the index's folder, with `/` between folders.
        window: Its pixels on the grid.
        valid_px: How many of them hold data.
    """

    location: str
    window: Window
    valid_px: int


def write_index(path: Path, rasters: Sequence[IndexedRaster], grid: Grid, run_id: str) -> None:
    """Write the layer `index` into a GeoPackage, version 1.3: where each raster lies, in the grid's CRS.

    The fields are `location`, by which GDAL's GTI driver and QGIS find the rasters, `row`, `col`, `height` and
    `width` of the window on the grid, and `valid_px`. The same rasters give the same bytes.

    Args:
        path: File to write, ending in `.gpkg`, in a folder that exists; one that is there is replaced.
        rasters: What to index, in the order in which it is written.
        grid: The grid of all of them.
        run_id: The run's plan hash, kept as metadata.

    Raises:
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    windows = [raster.window for raster in rasters]
    columns: dict[str, pa.Array] = {
        "location": pa.array([raster.location for raster in rasters], pa.string()),
        **{
            name: pa.array([getattr(window, name) for window in windows], pa.int64())
            for name in ("row", "col", "height", "width")
        },
        "valid_px": pa.array([raster.valid_px for raster in rasters], pa.int64()),
        _GEOMETRY: pa.array(shapely.to_wkb(_footprints(windows, grid), byte_order=1).tolist(), pa.binary()),
    }
    geometry = {"ARROW:extension:name": "geoarrow.wkb"}
    schema = pa.schema(
        [
            pa.field(name, column.type, metadata=geometry if name == _GEOMETRY else None)
            for name, column in columns.items()
        ]
    )
    with replacing(path) as written, gdal_options(GEOPACKAGE_OPTIONS):
        pyogrio.write_arrow(
            pa.Table.from_arrays(list(columns.values()), schema=schema),
            str(written),
            layer=_LAYER,
            driver="GPKG",
            geometry_name=_GEOMETRY,
            geometry_type="Polygon",
            crs=parse_crs(grid.crs).to_wkt(),
            dataset_options={"VERSION": "1.3"},
            layer_options={"SPATIAL_INDEX": "YES", "GEOMETRY_NAME": _GEOMETRY, "FID": "fid"},
            layer_metadata={"geoseg_run": run_id},
        )
        # GDAL does not report that it could not write the spatial index, the last thing it does.
        info = pyogrio.read_info(written, layer=_LAYER)
        if info["features"] != len(rasters) or not info["capabilities"]["fast_spatial_filter"]:
            raise not_written(path, "it is not whole")


def _footprints(windows: Sequence[Window], grid: Grid) -> NDArray[np.object_]:
    """Polygons (n,) of windows in the grid's CRS, exteriors counter-clockwise."""
    corners = [
        [
            grid.transform @ (col, row)
            for col, row in ((w.col, w.row), (w.col, w.row_stop), (w.col_stop, w.row_stop), (w.col_stop, w.row))
        ]
        for w in windows
    ]
    polygons: NDArray[np.object_] = shapely.polygons(np.array(corners, np.float64).reshape(-1, 4, 2))
    return np.asarray(shapely.orient_polygons(polygons), object)
