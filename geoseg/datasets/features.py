"""Features of label files on a scene's pixels: polygons of a class each, lines and points with their width."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.datasets.label_files import VectorFile
from geoseg.errors import ConfigError, GeosegError, SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.io.features_file import FileLayer, read_layers
from geoseg.io.plane import Plane

_MARGIN = 0.2
"""Share of the scene's extent, on each side, that features are taken in."""

_OTHERS = "*"
_DEFAULT_ATTRIBUTE = "class"


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Polygons on a scene's pixels, in the order in which they are drawn.

    Attributes:
        polygons: shapely polygons and multipolygons (n,) in pixel coordinates (x = column, y = row).
        ids: int64 (n,), class id, `REST` or `NODATA_CLASS` of each.
    """

    polygons: NDArray[np.object_]
    ids: NDArray[np.int64]


def file_values(path: Path, attribute: str | None) -> frozenset[str] | None:
    """The values of an attribute in a file, in text; None where no layer has the attribute.

    Raises:
        GeosegError: The file cannot be read.
    """
    layers = _read(path, attribute or _DEFAULT_ATTRIBUTE)
    known = [layer.values for layer in layers if layer.values is not None]
    return frozenset(str(one) for values in known for one in values if one is not None) if known else None


def draw_features(file: VectorFile, grid: Grid) -> Drawn:
    """The features of a file that lie near a scene.

    Args:
        file: What is read, and what it means.
        grid: The scene's.

    Raises:
        GeosegError: The file cannot be read, or has no CRS.
        SceneError: It lies elsewhere than the scene.
        ConfigError: A value of the attribute stands for no class, an attribute or layer is not there, or a line has
            no width.
    """
    path = Path(file.path)
    layers = _chosen(file, _read(path, file.attribute or _DEFAULT_ATTRIBUTE))
    taken = [np.ones(len(layer.geometry), np.bool_) for layer in layers]
    for attribute, wanted in file.where:
        for number, values in enumerate(_values(file, attribute)):
            taken[number] &= np.array([value == wanted for value in values], np.bool_)
    widths = _widths(file, layers)
    polygons, ids = [], []
    plane = Plane.of(grid)
    near = _near(path, layers, grid)
    for layer, some, close, width_n in zip(layers, taken, near, widths, strict=True):
        ids_n = _ids(file, layer)
        chosen = np.flatnonzero(some & close & ~shapely.is_empty(layer.geometry) & (ids_n != _NO_CLASS))
        shapes = _areas(file, layer, chosen, width_n[chosen], plane)
        there = ~shapely.is_empty(shapes)
        polygons.append(shapes[there])
        ids.append(ids_n[chosen][there])
    if not polygons:
        return Drawn(np.empty(0, object), np.empty(0, np.int64))
    return Drawn(np.concatenate(polygons), np.concatenate(ids))


_NO_CLASS = -2
"""Stands for a feature that names no class, and is passed over."""


def _read(path: Path, attribute: str) -> list[FileLayer]:
    try:
        state = path.stat()
    except OSError as error:
        raise GeosegError(f"{path} cannot be read ({error.strerror})") from error
    return list(_kept(path, state.st_mtime_ns, state.st_size, attribute))


@lru_cache(8)
def _kept(path: Path, _changed_ns: int, _size: int, attribute: str) -> tuple[FileLayer, ...]:
    """The layers of a file, which many scenes may share."""
    return tuple(read_layers(path, attribute))


def _chosen(file: VectorFile, layers: list[FileLayer]) -> list[FileLayer]:
    if file.layer is None:
        return layers
    found = [layer for layer in layers if layer.name == file.layer]
    if not found:
        raise ConfigError(
            f"layer: {file.path} has no layer {file.layer!r}: expected one of "
            f"{', '.join(layer.name for layer in layers)}"
        )
    return found


def _values(file: VectorFile, attribute: str) -> list[NDArray[np.object_]]:
    """An attribute of the features of each layer, in text."""
    found = []
    for layer in _chosen(file, _read(Path(file.path), attribute)):
        if layer.values is None:
            raise ConfigError(f"layer {layer.name} of {file.path} has no attribute {attribute!r}: check its name")
        found.append(layer.values)
    return found


def _widths(file: VectorFile, layers: list[FileLayer]) -> list[NDArray[np.float64]]:
    """The width of each feature in metres; NaN where none is said."""
    plain = np.nan if file.width_m is None else file.width_m
    widths = [np.full(len(layer.geometry), plain) for layer in layers]
    if file.width_attribute is not None:
        for width_n, values in zip(widths, _values(file, file.width_attribute), strict=True):
            for number, text in enumerate(values):
                width_n[number] = _metres(text, plain)
    return widths


def _metres(text: str | None, otherwise: float) -> float:
    try:
        metres = float(text) if text is not None else otherwise
    except ValueError:
        return otherwise
    return metres if 0 < metres < np.inf else otherwise


def _ids(file: VectorFile, layer: FileLayer) -> NDArray[np.int64]:
    """What each feature (n,) is."""
    if file.attribute is None:
        return np.full(len(layer.geometry), file.only, np.int64)
    if layer.values is None:
        raise ConfigError(
            f"class_attribute: layer {layer.name} of {file.path} has no attribute {file.attribute!r}: name the one "
            f"that says the class, or the class itself, as in labels: {{CLASS: {Path(file.path).name}}}"
        )
    known = dict(file.ids)
    unknown = sorted({str(one) for one in layer.values if one is not None and one not in known})
    if unknown and _OTHERS not in known:
        raise ConfigError(
            f"{file.path} names classes that the configuration does not: {', '.join(unknown[:8])} in "
            f"{file.attribute!r}, expected {', '.join(known)}; say in values what they mean, for example "
            f"{unknown[0]}: ignore"
        )
    return np.array(
        [_NO_CLASS if one is None else known[one if one in known else _OTHERS] for one in layer.values], np.int64
    )


def _near(path: Path, layers: list[FileLayer], grid: Grid) -> list[NDArray[np.bool_]]:
    """Which features (n,) of each layer lie near the scene: far from it, its CRS may have no place for them.

    Raises:
        SceneError: All of them lie elsewhere.
    """
    found, extents = [], []
    for layer in layers:
        if len(layer.geometry) == 0:
            found.append(np.empty(0, np.bool_))
            continue
        corners = [(0, 0), (grid.width, 0), (grid.width, grid.height), (0, grid.height)]
        x, y = zip(*(grid.transform @ corner for corner in corners), strict=True)
        move = Transformer.from_crs(parse_crs(grid.crs), parse_crs(layer.crs), always_xy=True)
        left, bottom, right, top = move.transform_bounds(min(x), min(y), max(x), max(y))
        extent = shapely.box(*shapely.total_bounds(layer.geometry))
        # Across the antimeridian the left bound is the greater: then nothing can be said by a box.
        told = np.isfinite([left, bottom, right, top]).all() and left < right and bottom < top
        meets = not told or extent.intersects(shapely.box(left, bottom, right, top))
        if not meets:
            extents.append(
                f"{', '.join(f'{one:.6g}' for one in extent.bounds)} beside {left:.6g}, {bottom:.6g}, {right:.6g}, "
                f"{top:.6g} ({parse_crs(layer.crs).name})"
            )
        more_x, more_y = _MARGIN * (right - left), _MARGIN * (top - bottom)
        around = shapely.box(left - more_x, bottom - more_y, right + more_x, top + more_y)
        # By boxes: what is invalid cannot be asked more.
        boxes = shapely.box(*shapely.bounds(layer.geometry).T)
        found.append(np.asarray(shapely.intersects(boxes, around)) if told else np.ones(len(boxes), np.bool_))
    if extents and len(extents) == sum(len(layer.geometry) > 0 for layer in layers):
        raise SceneError(
            f"{path} lies elsewhere than the scene: expected labels of the same place, they lie within "
            f"{extents[0]}; check the CRS of both"
        )
    return found


def _areas(
    file: VectorFile, layer: FileLayer, chosen: NDArray[np.intp], width_n: NDArray[np.float64], plane: Plane
) -> NDArray[np.object_]:
    """What the chosen features cover, in pixel coordinates (n,): lines and points as wide as they are."""
    shapes = layer.geometry[chosen]
    invalid = ~shapely.is_valid(shapes)
    shapes = np.where(invalid, shapely.make_valid(shapes), shapes)
    dimension = shapely.get_dimensions(shapes)
    thin = (dimension < 2) & (shapely.get_dimensions(layer.geometry[chosen]) < 2)
    if (thin & np.isnan(width_n)).any():
        first = int(np.flatnonzero(thin & np.isnan(width_n))[0])
        raise ConfigError(
            f"width_m: {file.path} holds a {shapes[first].geom_type} (feature {int(chosen[first]) + 1}): expected "
            "polygons, or a width in metres for lines and points (--width, or in a configuration width_m or "
            "width_attribute)"
        )
    placed = np.empty(len(shapes), object)
    if (~thin).any():
        placed[~thin] = plane.to_pixels(_polygons_of(shapes[~thin]), layer.crs)
    if thin.any():
        metric = plane.place(shapes[thin], layer.crs)
        placed[thin] = plane.to_pixels(shapely.buffer(metric, width_n[thin] / 2, quad_segs=8), plane.crs)
    return placed


def _polygons_of(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """The polygons in each geometry (n,); those of a collection together."""
    found = np.empty(len(shapes), object)
    for number, shape in enumerate(shapes):
        if shape.geom_type in ("Polygon", "MultiPolygon"):
            found[number] = shape
        else:
            parts = shapely.get_parts(shapely.get_parts(shape))
            found[number] = shapely.union_all([part for part in parts if part.geom_type == "Polygon"])
    return found
