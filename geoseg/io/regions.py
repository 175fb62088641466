"""Regions on the ground: polygons from GeoJSON, on the pixel grid of a scene."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.features import rasterize
from shapely.affinity import affine_transform

from geoseg.errors import ConfigError
from geoseg.grid import Grid, Window, parse_crs

_EDGE_PIECES = 64
"""Pieces that the longer side of a region is cut into before it moves to a CRS where straight lines bend."""


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
    """The union of polygons of a GeoJSON file: a FeatureCollection, a Feature or a geometry.

    A `crs` member (GeoJSON 2008) is honoured; without one the coordinates are longitude and latitude on
    WGS 84 (RFC 7946). Read as JSON rather than through GDAL, which would follow what other formats point to.

    Args:
        path: The file.
        where: Properties, with the values that a feature must have to be taken.

    Raises:
        ConfigError: The file cannot be read, is no GeoJSON of polygons, or no feature has those properties.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        crs = str(document["crs"]["properties"]["name"]) if document.get("crs") else "OGC:CRS84"
        polygons = [
            shapely.geometry.shape(feature["geometry"])
            for feature in _features(document)
            if all((feature["properties"] or {}).get(key) == value for key, value in where.items())
        ]
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable GeoJSON file: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, shapely.errors.ShapelyError) as error:
        raise ConfigError(f"{path}: expected GeoJSON of polygons, got {error!r}") from error
    if not polygons:
        conditions = ", ".join(f"{key} = {value}" for key, value in where.items())
        raise ConfigError(f"{path}: expected a feature with {conditions or 'any properties'}, found none")
    other = {polygon.geom_type for polygon in polygons} - {"Polygon", "MultiPolygon"}
    if other:
        raise ConfigError(f"{path}: expected polygons, got {', '.join(sorted(other))}")
    return Region(crs, shapely.union_all([shapely.make_valid(polygon) for polygon in polygons]))


def _features(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
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
    """
    everything = shapely.box(0, 0, grid.width, grid.height)
    if region is None:
        return everything
    geometry = region.geometry
    source, target = parse_crs(region.crs), parse_crs(grid.crs)
    if source != target:
        x_min, y_min, x_max, y_max = geometry.bounds
        geometry = shapely.segmentize(geometry, max(x_max - x_min, y_max - y_min) / _EDGE_PIECES)
        transformer = Transformer.from_crs(source, target, always_xy=True)
        geometry = shapely.transform(
            geometry, lambda points: np.column_stack(transformer.transform(points[:, 0], points[:, 1]))
        )
    t = ~grid.transform
    pixels = affine_transform(geometry, [t.a, t.b, t.d, t.e, t.c, t.f])
    return shapely.intersection(shapely.make_valid(pixels), everything)


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
