"""Polygons from a vector file, in its own CRS, whatever its format."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
import pyogrio.raw
import shapely
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, GeometryError

from geoseg.errors import GeosegError
from geoseg.io.formats import CONVERT_VECTOR, VECTOR_FORMATS
from geoseg.io.geoparquet import geoparquet_polygons
from geoseg.io.kml import kml_polygons, kmz_polygons
from geoseg.io.regions import Region, read_region

_WGS84 = "OGC:CRS84"

_READ_ERRORS = (
    CRSError,
    DataLayerError,
    DataSourceError,
    FeatureError,
    GeometryError,
    # What pyogrio 0.13 makes of a CRS whose name is not UTF-8.
    UnicodeDecodeError,
    UnboundLocalError,
)


def read_polygons(path: Path) -> Region:
    """The union of the polygons of a vector file.

    Args:
        path: A local file with one layer: GeoJSON (also as a text sequence), GeoPackage, FlatGeobuf, Shapefile,
            KML, KMZ or GeoParquet.

    Raises:
        GeosegError: The file cannot be read, is of another format, has no CRS, or holds no polygons or other
            geometries beside them.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "nothing"
        raise GeosegError(f"expected a vector file ({VECTOR_FORMATS}), there is {what} at {path}")
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise GeosegError(f"{path} cannot be read ({error.strerror})") from error
    # GDAL guesses formats from contents, and some of them are programs; these are told by their first bytes.
    text = head.lstrip(b"\xef\xbb\xbf\x1e \t\r\n")
    if text.startswith(b"{"):
        return read_region(path, {})
    if text.startswith(b"<"):
        return Region(_WGS84, _union(path, *kml_polygons(path)))
    if head.startswith(b"PK\3\4"):
        return Region(_WGS84, _union(path, *kmz_polygons(path)))
    if head.startswith(b"PAR1"):
        crs, wkb = geoparquet_polygons(path)
        return Region(crs, _union(path, _shapes(path, wkb)))
    geopackage = head.startswith(b"SQLite format 3\0") and head[68:72] in (b"GPKG", b"GP10", b"GP11")
    shapefile = head.startswith(b"\0\0\x27\x0a") and path.suffix.lower() == ".shp"
    if shapefile and path.stat().st_size < 2 * int.from_bytes(head[24:28], "big"):
        # GDAL leaves out shapes that are not there, and says nothing.
        raise GeosegError(f"{path} cannot be read: it is shorter than it says (cut short?): copy it again")
    if geopackage or shapefile or head.startswith(b"fgb\x03"):
        return _read_layer(path)
    raise GeosegError(f"expected {VECTOR_FORMATS}, {path} is none of them: {CONVERT_VECTOR}")


def _read_layer(path: Path) -> Region:
    absolute = path.absolute()
    try:
        layers = [str(name) for name, kind in pyogrio.list_layers(absolute) if kind is not None]
        if len(layers) != 1:
            raise GeosegError(
                f"expected a file with one layer of polygons, {path} has {len(layers)} "
                f"({', '.join(layers)}): export the one that you mean"
            )
        meta, _, wkb, _ = pyogrio.raw.read(absolute, layer=layers[0], columns=[])
    except _READ_ERRORS as error:
        raise GeosegError(f"{path} cannot be read: {error}") from error
    if meta["crs"] is None:
        raise GeosegError(f"{path} has no CRS: say it in the file (a Shapefile needs its .prj)")
    return Region(meta["crs"], _union(path, _shapes(path, [] if wkb is None else list(wkb))))


def _shapes(path: Path, wkb: Sequence[bytes | None]) -> list[shapely.Geometry]:
    given = np.array([one for one in wkb if one is not None], object)
    shapes = shapely.from_wkb(given, on_invalid="fix")
    lost = np.count_nonzero(shapely.is_missing(shapes))
    if lost:
        raise GeosegError(
            f"{path} cannot be read: {lost} of its {len(given)} geometries are damaged: {CONVERT_VECTOR}"
        )
    return list(shapes)


def _union(path: Path, shapes: list[shapely.Geometry], beside: AbstractSet[str] = frozenset()) -> shapely.Geometry:
    kinds = {shape.geom_type for shape in shapes} | beside
    if not kinds or not kinds <= {"Polygon", "MultiPolygon"}:
        raise GeosegError(
            f"expected polygons, {path} holds {', '.join(sorted(kinds)) or 'nothing'}: export the polygons alone"
        )
    if not np.isfinite(shapely.get_coordinates(shapes)).all():
        raise GeosegError(f"expected polygons with finite coordinates, {path} holds others: export them again")
    return shapely.union_all(shapely.make_valid(shapely.force_2d(shapes)))
