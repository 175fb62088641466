"""Raster to polygons on one core: block by block with all joins, beside the whole raster in rasterio and shapely.

    python tests/benchmarks/vectors.py [--data DIR] [--curve 16,64,256,1024] [--write]

With --data (or DATA=DIR) on DIR/mbrsc/t78_label.tif and DIR/odd/cog_cmap.tif, else on a generated raster. Each
measurement has a process of its own, with the class ids in memory and numba's loops compiled before it is timed.
Block-wise means: components of each block, objects across the borders of blocks, outlines, exact joins, and shapely
polygons at the end. Both must give the same polygons, vertex by vertex. The curve goes on with the first raster,
repeated; it keeps the outlines of a row of blocks at a time, and of what goes on below.
"""

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from numpy.typing import NDArray
from results import add_section, machine, table
from scipy import ndimage

from geoseg.grid import Window
from geoseg.objects.label import BlockObjects, components, runs_of
from geoseg.objects.measures import Measures
from geoseg.objects.seams import BlockBorders, LinkedRow, link, settle
from geoseg.vectorize.joining import join
from geoseg.vectorize.polygons import trace
from geoseg.vectorize.rings import Rings

_BLOCK_PX = (512, 5120)
"""As `geoseg map` lays them on large rasters."""

_EVERY = np.ones(256, np.bool_)
_EVERY[255] = False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/ and odd/")
    parser.add_argument("--curve", default="16,64,256,1024", help="megapixels")
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        what, file, megapixels = asked.one
        print(json.dumps(measure(what, Path(file), float(megapixels))))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with TemporaryDirectory() as folder:
        files = rasters(asked.data, Path(folder))
        lines = [f"On one core of: {machine()}.", "", *beside_the_whole(files), ""]
        lines += [
            "Components, beside scipy.ndimage.label class by class:",
            "",
            *labelling(files),
            "",
        ]
        lines += [f"{files[0].name}, repeated; outlines of a row of blocks in memory at a time:", ""]
        lines += curve(files[0], [float(size) for size in asked.curve.split(",")])
    print("\n".join(lines))
    if asked.write:
        add_section("Vectors", lines)


def rasters(data: str | None, folder: Path) -> list[Path]:
    """Rasters of class ids."""
    if data is not None:
        return [Path(data) / "mbrsc" / "t78_label.tif", Path(data) / "odd" / "cog_cmap.tif"]
    rng = np.random.default_rng(0)
    smooth_hw = ndimage.gaussian_filter(rng.standard_normal((8192, 8192), np.float32), 6)
    ids_hw = np.digitize(smooth_hw, np.quantile(smooth_hw[::16, ::16], [0.2, 0.5, 0.7, 0.9])).astype(np.uint8)
    path = folder / "generated.tif"
    with rasterio.open(path, "w", driver="GTiff", height=8192, width=8192, count=1, dtype="uint8") as file:
        file.write(ids_hw, 1)
    return [path]


def beside_the_whole(files: list[Path]) -> list[str]:
    """A table of both ways."""
    rows = []
    for file in files:
        whole, blocks = (in_a_process(what, file) for what in ("whole", "blocks"))
        if whole["digest"] != blocks["digest"]:
            sys.exit(f"{file}: the polygons of blocks are not those of the whole")
        for name, one in (("whole raster", whole), ("block-wise", blocks)):
            rows.append(
                [
                    file.name,
                    name,
                    f"{one['seconds']:.2f}",
                    f"{one['megapixels'] / one['seconds']:.0f}",
                    f"{one['peak_mib']:.0f}",
                    f"{one['polygons']:.0f}",
                    f"{whole['seconds'] / one['seconds']:.2f}",
                ]
            )
    return table(("raster", "way", "seconds", "Mpx/s", "peak RSS, MiB", "polygons", "times as fast"), rows)


def labelling(files: list[Path]) -> list[str]:
    """A table of connected-component labelling."""
    rows = []
    for file in files:
        scipy, ours = (in_a_process(what, file)["seconds"] for what in ("scipy", "label"))
        rows.append([file.name, f"{scipy:.2f}", f"{ours:.2f}", f"{scipy / ours:.2f}"])
    return table(("raster", "scipy, s", "geoseg, s", "times as fast"), rows)


def curve(file: Path, sizes: list[float]) -> list[str]:
    """A table of growing rasters."""
    rows = []
    for megapixels in sizes:
        one = in_a_process("rows", file, megapixels)
        each = one["megapixels"] / one["seconds"]
        rows.append([f"{one['megapixels']:.0f}", f"{one['seconds']:.2f}", f"{each:.0f}", f"{one['peak_mib']:.0f}"])
    return table(("Mpx", "seconds", "Mpx/s", "peak RSS, MiB"), rows)


