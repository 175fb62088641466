"""Features of a vector file as they stand in it: polygons and lines one by one, each with an attribute."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely
import shapely.geometry
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.io.formats import CONVERT_VECTOR
from geoseg.io.geoparquet import geoparquet_features
from geoseg.io.kml import kml_polygons, kmz_polygons
from geoseg.io.polygons import READ_ERRORS, shapes_of_wkb, vector_kind
from geoseg.io.regions import geojson_documents, geojson_features

_WGS84 = "OGC:CRS84"


@dataclass(frozen=True, slots=True, eq=False)
class FileLayer:
    """Features of one layer of a file.

    Attributes:
        name: The layer's name, or the file's.
        crs: Authority code or WKT.
        geometry: shapely geometries (n,) in two dimensions, of any kind; those that were missing are not here.
        values: str or None (n,), an attribute of each in text; None where the layer has no such attribute.
    """

    name: str
    crs: str
    geometry: NDArray[np.object_]
    values: NDArray[np.object_] | None


def read_layers(path: Path, attribute: str) -> list[FileLayer]:
    """All layers of a vector file.

    Args:
        path: A local file: GeoJSON (also as a text sequence), GeoPackage, FlatGeobuf, Shapefile, KML, KMZ (of these
            two polygons alone, without attributes) or GeoParquet.
        attribute: The one that is wanted of each feature.

    Raises:
        GeosegError: The file cannot be read, is of another format or has no CRS, or coordinates are not finite.
    """
    match vector_kind(path):
        case "json":
            layers = [_from_json(path, attribute)]
        case "parquet":
            crs, wkb, values = geoparquet_features(path, attribute)
            layers = [_layer(path.stem, crs, shapes_of_wkb(path, wkb), values)]
        case "gdal":
            layers = _from_gdal(path, attribute)
        case kind:
            polygons, beside = (kml_polygons if kind == "kml" else kmz_polygons)(path)
            if beside:
                raise GeosegError(
                    f"of KML only polygons are read, {path} holds {', '.join(sorted(beside))}: {CONVERT_VECTOR}"
                )
            layers = [_layer(path.stem, _WGS84, polygons, None)]
    for layer in layers:
        if not np.isfinite(shapely.get_coordinates(layer.geometry)).all():
            raise GeosegError(f"expected finite coordinates, {path} holds others: export it again")
    return layers


def _layer(name: str, crs: str, shapes: Sequence[shapely.Geometry], values: Sequence[Any] | None) -> FileLayer:
    geometry = np.empty(len(shapes), object)
    geometry[:] = shapes
    if values is None:
        return FileLayer(name, crs, shapely.force_2d(geometry), None)
    texts = np.empty(len(shapes), object)
    texts[:] = [attribute_text(value) for value in values]
    return FileLayer(name, crs, shapely.force_2d(geometry), texts)


def attribute_text(value: object) -> str | None:
    """A value as its file's table would show it; whole numbers come as floats where some are missing."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _from_json(path: Path, attribute: str) -> FileLayer:
    try:
        documents = list(geojson_documents(path.read_text(encoding="utf-8-sig")))
        systems = {str(one["crs"]["properties"]["name"]) if one.get("crs") else _WGS84 for one in documents}
        features = [
            feature
            for document in documents
            for feature in geojson_features(document)
            if feature["geometry"] is not None
        ]
        shapes = [shapely.geometry.shape(feature["geometry"]) for feature in features]
        properties = [feature["properties"] or {} for feature in features]
        has = any(attribute in one for one in properties)
        values = [one.get(attribute) for one in properties] if has else None
    except OSError as error:
        raise GeosegError(f"{path} cannot be read ({error.strerror})") from error
    # Collections within collections, without end, are a RecursionError.
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as error:
        raise GeosegError(f"{path}: expected GeoJSON, got {error!r}: export it again") from error
    if len(systems) > 1:
        raise GeosegError(f"{path}: expected one CRS throughout, got {', '.join(sorted(systems))}")
    return _layer(path.stem, systems.pop() if systems else _WGS84, shapes, values)


def _from_gdal(path: Path, attribute: str) -> list[FileLayer]:
    absolute = path.absolute()
    layers = []
    try:
        names = [str(name) for name, kind in pyogrio.list_layers(absolute) if kind is not None]
        for name in names:
            meta, _, wkb, columns = pyogrio.raw.read(absolute, layer=name, columns=[attribute])
            if meta["crs"] is None:
                raise GeosegError(
                    f"layer {name} of {path} has no CRS: say it in the file (a Shapefile needs its .prj)"
                )
            there = [i for i, one in enumerate([] if wkb is None else wkb) if one is not None]
            shapes = shapes_of_wkb(path, [wkb[i] for i in there])
            values = [columns[0][i] for i in there] if len(columns) else None
            layers.append(_layer(name, meta["crs"], shapes, values))
    except READ_ERRORS as error:
        raise GeosegError(f"{path} cannot be read: {error}") from error
    return layers
