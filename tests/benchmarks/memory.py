"""Peak memory of `geoseg map`, driver and workers, from 0.1 to 10 gigapixels: it must not grow with the raster.

    python tests/benchmarks/memory.py [--data DIR] [--sizes 0.1,1,10] [--workers 2] [--panoptic] [--folder DIR]
        [--write]

Each raster has imagery in a tenth of its 2048 px blocks, spread over the whole extent, the rest is nodata. With
--data (or DATA=DIR) the imagery is cut from DIR/mbrsc/t78_image.tif, else it is generated; the output says which.
All stages run, with a small network that is trained for this on the same imagery; with --panoptic it tells objects
apart. Each process's own peak (VmHWM) is read.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import yaml
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window
from results import add_section, machine, table

_BLOCK_PX = 2048
_POLL_S = 0.1
_ITERATIONS = 80


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of `geoseg map`.

    Attributes:
        gigapixels: Of the grid.
        seconds: Wall clock, with the start of Ray.
        driver_mib: Peak RSS of the command's process.
        worker_mib: Peak RSS of the largest worker.
        record: run.json.
        announced_mib: What plan.json announces for a worker.
    """

    gigapixels: float
    seconds: float
    driver_mib: float
    worker_mib: float
    announced_mib: float
    record: dict[str, object]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/; else generated imagery")
    parser.add_argument("--sizes", default="0.1,1,10", help="gigapixels")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--panoptic", action="store_true", help="with a network that tells objects apart")
    parser.add_argument("--folder", help="where the rasters go (about 4 GB for 10 gigapixels)")
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        patches, labels, source = imagery(asked.data)
        model = train(folder, patches, labels, panoptic=asked.panoptic)
        measured = []
        for size in asked.sizes.split(","):
            scene = write_scene(folder / "scene.tif", float(size), patches)
            measured.append(measure(scene, folder / "run", model, asked.workers))
            print(f"{size} Gpx: {measured[-1].seconds:.0f} s", flush=True)
            shutil.rmtree(folder / "run")
            scene.unlink()
    lines = report(measured, source, asked.workers)
    print("\n".join(lines))
    if asked.write:
        add_section("Memory, objects told apart" if asked.panoptic else "Memory", lines)


def imagery(data: str | None) -> tuple[NDArray[np.uint8], NDArray[np.uint8], str]:
    """Patches (patch, band, row, column) of 2048 px, labels (patch, row, column) 0 to 2, and their source."""
    if data is None:
        return *generated(), "generated patches"
    image = Path(data) / "mbrsc" / "t78_image.tif"
    with rasterio.open(image) as scene, rasterio.open(image.with_name("t78_label.tif")) as labels:
        places = [(row, col) for row in (2048, 4096, 6144) for col in (1024, 3072, 5120)]
        windows = [Window(col, row, _BLOCK_PX, _BLOCK_PX) for row, col in places]
        patches = np.stack([scene.read(window=window) for window in windows])
        # Nodata is 0 in all bands: what is black by chance is nearly black.
        patches = np.maximum(patches, 1)
        wanted = np.array([2, 0, 1, 2, 2, 2], np.uint8)  # building, road, and the rest, as the small network needs
        return (
            patches,
            np.stack([wanted[np.minimum(labels.read(1, window=window), 5)] for window in windows]),
            str(image),
        )


