"""Regions on the ground: polygons from GeoJSON, on the pixel grid of a scene."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from rasterio.features import rasterize
from shapely.affinity import affine_transform

from geoseg.errors import ConfigError, SceneError
from geoseg.grid import Grid, Window, parse_crs

_EDGE_PIECES = 64
"""Pieces that the longer side of a region is cut into before it moves to a CRS where straight lines bend."""

_NEXT = re.compile(r"[^ \t\r\n\x1e]")
"""Where the next JSON text of a sequence begins."""


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the ground.

    Attributes:
        crs: The CRS of the coordinates, as an authority code or WKT.
        geometry: A shapely polygon or multipolygon, coordinates (x, y) in that CRS.
    """

    crs: str
    geometry: shapely.Geometry


def read_region(path: Path, where: Mapping[str, Any]) -> Region:
    """The union of polygons of a GeoJSON file: a FeatureCollection, a Feature, a geometry or a sequence of those.

    A sequence has one on each line, or after each record separator (RFC 8142). A `crs` member (GeoJSON 2008) is
    honoured; without one the coordinates are longitude and latitude on WGS 84 (RFC 7946). Features without a
    geometry are passed over. Read as JSON rather than through GDAL, which would follow what other formats point to.

    Args:
        path: The file.
        where: Properties, with the values that a feature must have to be taken.

    Raises:
        ConfigError: The file cannot be read, is no GeoJSON of polygons, or no feature has those properties.
    """
    try:
        documents = list(geojson_documents(path.read_text(encoding="utf-8-sig")))
        systems = {str(one["crs"]["properties"]["name"]) if one.get("crs") else "OGC:CRS84" for one in documents}
        polygons = [
            shapely.geometry.shape(feature["geometry"])
            for document in documents
            for feature in geojson_features(document)
            if feature["geometry"] is not None
            and all((feature["properties"] or {}).get(key) == value for key, value in where.items())
        ]
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable GeoJSON file: {error.strerror}") from error
    # Collections within collections, without end, are a RecursionError.
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        shapely.errors.ShapelyError,
    ) as error:
        raise ConfigError(f"{path}: expected GeoJSON of polygons, got {error!r}") from error
    if not polygons:
        conditions = ", ".join(f"{key} = {value}" for key, value in where.items())
        raise ConfigError(f"{path}: expected a feature with {conditions or 'any properties'}, found none")
    other = {polygon.geom_type for polygon in polygons} - {"Polygon", "MultiPolygon"}
    if other:
        raise ConfigError(f"{path}: expected polygons, got {', '.join(sorted(other))}")
    if not np.isfinite(shapely.get_coordinates(polygons)).all():
        raise ConfigError(f"{path}: expected polygons with finite coordinates, got others: export them again")
    if len(systems) > 1:
        raise ConfigError(f"{path}: expected one CRS throughout, got {', '.join(sorted(systems))}")
    return Region(systems.pop(), shapely.union_all(shapely.make_valid(shapely.force_2d(polygons))))


def geojson_documents(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON texts of a file, one or a sequence; a ValueError where one is damaged."""
    decoder = json.JSONDecoder()
    at = 0
    while found := _NEXT.search(text, at):
        document, at = decoder.raw_decode(text, found.start())
        yield document


def geojson_features(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The features of a GeoJSON document; a geometry alone is one without properties."""
    match document["type"]:
        case "FeatureCollection":
            return list(document["features"])
        case "Feature":
            return [document]
        case _:
            return [{"geometry": document, "properties": {}}]


def region_on_grid(region: Region | None, grid: Grid) -> shapely.Geometry:
    """The part of a grid that a region covers, in pixel coordinates (x = column, y = row).

    Args:
        region: The region; None means all of the grid.
        grid: The grid of the scene.

    Returns:
        A geometry within (0, 0, width, height); empty where they do not meet.

    Raises:
        SceneError: The region, or a part of it, has no place in the grid's CRS.
    """
    everything = shapely.box(0, 0, grid.width, grid.height)
    if region is None:
        return everything
    geometry = region.geometry
    source, target = parse_crs(region.crs), parse_crs(grid.crs)
    if source != target and not geometry.is_empty:
        try:
            transformer = Transformer.from_crs(source, target, always_xy=True)
        except ProjError as error:
            raise SceneError(_no_place(source, target)) from error
        x_min, y_min, x_max, y_max = geometry.bounds
        geometry = shapely.segmentize(geometry, max(x_max - x_min, y_max - y_min) / _EDGE_PIECES)
        if geometry is not None:
            geometry = shapely.transform(
                geometry, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
            )
        # Edges of no length that counts cannot be cut, and what PROJ has no place for is infinitely far.
        if geometry is None or not np.isfinite(shapely.get_coordinates(geometry)).all():
            raise SceneError(_no_place(source, target))
    t = ~grid.transform
    pixels = affine_transform(geometry, [t.a, t.b, t.d, t.e, t.c, t.f])
    return shapely.intersection(shapely.make_valid(pixels), everything)


def _no_place(source: CRS, target: CRS) -> str:
    return (
        f"expected polygons with a place in {target.name}, got some in {source.name} that have none: write them in "
        "the scene's CRS"
    )


def region_mask(pixels: shapely.Geometry, window: Window) -> NDArray[np.bool_]:
    """Which pixels of a window have their centre in a region.

    Args:
        pixels: The region in pixel coordinates (x = column, y = row).
        window: The pixels to decide.

    Returns:
        Boolean (row, column).
    """
    box = shapely.box(window.col, window.row, window.col_stop, window.row_stop)
    if pixels.contains(box):
        return np.ones(window.shape, np.bool_)
    if not pixels.intersects(box) or pixels.is_empty:
        return np.zeros(window.shape, np.bool_)
    # Mask polygons stay in pixel coordinates: the transform only shifts the window's corner to the origin.
    burnt_hw = rasterize(
        [(pixels, 1)],
        out_shape=window.shape,
        transform=Affine.translation(window.col, window.row),
        dtype=np.uint8,
    )
    return np.asarray(burnt_hw, np.bool_)
