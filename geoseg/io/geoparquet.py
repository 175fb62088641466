"""Geometries from GeoParquet: the primary column, as WKB (https://geoparquet.org/releases/v1.1.0)."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
from pydantic import BaseModel, ValidationError
from pyproj import CRS
from pyproj.exceptions import CRSError

from geoseg.errors import GeosegError
from geoseg.io.formats import CONVERT_VECTOR

_MOST_BYTES = 2**28
_ROWS_AT_ONCE = 16
"""A geometry that many rows share is stored once, and takes its length again for each row when it is read."""

_POINT, _LINE, _POLYGON = 1, 2, 3
_POLYGONS = frozenset({_POLYGON})
_SIMPLE = frozenset({_POINT, _LINE, _POLYGON})
_KINDS = (
    "Geometry",
    "Point",
    "LineString",
    "Polygon",
    "MultiPoint",
    "MultiLineString",
    "MultiPolygon",
    "GeometryCollection",
)
_Z, _M = 0x8000_0000, 0x4000_0000
"""How some writers mark a third and fourth coordinate, in place of the standard's thousands."""


class _Column(BaseModel):
    encoding: str
    crs: dict[str, Any] | None = None
    edges: str = "planar"


class _Metadata(BaseModel):
    primary_column: str
    columns: dict[str, _Column]


def geoparquet_polygons(path: Path) -> tuple[str, list[bytes]]:
    """The geometries of a GeoParquet file, and their CRS.

    Args:
        path: The file.

    Returns:
        The CRS as WKT or authority code, and the WKB of every feature that has a geometry, polygons and
        multipolygons all.

    Raises:
        GeosegError: It cannot be read, is Parquet without geometries, in another encoding, without CRS, with edges
            that are not straight, holds other geometries or more than 256 MiB of them.
    """
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            name, column = _primary(path, file.schema_arrow)
            crs = _crs(path, column)
            return crs, [wkb for wkb, _ in _checked(path, file, name, _POLYGONS)]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def geoparquet_features(path: Path, attribute: str) -> tuple[str, list[bytes], list[Any] | None]:
    """The geometries of a GeoParquet file with an attribute of each, and their CRS.

    Args:
        path: The file.
        attribute: Name of a column.

    Returns:
        The CRS as `geoparquet_polygons` gives it, the WKB of every feature that has a geometry, and the attribute
        of each, or None where the file has no such column.

    Raises:
        GeosegError: As `geoparquet_polygons`, but points, lines and several of them are geometries too.
    """
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            name, column = _primary(path, file.schema_arrow)
            crs = _crs(path, column)
            if attribute not in file.schema_arrow.names:
                return crs, [wkb for wkb, _ in _checked(path, file, name, _SIMPLE)], None
            rows = list(_checked(path, file, name, _SIMPLE, attribute))
            return crs, [wkb for wkb, _ in rows], [value for _, value in rows]
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _primary(path: Path, schema: pa.Schema) -> tuple[str, _Column]:
    text = (schema.metadata or {}).get(b"geo")
    if text is None:
        raise GeosegError(
            f"{path}: expected GeoParquet, got Parquet that does not say what its geometries are (no 'geo' in its "
            f"metadata): {CONVERT_VECTOR}"
        )
    try:
        metadata = _Metadata.model_validate_json(text)
    except ValidationError as error:
        raise GeosegError(
            f"{path}: expected GeoParquet with primary_column, columns and their encoding, its 'geo' metadata "
            f"differs in {'.'.join(map(str, error.errors()[0]['loc'])) or 'being no JSON'}: export it again"
        ) from error
    name = metadata.primary_column
    if name not in metadata.columns or name not in schema.names:
        raise GeosegError(f"{path}: expected a column {name!r}, the primary one, there is none: export it again")
    column, kind = metadata.columns[name], schema.field(name).type
    if column.encoding != "WKB" or not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise GeosegError(
            f"{path}: expected geometries as WKB, the column {name!r} has {column.encoding} in {str(kind)[:80]}: "
            "write it with the encoding WKB, or as GeoPackage"
        )
    if column.edges != "planar":
        raise GeosegError(
            f"{path}: expected straight edges, those of {name!r} are {column.edges}: write them with vertices so "
            "close that it does not matter, and as planar"
        )
    return name, column


def _crs(path: Path, column: _Column) -> str:
    if "crs" not in column.model_fields_set:
        return "OGC:CRS84"
    if column.crs is None:
        raise GeosegError(f"{path} has no CRS (null): say it in the file")
    try:
        return CRS.from_json_dict(column.crs).to_wkt()
    except CRSError as error:
        raise GeosegError(f"{path}: expected a CRS as PROJJSON, got {str(column.crs)[:80]}") from error


def _checked(
    path: Path, file: pyarrow.parquet.ParquetFile, name: str, kinds: frozenset[int], attribute: str | None = None
) -> Iterator[tuple[bytes, Any]]:
    """The WKB of each geometry, of some kinds or of several such, and its attribute."""
    total = 0
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=[name, *([] if attribute is None else [attribute])]):
        total += batch.nbytes
        if total > _MOST_BYTES:
            raise GeosegError(
                f"{path}: expected at most {_MOST_BYTES >> 20} MiB of geometries, got more: simplify them"
            )
        values = [None] * batch.num_rows if attribute is None else batch.column(attribute).to_pylist()
        for wkb, value in zip(batch.column(name).to_pylist(), values, strict=True):
            if wkb is None:
                continue
            try:
                other = _other_kind(wkb, kinds)
            except (struct.error, IndexError) as error:
                raise GeosegError(
                    f"{path}: expected geometries as WKB, one is damaged or something else: export it again"
                ) from error
            if other:
                expected = "polygons" if kinds == _POLYGONS else "polygons or lines"
                raise GeosegError(f"{path}: expected {expected}, got {other}: export the {expected} alone")
            yield wkb, value


def _other_kind(wkb: bytes, kinds: frozenset[int]) -> str:
    """What in a WKB is neither of some kinds nor several of one, or nothing.

    GEOS goes down into collections within collections until the process dies, so they are told before.
    """
    at, parts, within, wanted = 0, 1, "", kinds
    while parts:
        order = "<" if wkb[at] else ">"
        code, count = struct.unpack_from(f"{order}II", wkb, at + 1)
        thousands, kind = divmod(code & ~(_Z | _M), 1000)
        dimensions = 2 + (thousands in {1, 3}) + (thousands in {2, 3}) + bool(code & _Z) + bool(code & _M)
        at, parts = at + 9, parts - 1
        if kind - 3 in wanted and not within:
            parts, within, wanted = count, f" within {_KINDS[kind]}", frozenset({kind - 3})
        elif kind not in wanted:
            return (_KINDS[kind] if kind < len(_KINDS) else "another geometry") + within
        elif kind == _POLYGON:
            for _ in range(count):
                (places,) = struct.unpack_from(f"{order}I", wkb, at)
                at += 4 + 8 * dimensions * places
        elif kind == _LINE:
            at += 8 * dimensions * count
        else:  # of a point that is no count, but the beginning of its coordinates
            at += 8 * dimensions - 4
    return ""


def _unreadable(path: Path, error: BaseException) -> GeosegError:
    return GeosegError(f"{path} cannot be read as GeoParquet ({_first_line(error)}): copy or export it again")


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
