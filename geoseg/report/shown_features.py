"""The features that a page carries: the largest of each layer, as many as a browser draws with ease."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from geoseg.grid import parse_crs
from geoseg.io.layers import Batches, Features, Lines, Rows, objects_in
from geoseg.report.map_frame import unwrapped

MOST_FEATURES = 20_000
"""Features on a page, of all layers together."""

MOST_BYTES = 12_000_000
"""About what they may take there, of all layers together."""

MOST_LINES = 20_000
"""Lines of a network on a page."""

MOST_LINE_BYTES = 4_000_000
"""About what they may take there."""

_RowsT = TypeVar("_RowsT", bound=Rows)
_POINT, _POLYGON = shapely.GeometryType.POINT.value, shapely.GeometryType.POLYGON.value

_FEATURE_BYTES = 110
_VERTEX_BYTES = 9
"""What a packed feature takes besides its outline, and for each of its vertices, of pixels of a metre."""


@dataclass(frozen=True, slots=True, eq=False)
class ShownLayer:
    """A layer as a page shows it.

    Attributes:
        count: How many features it has.
        area_m2: Their areas together.
        kept: Those that are shown, the largest first.
    """

    count: int
    area_m2: float
    kept: Features


@dataclass(frozen=True, slots=True, eq=False)
class ShownLines:
    """The lines of a network as a page shows them.

    Attributes:
        count: How many there are.
        length_m: Their lengths together.
        kept: Those that are shown, the longest first.
    """

    count: int
    length_m: float
    kept: Lines


def choose(
    layers: Mapping[str, Batches], most_features: int = MOST_FEATURES, most_bytes: int = MOST_BYTES
) -> dict[str, ShownLayer]:
    """The largest features of each layer.

    Layers share the room evenly, and what one leaves another takes, so that buildings are not crowded out by larger
    things. A feature with too long an outline for its layer's room is left out, and smaller ones are still taken.

    Args:
        layers: Features by layer name, which are read once, a batch at a time.
        most_features: Of all layers together.
        most_bytes: Of all layers together, estimated.
    """
    chosen = {}
    for name, batches in layers.items():
        features, rank = objects_in(batches), lambda some: (some.area_m2, some.feature)
        count, area_m2, kept = _largest(features, rank, most_features, most_bytes)
        chosen[name] = ShownLayer(count, area_m2, _none() if kept is None else kept)
    bytes_of = {name: _sizes(layer.kept) for name, layer in chosen.items()}
    rooms = _shared([int(sizes.sum()) for sizes in bytes_of.values()], most_bytes)
    chosen = {
        name: ShownLayer(layer.count, layer.area_m2, layer.kept.at(_fitting(bytes_of[name], room)))
        for (name, layer), room in zip(chosen.items(), rooms, strict=True)
    }
    numbers = _shared([len(layer.kept) for layer in chosen.values()], most_features)
    return {
        name: ShownLayer(layer.count, layer.area_m2, layer.kept.at(np.arange(number)))
        for (name, layer), number in zip(chosen.items(), numbers, strict=True)
    }


def choose_lines(
    batches: Iterable[Lines], most_lines: int = MOST_LINES, most_bytes: int = MOST_LINE_BYTES
) -> ShownLines:
    """The longest lines of a network.

    Args:
        batches: The lines, which are read once, a batch at a time.
        most_lines: How many there may be.
        most_bytes: What they may take, estimated.
    """
    count, length_m, kept = _largest(batches, lambda lines: (lines.length_m, lines.id), most_lines, most_bytes)
    if kept is None:
        ids, ones = np.empty(0, np.int64), np.empty(0)
        kept = Lines(ids, np.empty(0, np.uint8), ids, ids, ones, ones, np.empty(0, object))
    return ShownLines(count, length_m, kept)


def packed_features(
    features: Features, crs: str, middle_lon: float, digits: int, scenes: Sequence[tuple[str, str | None]]
) -> list[dict[str, Any]]:
    """Features as the page's script unpacks them into GeoJSON: a third of its size.

    `p` are the properties; `r` the rings of a polygon, `l` a line or `d` a point, as whole numbers of 10^-digits
    degrees: longitude and latitude of the first vertex, then what each further one adds; rings without their end.
    Longitudes go on beyond 180 where a map crosses the antimeridian.

    Args:
        features: In the CRS.
        crs: Authority code or WKT.
        middle_lon: Longitude of the map's middle.
        digits: Decimals of the coordinates.
        scenes: Name and date of each scene, by index.
    """
    rows = []
    for index, shape in enumerate(_packed(features.geometry, crs, middle_lon, digits)):
        name, date = scenes[int(features.scene[index])]
        said: dict[str, Any] = {
            # As text: JavaScript keeps numbers up to 2^53 only.
            "id": str(features.id[index]),
            "confidence": round(float(features.confidence[index]), 3),
            "area_m2": round(float(features.area_m2[index]), 1),
            "perimeter_m": round(float(features.perimeter_m[index]), 1),
        }
        if features.part[index]:
            said["part"] = str(features.part[index])
        if len(scenes) > 1:
            said["scene"] = name
        if date is not None:
            said["date"] = date
        rows.append({"p": said, **shape})
    return rows


def packed_lines(lines: Lines, crs: str, middle_lon: float, digits: int) -> list[dict[str, Any]]:
    """Lines as `packed_features` packs features.

    Args:
        lines: In the CRS.
        crs: Authority code or WKT.
        middle_lon: Longitude of the map's middle.
        digits: Decimals of the coordinates.
    """
    columns = zip(lines.id.tolist(), lines.length_m.tolist(), lines.width_m.tolist(), strict=True)
    shapes = _packed(lines.geometry, crs, middle_lon, digits)
    return [
        {"p": {"id": str(number), "length_m": round(length_m, 1), "width_m": round(width_m, 1)}, **shape}
        for (number, length_m, width_m), shape in zip(columns, shapes, strict=True)
    ]


def _packed(geometry: NDArray[np.object_], crs: str, middle_lon: float, digits: int) -> list[dict[str, Any]]:
    """Geometries in whole numbers, each vertex as what it adds to the one before."""
    kinds = shapely.get_type_id(geometry)
    areas, others = np.flatnonzero(kinds == _POLYGON), np.flatnonzero(kinds != _POLYGON)
    rings, of_area = shapely.get_rings(geometry[areas], return_index=True)
    lines = np.concatenate([rings, geometry[others]])
    owners = np.concatenate([areas[of_area], others])
    xy = shapely.get_coordinates(lines)
    lon, lat = Transformer.from_crs(parse_crs(crs), "EPSG:4326", always_xy=True).transform(xy[:, 0], xy[:, 1])
    placed = np.rint(np.column_stack((unwrapped(lon, middle_lon), lat)) * 10.0**digits).astype(np.int64)
    sizes = shapely.get_num_coordinates(lines).astype(np.int64)
    stops = np.cumsum(sizes)
    starts = stops - sizes
    steps = np.diff(placed, axis=0, prepend=np.zeros((1, 2), np.int64))
    steps[starts] = placed[starts]
    numbers = steps.ravel().tolist()
    packed: list[dict[str, Any]] = [{"r": []} if kind == _POLYGON else {} for kind in kinds.tolist()]
    for owner, start, stop in zip(owners.tolist(), starts.tolist(), stops.tolist(), strict=True):
        if "r" in packed[owner]:
            packed[owner]["r"].append(numbers[2 * start : 2 * stop - 2])
        else:
            packed[owner]["d" if kinds[owner] == _POINT else "l"] = numbers[2 * start : 2 * stop]
    return packed


def _largest(
    batches: Iterable[_RowsT],
    rank: Callable[[_RowsT], tuple[NDArray[np.float64], NDArray[np.int64]]],
    most_features: int,
    most_bytes: int,
) -> tuple[int, float, _RowsT | None]:
    """How many rows went by, their sizes together, and the largest of them; of equals those with the least number.

    Args:
        batches: The rows.
        rank: Size and number (n,) of each.
        most_features: How many are kept.
        most_bytes: What they may take.
    """
    count, total = 0, 0.0
    kept: _RowsT | None = None
    for rows in batches:
        count += len(rows)
        total += float(rank(rows)[0].sum())
        together = rows if kept is None else type(rows).concatenate([kept, rows])
        size, number = rank(together)
        together = together.at(np.lexsort((number, -size))[:most_features])
        kept = together.at(_fitting(_sizes(together), most_bytes))
    return count, total, kept


def _none() -> Features:
    ids, ones = np.empty(0, np.int64), np.empty(0)
    nothing = np.empty(0, np.uint8)
    return Features(ids, ids, nothing, ones, ones, ones, np.empty(0, object), ids, nothing)


def _sizes(features: Rows) -> NDArray[np.int64]:
    vertices: NDArray[np.int64] = shapely.get_num_coordinates(features.geometry).astype(np.int64)
    return _FEATURE_BYTES + _VERTEX_BYTES * vertices


def _fitting(sizes: NDArray[np.int64], room: int) -> NDArray[np.bool_]:
    """Which (n,) of several find room, where each that does leaves less for those after it."""
    if sizes.sum() <= room:
        return np.ones(len(sizes), np.bool_)
    fits = np.zeros(len(sizes), np.bool_)
    for index, size in enumerate(sizes.tolist()):
        if size <= room:
            fits[index] = True
            room -= size
    return fits


def _shared(wanted: Sequence[int], room: int) -> list[int]:
    """What each gets of a room: what it wants, or an even share of what those that want less leave."""
    got = [0] * len(wanted)
    for left, index in zip(range(len(wanted), 0, -1), np.argsort(wanted, kind="stable").tolist(), strict=True):
        got[index] = min(wanted[index], room // left)
        room -= got[index]
    return got
