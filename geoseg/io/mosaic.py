"""The mosaic: a Zarr v3 group of class and confidence arrays, with overviews, that GIS tools can place.

Layout (axes in brackets):

    mosaic.zarr/0/classes [y, x]        uint8, 255 = nodata
    mosaic.zarr/0/confidence [y, x]     uint8, probability of the winning class x 254, 255 = nodata
    mosaic.zarr/0/probability [class, y, x]   likewise for every class, when asked for
    mosaic.zarr/0/heat [y, x]           uint8, how much a pixel is an object's centre x 254; of panoptic models
    mosaic.zarr/0/offset [axis, y, x]   int16, way from a thing's pixel to its object's centre in 1/16 px; likewise
    mosaic.zarr/0/instances [y, x]      uint64, id of the object of a thing class, 0 = none; likewise
    mosaic.zarr/0/scene [y, x]          uint16, index of the scene a pixel comes from, 65535 = none; of several
    mosaic.zarr/0/x, y, spatial_ref     pixel centres and CRS, as CF wants them
    mosaic.zarr/1, 2, ...               overviews, each half the size: classes by majority, confidence by mean

No array is sharded (GDAL before 3.13 cannot read shards), so a chunk is a file and has one writer.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from zarr.codecs import ZstdCodec
from zarr.storage import ObjectStore

from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.bucket import BucketPath
from geoseg.io.fence import Held
from geoseg.io.geozarr import placing, root_attributes
from geoseg.io.place import PlaceT_co, file_sha256, name_within
from geoseg.io.stores import Store, patiently
from geoseg.labels import NODATA_CLASS, LabelSet

CHUNK_PX = 512
"""Side of a chunk: what is read and written as one object."""

_COORDINATES_PX = 2**18
"""Coordinates of longer sides are stored in parts: readers of a window need not decode those of the whole side."""

PROBABILITY_SCALE = 254
"""A probability p is stored as round(p x 254); 255 is nodata."""


OFFSET_STEPS = 16
"""Offsets are stored in sixteenths of a pixel: rounding moves where one leads by at most 1/32 px along an axis."""

NO_OFFSET = -(2**15)
"""Where there is no data."""

_AXES = 2

_HASHED_AT_ONCE = 8
"""Chunks of a block in an object store, where each takes a while to come."""

_CHUNK = re.compile(r"[^/]+/(?!(?:x|y|spatial_ref)/)[^/]+/c/.+")
"""Where a chunk of a raster array lies in the mosaic."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Mosaic(Generic[PlaceT_co]):
    """The address of a mosaic.

    Attributes:
        path: The group's folder (mosaic.zarr).
    """

    path: PlaceT_co

    def create(
        self,
        grid: Grid,
        labels: LabelSet,
        *,
        probability: bool,
        scenes: Sequence[str] = (),
        instances: bool = False,
    ) -> None:
        """Make the group and its empty arrays, all levels; workers only ever write chunks.

        Made under another name and moved into place, so that a mosaic that exists is whole.

        Args:
            grid: Full-resolution pixels.
            labels: Classes, kept as CF flag attributes.
            probability: Whether to keep a probability for every class.
            scenes: Names of the scenes, where there are several, to keep which of them each pixel comes from.
            instances: Whether to keep what tells objects apart, and the objects.
        """
        if not isinstance(self.path, Path):
            raise TypeError(f"expected a path on a disk, from where the mosaic is moved, got {self.path}")
        partial = self.path.with_name(f"{self.path.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        root = zarr.open_group(partial, mode="w", zarr_format=3)
        levels = level_grids(grid)
        root.attrs.update(root_attributes(levels))
        for level, level_grid in enumerate(levels):
            group = root.create_group(str(level))
            _create_level(group, level_grid, labels, probability=probability and level == 0)
        if scenes:
            _create_scene(root, grid, scenes)
        if instances:
            _create_instances(root, grid)
        partial.rename(self.path)

    def write(self, level: int, name: str, window: Window, values: NDArray[np.integer[Any]]) -> None:
        """Write whole chunks of one array; (row, column), or (class, row, column) for `probability`."""
        array = self.open(level, name)
        height, width = array.shape[-2:]
        for start, stop, size in ((window.row, window.row_stop, height), (window.col, window.col_stop, width)):
            if start % CHUNK_PX or (stop % CHUNK_PX and stop != size):
                raise ValueError(f"{window} cuts a chunk of {CHUNK_PX} px: two writers would lose data")
        at = (..., *window.slices_in(Window(0, 0, height, width)))
        if isinstance(self.path, BucketPath):
            self.path.refuse_lost()
        self._patiently(lambda: array.__setitem__(at, values))

    def read(self, level: int, name: str, window: Window | None = None) -> NDArray[np.uint8]:
        """A window (default: all) of one array: (row, column), or (class, row, column) for `probability`."""
        return self._read(level, name, window)

    def read_scene(self, window: Window) -> NDArray[np.uint16]:
        """Index (row, column) of the scene that each pixel of a window comes from, 65535 for none."""
        return self._read(0, "scene", window)

    def read_offset(self, window: Window) -> NDArray[np.int16]:
        """Way from each pixel of a window to its object's centre, in 1/16 px, (axis, row, column)."""
        return self._read(0, "offset", window)

    def read_instances(self, window: Window) -> NDArray[np.uint64]:
        """Id (row, column) of the object of a thing class that each pixel of a window is of, 0 for none."""
        return self._read(0, "instances", window)

    def chunk_hashes(self, level: int, names: tuple[str, ...], window: Window) -> dict[str, str | None]:
        """sha256 of every stored chunk of a window of whole chunks, by path; None where nothing is stored."""
        keys = []
        rows = range(window.row // CHUNK_PX, -(-window.row_stop // CHUNK_PX))
        cols = range(window.col // CHUNK_PX, -(-window.col_stop // CHUNK_PX))
        for name in names:
            shape = self.open(level, name).shape
            bands = [""] if len(shape) == 2 else [f"{channel}/" for channel in range(shape[0])]
            keys += [f"{level}/{name}/c/{band}{i}/{j}" for i, j, band in product(rows, cols, bands)]
        if isinstance(self.path, Path):
            return {key: self._chunk_hash(key) for key in keys}
        with ThreadPoolExecutor(_HASHED_AT_ONCE) as pool:
            return dict(zip(keys, pool.map(self._chunk_hash, keys), strict=True))

    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each level, full resolution first."""
        root = self._patiently(lambda: zarr.open_group(self._store(), mode="r"))
        count = self._patiently(lambda: len(list(root.group_keys())))
        shapes = (self.open(level, "classes").shape for level in range(count))
        return tuple((height, width) for height, width in shapes)

    def chunk_files(self) -> Iterator[str]:
        """Paths of all stored chunks of raster arrays, in no fixed order."""
        if isinstance(self.path, BucketPath):
            keys = (name_within(file, self.path) for file in self.path.rglob("*"))
            yield from (key for key in keys if _CHUNK.fullmatch(key))
            return
        # By folders, not by metadata, which may be damaged.
        for array in sorted(self.path.glob("*/*/")):
            if array.name not in {"x", "y", "spatial_ref"}:
                for folder, _, names in os.walk(array / "c"):
                    yield from (Path(folder, name).relative_to(self.path).as_posix() for name in names)

    def has(self, level: int, name: str) -> bool:
        """Whether there is an array of that name."""
        return (self.path / f"{level}/{name}/zarr.json").is_file()

    def open(self, level: int, name: str, mode: Literal["r", "r+"] = "r+") -> zarr.Array[Any]:
        """An array, of which chunks are read when they are asked for."""
        path = f"{level}/{name}"
        if isinstance(self.path, BucketPath) and self.path.held is not None:
            # What is held is made once, and others change nothing: it need not be asked for again and again.
            return _opened(self.path, self.path.held, path, mode)
        return self._patiently(lambda: zarr.open_array(self._store(), path=path, mode=mode, zarr_format=3))

    def _read(self, level: int, name: str, window: Window | None) -> NDArray[Any]:
        array = self.open(level, name)
        whole = Window(0, 0, *array.shape[-2:])
        at = (..., *(whole if window is None else window).slices_in(whole))
        return self._patiently(lambda: np.asarray(array[at]))

    def _chunk_hash(self, key: str) -> str | None:
        try:
            return file_sha256(self.path / key)
        except FileNotFoundError:
            return None

    def _store(self) -> Path | ObjectStore[Store]:
        return self.path if isinstance(self.path, Path) else ObjectStore(self.path.store())

    def _patiently(self, operation: Callable[[], _Result]) -> _Result:
        return operation() if isinstance(self.path, Path) else patiently(str(self.path), operation)


@lru_cache(maxsize=64)
def _opened(path: BucketPath, _held: Held, array: str, mode: Literal["r", "r+"]) -> zarr.Array[Any]:
    """An array of a mosaic in an object store, as long as one process holds it."""
    store = ObjectStore(path.store())
    return patiently(str(path), lambda: zarr.open_array(store, path=array, mode=mode, zarr_format=3))


def level_grids(grid: Grid) -> tuple[Grid, ...]:
    """The grids of all levels: each half of the one before, down to one chunk."""
    levels = [grid]
    while max(levels[-1].height, levels[-1].width) > CHUNK_PX:
        last = levels[-1]
        levels.append(Grid(last.crs, last.transform @ Affine.scale(2), -(-last.height // 2), -(-last.width // 2)))
    return tuple(levels)


def _create_level(group: zarr.Group, grid: Grid, labels: LabelSet, *, probability: bool) -> None:
    crs = parse_crs(grid.crs)
    placed = {"grid_mapping": "spatial_ref", **placing(grid, crs)}
    shape, chunks = (grid.height, grid.width), (CHUNK_PX, CHUNK_PX)
    flags = {"flag_values": list(range(len(labels))), "flag_meanings": " ".join(labels.names)}
    scaled = {
        "units": "1",
        "comment": f"probability x {PROBABILITY_SCALE}, {NODATA_CLASS} = nodata",
        "valid_range": [0, PROBABILITY_SCALE],
    }
    _create_array(group, "classes", shape, chunks, ("y", "x"), {"long_name": "class", **flags, **placed})
    long_name = "probability of the winning class"
    _create_array(group, "confidence", shape, chunks, ("y", "x"), {"long_name": long_name, **scaled, **placed})
    if probability:
        attributes = {"long_name": "probability of each class", **scaled, **flags, **placed}
        _create_array(group, "probability", (len(labels), *shape), (1, *chunks), ("class", "y", "x"), attributes)
    _create_coordinates(group, grid, crs)


def _create_scene(root: zarr.Group, grid: Grid, scenes: Sequence[str]) -> None:
    placed = {"grid_mapping": "spatial_ref", **placing(grid, parse_crs(grid.crs))}
    attributes = {"long_name": "index of the scene in `scenes`", "scenes": list(scenes), **placed}
    shape, chunks = (grid.height, grid.width), (CHUNK_PX, CHUNK_PX)
    group = root.require_group("0")
    _create_array(group, "scene", shape, chunks, ("y", "x"), attributes, "uint16")


def _create_instances(root: zarr.Group, grid: Grid) -> None:
    placed = {"grid_mapping": "spatial_ref", **placing(grid, parse_crs(grid.crs))}
    shape, chunks = (grid.height, grid.width), (CHUNK_PX, CHUNK_PX)
    group = root.require_group("0")
    scaled = {
        "long_name": "how much a pixel is the centre of an object",
        "units": "1",
        "comment": f"x {PROBABILITY_SCALE}, {NODATA_CLASS} = nodata",
        "valid_range": [0, PROBABILITY_SCALE],
    }
    _create_array(group, "heat", shape, chunks, ("y", "x"), {**scaled, **placed})
    words = f"rows, then columns, x {OFFSET_STEPS}, {NO_OFFSET} = nodata, or of no countable class"
    attributes = {"long_name": "from a pixel to the centre of its object", "units": "pixel", "comment": words}
    dimensions, of_axes = ("axis", "y", "x"), (_AXES, *shape)
    _create_array(
        group, "offset", of_axes, (1, *chunks), dimensions, {**attributes, **placed}, "int16", fill=NO_OFFSET
    )
    words = "1 + row x width + column of the object's first pixel, 0 = none"
    attributes = {"long_name": "object of a countable class", "comment": words}
    _create_array(group, "instances", shape, chunks, ("y", "x"), {**attributes, **placed}, "uint64", fill=0)


def _create_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dimensions: tuple[str, ...],
    attributes: dict[str, Any],
    dtype: str = "uint8",
    *,
    fill: int | None = None,
) -> None:
    group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        # Not the CF attribute _FillValue: with it xarray turns classes into floats.
        fill_value=np.iinfo(dtype).max if fill is None else fill,
        compressors=ZstdCodec(level=3),
        dimension_names=dimensions,
        attributes=attributes,
    )


def _create_coordinates(group: zarr.Group, grid: Grid, crs: CRS) -> None:
    """CF coordinates: pixel centres as x and y where rows and columns follow the axes, and the CRS."""
    t = grid.transform
    geotransform = " ".join(repr(float(value)) for value in (t.c, t.a, t.b, t.f, t.d, t.e))
    attributes = {**crs.to_cf(), "spatial_ref": crs.to_wkt(), "GeoTransform": geotransform}
    group.create_array("spatial_ref", shape=(), dtype="int32", attributes=attributes)[...] = 0
    if t.b != 0 or t.d != 0:
        return  # a rotated grid has no x per column; the GeoTransform above places it
    x = t.c + t.a * (np.arange(grid.width) + 0.5)
    y = t.f + t.e * (np.arange(grid.height) + 0.5)
    # CF's own words for each axis ("longitude", "degrees_east"); pyproj gives them in x, y order.
    axes = {axis["axis"]: dict(axis) for axis in crs.cs_to_cf()}
    for name, values in (("x", x), ("y", y)):
        group.create_array(
            name,
            shape=values.shape,
            chunks=(min(len(values), _COORDINATES_PX),),
            dtype="float64",
            dimension_names=(name,),
            attributes=axes.get(name.upper(), {}),
        )[...] = values