def generated() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Rectangles (buildings) and stripes (roads) on noise: about as many objects as a town has."""
    rng = np.random.default_rng(0)
    labels = np.full((2, _BLOCK_PX, _BLOCK_PX), 2, np.uint8)
    for patch in labels:
        patch[:, ::230] = patch[::310, :] = 1
        for shift in range(6):
            patch[:, shift::230] = patch[shift::310, :] = 1
        for row, col in rng.integers(0, _BLOCK_PX - 40, (900, 2)):
            height, width = rng.integers(8, 40, 2)
            patch[row : row + height, col : col + width] = 0
    colors = np.array([[200, 80, 60], [90, 90, 95], [150, 160, 110]])
    noise = rng.integers(-25, 26, (2, 3, _BLOCK_PX, _BLOCK_PX))
    return np.clip(colors[labels].transpose(0, 3, 1, 2) + noise, 1, 255).astype(np.uint8), labels


def train(folder: Path, patches: NDArray[np.uint8], labels: NDArray[np.uint8], *, panoptic: bool) -> Path:
    """A small network that knows the patches: fast, and with objects like those of a real one."""
    transform = Affine(1, 0, 300000, 0, -1, 2700000)
    place = {"driver": "GTiff", "crs": "EPSG:32640", "tiled": True, "height": _BLOCK_PX, "width": _BLOCK_PX}
    for split, patch, label in zip(("train", "val"), patches, labels, strict=False):
        # Apart on the ground: overlapping splits are refused.
        moved = Affine.translation(100000 * (split == "val"), 0) @ transform
        with rasterio.open(folder / f"{split}.tif", "w", dtype="uint8", count=3, transform=moved, **place) as image:
            image.write(patch)
        with rasterio.open(
            folder / f"{split}_l.tif", "w", dtype="uint8", count=1, transform=moved, **place
        ) as file:
            file.write(label + 1, 1)
    classes = [("building", "buildings", "thing"), ("road", "roads", "stuff"), ("other", None, "stuff")]
    config = {
        "kind": "train",
        "name": "small",
        "description": "for the memory benchmark",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet_resnet18", "width": 0.25, "instances": panoptic},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1.0,
        },
        "classes": [
            {"name": name, "layer": layer, "kind": kind, "color": "#336699"} for name, layer, kind in classes
        ],
        "label_values": {1: "building", 2: "road", 3: "other"},
        "ignore_values": [0],
        "data": [
            {"image": f"{split}.tif", "labels": f"{split}_l.tif", "split": split} for split in ("train", "val")
        ],
        "training": {"crop_px": 256, "batch": 8, "iterations": _ITERATIONS, "validate_every": _ITERATIONS},
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    command = [
        "train",
        "--config",
        str(folder / "train.yaml"),
        "-o",
        str(folder / "small"),
        "--data-root",
        str(folder),
    ]
    subprocess.run([sys.executable, "-m", "geoseg.cli", *command], check=True, stderr=subprocess.DEVNULL)
    return folder / "small"


def write_scene(path: Path, gigapixels: float, patches: NDArray[np.uint8]) -> Path:
    """A square raster of that size, sparse where it holds no data."""
    blocks = max(2, round((gigapixels * 1e9) ** 0.5 / _BLOCK_PX))
    side = blocks * _BLOCK_PX
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "height": side,
        "width": side,
        "crs": "EPSG:32640",
        "transform": Affine(1, 0, 300000, 0, -1, 2900000),
        "nodata": 0,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "num_threads": 2,
        "bigtiff": "yes",
        "sparse_ok": True,
    }
    with rasterio.open(path, "w", **profile) as scene:
        for i, j in np.ndindex(blocks, blocks):
            # A tenth of the blocks, none beside another.
            if (7 * i + 3 * j) % 10 == 0:
                window = Window(j * _BLOCK_PX, i * _BLOCK_PX, _BLOCK_PX, _BLOCK_PX)
                scene.write(patches[(i + 2 * j) % len(patches)], window=window)
    return path


def measure(scene: Path, run: Path, model: Path, workers: int) -> Measured:
    """Map a scene and watch the processes."""
    command = ["map", str(scene), "-o", str(run), "--model", str(model), "--workers", str(workers), "--json"]
    start = time.perf_counter()
    with (run.parent / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "geoseg.cli", *command], stdout=subprocess.PIPE, stderr=log, text=True
        )
        peaks: dict[int, tuple[str, float]] = {}
        watch = threading.Thread(target=_watch, args=(process.pid, peaks), daemon=True)
        watch.start()
        printed, _ = process.communicate()
        watch.join()
    if process.returncode:
        sys.exit((run.parent / "log").read_text()[-3000:])
    record = json.loads(printed)
    plan = json.loads((run / "plan.json").read_text())
    grid = record["grid"]
    return Measured(
        gigapixels=grid["height"] * grid["width"] / 1e9,
        seconds=time.perf_counter() - start,
        driver_mib=peaks[process.pid][1],
        worker_mib=max(mib for name, mib in peaks.values() if name.startswith("ray::")),
        announced_mib=plan["worker_bytes"] / 2**20,
        record=record,
    )


def _watch(root: int, peaks: dict[int, tuple[str, float]]) -> None:
    """Keep the name and the peak RSS in MiB of a process and of all below it, by process id, until it ends."""
    while True:
        seen = {int(entry.name): look for entry in Path("/proc").iterdir() if (look := _look(entry)) is not None}
        if root not in seen:
            return
        family = {root}
        while grown := {pid for pid, (parent, _, _) in seen.items() if parent in family and pid not in family}:
            family |= grown
        for pid in family:
            _, command, mib = seen[pid]
            # A worker's name changes while it works; what it was called when it worked counts.
            name = peaks.get(pid, ("", 0.0))[0]
            peaks[pid] = (name if name.startswith("ray::") else command, mib)
        time.sleep(_POLL_S)


def _look(entry: Path) -> tuple[int, str, float] | None:
    """Parent, command and peak RSS in MiB of a process in /proc, or None for all else that is there."""
    if not entry.name.isdigit():
        return None
    try:
        lines = (entry / "status").read_text().splitlines()
        command = (entry / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return None  # it ended while it was looked at
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    if "VmHWM" not in status:
        return None
    return int(status["PPid"]), command, int(status["VmHWM"].split()[0]) / 1024


def report(measured: list[Measured], source: str, workers: int) -> list[str]:
    """The figures as Markdown."""
    first = measured[0]
    rows = []
    for one in measured:
        stages = one.record["stages"]
        assert isinstance(stages, dict)
        outputs = one.record["outputs"]
        assert isinstance(outputs, list)
        rows.append(
            (
                f"{one.gigapixels:.2f}",
                f"{one.seconds:.0f}",
                f"{stages['mosaic'].get('tiles', 0)}",
                f"{stages['objects'].get('components', 0)}",
                f"{sum(output['features'] for output in outputs if output['format'] == 'gpkg')}",
                f"{one.driver_mib:.0f}",
                f"{one.driver_mib / first.driver_mib:.2f}",
                f"{one.worker_mib:.0f}",
                f"{one.worker_mib / first.worker_mib:.2f}",
                f"{one.announced_mib:.0f}",
                f"{one.worker_mib / one.announced_mib:.2f}",
            )
        )
    names = (
        "Gpx",
        "seconds",
        "tiles",
        "components",
        "features",
        "driver MiB",
        "to first",
        "worker MiB",
        "to first",
    )
    return [
        f"Imagery: {Path(source).name if '/' in source else source}; {workers} workers; {machine()}.",
        "",
        *table((*names, "announced MiB", "of announced"), rows),
    ]


if __name__ == "__main__":
    main()
