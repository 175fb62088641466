"""The grid of a file's own pixels, from whatever says where on earth they lie."""

import math

from rasterio.crs import CRS as RasterioCRS  # noqa: N811  # pyproj has one too
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.grid import Grid, parse_crs, without_place
from geoseg.io.gcps import gcp_grid


def source_grid(
    path: str, dataset: DatasetReader, assume_crs: str | None, ground_resolution_m: float | None
) -> Grid:
    """The file's own pixels.

    Args:
        path: As the user named it.
        dataset: The file.
        assume_crs: Of a file that names none.
        ground_resolution_m: Of a file that nothing places on earth; None where such a file is refused.

    Raises:
        SceneError: Nothing that can be used says where it lies.
    """
    if ground_resolution_m is not None and _is_unplaced(dataset, assume_crs):
        return _without_place(path, dataset, ground_resolution_m)
    if dataset.crs is None or dataset.transform.is_identity:
        if dataset.gcps[0]:
            return _gcp_grid(path, dataset, assume_crs)
        if dataset.rpcs is not None:
            raise SceneError(
                f"{path} is placed by RPCs only: expected a geotransform and CRS; orthorectify it first with "
                "a terrain model, for example with gdalwarp -rpc -to RPC_DEM=FILE"
            )
    if dataset.transform.is_identity:
        raise SceneError(f"{path} has no geotransform: expected a georeferenced raster; georeference it first")
    if dataset.crs is not None:
        crs = crs_name(dataset.crs)
    elif assume_crs is not None:
        crs = assume_crs
    else:
        raise SceneError(
            f"{path} has no CRS: expected a georeferenced raster; name its CRS with --assume-crs EPSG:N"
        )
    if assume_crs is not None:
        parse_crs(assume_crs)
    parse_crs(crs)
    t = dataset.transform
    if t.determinant == 0:
        raise SceneError(
            f"{path} has a geotransform that places all pixels on a line: {tuple(t)[:6]}; mend it first"
        )
    return Grid(crs, t, dataset.height, dataset.width)


def _is_unplaced(dataset: DatasetReader, assume_crs: str | None) -> bool:
    """Whether nothing in a file says where on earth it lies."""
    by_transform = (dataset.crs is not None or assume_crs is not None) and not dataset.transform.is_identity
    return not by_transform and not dataset.gcps[0] and dataset.rpcs is None


def _without_place(path: str, dataset: DatasetReader, ground_resolution_m: float) -> Grid:
    if not (math.isfinite(ground_resolution_m) and ground_resolution_m > 0):
        raise SceneError(f"{path}: expected a ground resolution above 0 m, got {ground_resolution_m:g}")
    return without_place(dataset.height, dataset.width, ground_resolution_m)


def _gcp_grid(path: str, dataset: DatasetReader, assume_crs: str | None) -> Grid:
    """The file's own pixels where ground control points are all that places them."""
    points, crs = dataset.gcps
    if crs is None and assume_crs is None:
        raise SceneError(
            f"{path} has ground control points without a CRS: expected a georeferenced raster; name their CRS with "
            "--assume-crs EPSG:N"
        )
    name = str(assume_crs) if crs is None else crs_name(crs)
    parse_crs(name)
    places = [(point.row, point.col, point.x, point.y) for point in points]
    return gcp_grid(path, places, name, dataset.height, dataset.width)


def crs_name(crs: RasterioCRS) -> str:
    """An authority code where there is one that means just this, else WKT."""
    epsg = crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{epsg}" if epsg is not None else str(crs.to_wkt())
