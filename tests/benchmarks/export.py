"""A layer of five million features to every format: seconds and peak memory, each in a process of its own.

    python tests/benchmarks/export.py [--features 5000000] [--formats geojson,gpkg,...] [--folder DIR] [--write]

The features are small polygons of eight vertices, made as they are asked for, so that what is measured is the
writing. Peak memory is that of the process and, added to it, that of the largest program it starts (tippecanoe; as
Linux counts in what the process itself held when it started that, this is an upper bound).
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

import numpy as np
import shapely
from affine import Affine
from results import add_section, machine, table

from geoseg.grid import Grid
from geoseg.io.layers import NO_OUTCOME, Features, Source
from geoseg.labels import LabelClass, LabelSet
from geoseg.layering import LayerFormat
from geoseg.work.layer_files import ENDINGS, LayerSet, write_file

_LIMIT_MIB = 2048
_BATCH = 50_000
_STEP_M = 12.0
# An octagon of 8 m, in metres from its lower left corner.
_OUTLINE = np.array([(2, 0), (6, 0), (8, 2), (8, 6), (6, 8), (2, 8), (0, 6), (0, 2), (2, 0)], np.float64)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=5_000_000)
    parser.add_argument("--formats", default=",".join(get_args(LayerFormat)))
    parser.add_argument("--folder", type=Path, help="where to write meanwhile")
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.one, asked.features, asked.folder)))
        return
    rows, highest = [], 0.0
    for kind in asked.formats.split(","):
        with TemporaryDirectory(dir=asked.folder) as folder:
            command = [
                sys.executable,
                __file__,
                "--one",
                kind,
                "--features",
                str(asked.features),
                "--folder",
                folder,
            ]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        highest = max(highest, found["peak_mib"])
        rows.append([kind, f"{found['seconds']:.0f}", f"{found['mb']:.0f}", f"{found['peak_mib']:.0f}"])
        print(*rows[-1], flush=True)
    lines = [f"A layer of {asked.features:,} features of eight vertices, on: {machine()}.", ""]
    lines += table(("format", "seconds", "file, MB", "peak RSS, MiB"), rows)
    print("\n".join(lines))
    if highest > _LIMIT_MIB:
        sys.exit(f"{highest:.0f} MiB are more than {_LIMIT_MIB}")
    if asked.write:
        add_section("Layers of five million features", lines)


def measure(kind: LayerFormat, count: int, folder: Path) -> dict[str, float]:
    """Write the layer once."""
    side = round(count**0.5) + 1
    extent_px = round(side * _STEP_M)
    grid = Grid("EPSG:32640", Affine(1, 0, 320_000, 0, -1, 2_770_000), extent_px, extent_px)
    labels = LabelSet(
        (LabelClass("building", "buildings", "thing", "#ff0000"), LabelClass("other", None, "stuff", "#000000"))
    )
    source = Source("0" * 64, (("scene", "2024-05-06T05:08:09Z"),))
    layers = LayerSet({"buildings": lambda: features(count, side)}, labels, grid, source)
    path = folder / f"buildings{ENDINGS[kind]}"
    start = time.perf_counter()
    written = write_file(kind, path, layers)
    seconds = time.perf_counter() - start
    if written[0].features != count:
        sys.exit(f"{kind}: {written[0].features} of {count} features were written")
    peak_kib = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "mb": path.stat().st_size / 1e6, "peak_mib": peak_kib / 1024}


def features(count: int, side: int) -> Iterator[Features]:
    """Octagons in rows, in raster order."""
    for start in range(0, count, _BATCH):
        number = np.arange(start, min(start + _BATCH, count), dtype=np.int64)
        row, col = np.divmod(number, side)
        left = np.column_stack((320_000 + _STEP_M * col, 2_770_000 - _STEP_M * (row + 1)))
        # Any order that is the same each time: features come several times.
        draw = np.random.default_rng(start).random((3, len(number)))
        yield Features(
            id=1 + number,
            part=np.zeros_like(number),
            class_id=np.zeros(len(number), np.uint8),
            confidence=draw[0],
            area_m2=56 + draw[1],
            perimeter_m=27 + draw[2],
            geometry=shapely.polygons(left[:, None, :] + _OUTLINE),
            scene=np.zeros_like(number),
            outcome=np.full(len(number), NO_OUTCOME, np.uint8),
        )


if __name__ == "__main__":
    main()
