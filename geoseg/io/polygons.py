"""Polygons from a vector file, in its own CRS, whatever its format."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Literal

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

VectorKind = Literal["json", "kml", "kmz", "parquet", "gdal"]
"""How a vector file is read: by readers of our own, or by GDAL."""

READ_ERRORS = (
    CRSError,
    DataLayerError,
    DataSourceError,
    FeatureError,
    GeometryError,
    # What pyogrio 0.13 makes of a CRS whose name is not UTF-8.
    UnicodeDecodeError,
    UnboundLocalError,
)
"""What GDAL's reading of a damaged file may end in."""


def read_polygons(path: Path) -> Region:
    """The union of the polygons of a vector file.

    Args:
        path: A local file with one layer: GeoJSON (also as a text sequence), GeoPackage, FlatGeobuf, Shapefile,
            KML, KMZ or GeoParquet.

    Raises:
        GeosegError: The file cannot be read, is of another format, has no CRS, or holds no polygons or other
            geometries beside them.
    """
    match vector_kind(path):
        case "json":
            return read_region(path, {})
        case "kml":
            return Region(_WGS84, _union(path, *kml_polygons(path)))
        case "kmz":
            return Region(_WGS84, _union(path, *kmz_polygons(path)))
        case "parquet":
            crs, wkb = geoparquet_polygons(path)
            return Region(crs, _union(path, shapes_of_wkb(path, wkb)))
        case "gdal":
            return _read_layer(path)


def vector_kind(path: Path) -> VectorKind:
    """How a vector file is to be read, told by its first bytes: GDAL guesses, and some formats are programs.

    Raises:
        GeosegError: There is no such file, it cannot be read, is cut short, or is of no format that is read.
    """
    if not path.is_file():
        what = "a folder" if path.is_dir() else "nothing"
        raise GeosegError(f"expected a vector file ({VECTOR_FORMATS}), there is {what} at {path}")
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise GeosegError(f"{path} cannot be read ({error.strerror})") from error
    text = head.lstrip(b"\xef\xbb\xbf\x1e \t\r\n")
    starts: tuple[tuple[bytes, bytes, VectorKind], ...] = (
        (text, b"{", "json"),
        (text, b"<", "kml"),
        (head, b"PK\3\4", "kmz"),
        (head, b"PAR1", "parquet"),
    )
    for begin, magic, kind in starts:
        if begin.startswith(magic):
            return kind
    geopackage = head.startswith(b"SQLite format 3\0") and head[68:72] in (b"GPKG", b"GP10", b"GP11")
    shapefile = head.startswith(b"\0\0\x27\x0a") and path.suffix.lower() == ".shp"
    if shapefile and path.stat().st_size < 2 * int.from_bytes(head[24:28], "big"):
        # GDAL leaves out shapes that are not there, and says nothing.
        raise GeosegError(f"{path} cannot be read: it is shorter than it says (cut short?): copy it again")
    if geopackage or shapefile or head.startswith(b"fgb\x03"):
        return "gdal"
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
    except READ_ERRORS as error:
        raise GeosegError(f"{path} cannot be read: {error}") from error
    if meta["crs"] is None:
        raise GeosegError(f"{path} has no CRS: say it in the file (a Shapefile needs its .prj)")
    return Region(meta["crs"], _union(path, shapes_of_wkb(path, [] if wkb is None else list(wkb))))


def shapes_of_wkb(path: Path, wkb: Sequence[bytes | None]) -> list[shapely.Geometry]:
    """The geometries of a file; those that are missing are passed over.

    Raises:
        GeosegError: Some are damaged.
    """
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