def in_a_process(what: str, file: Path, megapixels: float = 0) -> dict[str, float]:
    """One measurement."""
    command = [sys.executable, __file__, "--one", what, str(file), str(megapixels)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(what: str, file: Path, megapixels: float) -> dict[str, float | str]:
    """Do one thing; peak memory includes the raster, and Python with its libraries."""
    with rasterio.open(file) as dataset:
        classes_hw = dataset.read(1)
    _ = list(polygons_by_blocks(np.eye(9, dtype=np.uint8), (4, 4)))  # compiled before
    digest, count = "", 0
    start = time.perf_counter()
    match what:
        case "whole":
            shapes = rasterio.features.shapes(classes_hw, mask=classes_hw != 255, connectivity=4)
            polygons = np.array([shapely.geometry.shape(geometry) for geometry, _ in shapes])
        case "blocks":
            polygons = np.concatenate(list(polygons_by_blocks(classes_hw, _BLOCK_PX)))
        case "rows":
            side = round((megapixels * 1e6) ** 0.5)
            many = Repeated(classes_hw, (side, side))
            count = sum(len(found) for found in polygons_by_blocks(many, _BLOCK_PX))
        case "label":
            components(classes_hw, np.flatnonzero(_EVERY).tolist())
        case "scipy":
            for class_id in np.flatnonzero(np.bincount(classes_hw.reshape(-1), minlength=256)[:255]):
                ndimage.label(classes_hw == class_id)
    seconds = time.perf_counter() - start
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if what in ("whole", "blocks"):
        count = len(polygons)
        wkb = sorted(shapely.to_wkb(shapely.normalize(polygons)).tolist())
        digest = hashlib.sha256(b"".join(wkb)).hexdigest()
    pixels = side**2 if what == "rows" else classes_hw.size
    return {
        "seconds": seconds,
        "megapixels": pixels / 1e6,
        "peak_mib": peak_mib,
        "polygons": count,
        "digest": digest,
    }


class Repeated:
    """A raster, repeated without taking more memory; windows as slices of it, like an array's."""

    def __init__(self, classes_hw: NDArray[np.uint8], shape: tuple[int, int]) -> None:
        self._classes_hw = classes_hw
        self.shape = shape

    def __getitem__(self, at: tuple[slice, slice]) -> NDArray[np.uint8]:
        height, width = self._classes_hw.shape
        rows, cols = (np.arange(where.start, where.stop) for where in at)
        return self._classes_hw[np.ix_(rows % height, cols % width)]


def polygons_by_blocks(
    classes_hw: NDArray[np.uint8] | Repeated, block_px: tuple[int, int]
) -> Iterator[NDArray[np.object_]]:
    """The polygons of all objects, those that begin in the same row of blocks at a time.

    The outlines of a row of blocks wait until all of the objects that they are part of are complete.
    """
    height, width = classes_hw.shape
    rows = [
        [
            Window(row, col, min(block_px[0], height - row), min(block_px[1], width - col))
            for col in range(0, width, block_px[1])
        ]
        for row in range(0, height, block_px[0])
    ]
    ids = object_ids(classes_hw, rows)
    waiting: tuple[list[Rings], list[NDArray[np.int64]]] = ([], [])
    for number, (windows, ids_of_row) in enumerate(zip(rows, ids, strict=True)):
        for window, of_component in zip(windows, ids_of_row, strict=True):
            block_hw = classes_hw[window.row : window.row_stop, window.col : window.col_stop]
            rings, _ = trace(np.ascontiguousarray(block_hw), window)
            waiting[0].append(rings)
            waiting[1].append(of_component)
        if isinstance(classes_hw, Repeated) and number + 1 < len(rows):
            # What goes on below waits; the rest is done.
            going_on = np.unique(np.concatenate(ids[number + 1]))
            rings, object_id = Rings.concatenate(waiting[0]), np.concatenate(waiting[1])
            waits = np.isin(object_id, going_on)
            done, later = parted(rings, waits)
            waiting = ([later], [object_id[waits]])
            yield join(done, object_id[~waits], block_px)[1].polygons()
    yield join(Rings.concatenate(waiting[0]), np.concatenate(waiting[1]), block_px)[1].polygons()


def parted(rings: Rings, second: NDArray[np.bool_]) -> tuple[Rings, Rings]:
    """Polygons (n,) in two, by whether they are in the second (n,)."""
    of_ring = np.repeat(second, rings.count)
    first, other = rings.take(np.flatnonzero(~of_ring)), rings.take(np.flatnonzero(of_ring))
    return Rings(first.xy, first.size, rings.count[~second]), Rings(other.xy, other.size, rings.count[second])


def object_ids(classes_hw: NDArray[np.uint8] | Repeated, rows: list[list[Window]]) -> list[list[NDArray[np.int64]]]:
    """Of each block in each row of blocks the object of each of its components, int64 (n,), as a run finds them."""
    width = classes_hw.shape[1]
    linked: list[LinkedRow] = []
    firsts, at_border = [], []
    for windows in rows:
        borders = []
        for window in windows:
            block_hw = np.ascontiguousarray(classes_hw[window.row : window.row_stop, window.col : window.col_stop])
            objects = objects_in(block_hw, window, width)
            borders.append(BlockBorders.of(objects))
            firsts.append(objects.measures.first_pixel)
            at_border.append(borders[-1].label - 1)
        linked.append(link(borders, linked[-1] if linked else None))
    below: tuple[NDArray[np.int64], Measures] | None = None
    found: list[list[NDArray[np.int64]]] = []
    number = len(firsts)
    for row in reversed(linked):
        of_blocks, below = settle(row.to_arrays(), below)
        number -= len(of_blocks)
        for block, measures in enumerate(of_blocks, number):
            firsts[block][at_border[block]] = measures.first_pixel
        found.append([first + 1 for first in firsts[number : number + len(of_blocks)]])
    return found[::-1]


def objects_in(block_hw: NDArray[np.uint8], window: Window, grid_width: int) -> BlockObjects:
    """The components of a block; of their measures only what names them: the whole raster gets none either."""
    runs = runs_of(block_hw, np.flatnonzero(_EVERY).tolist())
    row, col = np.divmod(runs.first_places(), window.width)
    first_pixel, nothing = (window.row + row) * grid_width + window.col + col, np.zeros(runs.count, np.int64)
    measures = Measures(first_pixel, nothing, nothing, nothing, nothing)
    return BlockObjects(window, runs, block_hw.reshape(-1)[runs.first_places()].astype(np.int64), measures)


if __name__ == "__main__":
    main()
