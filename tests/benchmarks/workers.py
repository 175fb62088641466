"""How much faster two workers train than one.

    python tests/benchmarks/workers.py [--steps 12] [--rounds 2] [--batch 16] [--device cpu|cuda] [--write]

The same training on Ray with one worker and with two, by turns in one run, each worker with one CPU thread (and a
GPU of its own with --device cuda): crops a second while steps are done, validations and checkpoints left out, over
the second half of each training. The network is unet_resnet18 at half its width, batches are
crops of 256 px for each worker, the scene is made up.
"""

import argparse
import csv
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
import rasterio
import torch
import yaml
from affine import Affine
from results import add_section, machine, table

from geoseg.config.options import TrainOptions, WorkerOptions
from geoseg.training import train_package

_WORKERS = (1, 2)
_SIDE_PX = 2048


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="of a training; the second half is timed")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16, help="crops of each worker")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    found: dict[int, list[float]] = {workers: [] for workers in _WORKERS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_training(folder, asked.steps, asked.batch)
        for turn in range(asked.rounds):
            for workers in _WORKERS:
                output = folder / f"model-{turn}-{workers}"
                found[workers].append(rate(config, output, workers, asked.device, asked.batch))
    one, two = (statistics.median(found[workers]) for workers in _WORKERS)
    rows = [
        [str(workers), f"{statistics.median(rates):.2f}", f"{min(rates):.2f} to {max(rates):.2f}"]
        for workers, rates in found.items()
    ]
    words = "a GPU" if asked.device == "cuda" else "one thread"
    lines = [
        f"{asked.batch} crops of 256 px and {words} for each worker; unet_resnet18 at half its width; {machine()}.",
        "",
        *table(["workers", "crops/s", "rounds"], rows),
        "",
        f"Two workers train at {two / one:.2f} times the rate of one.",
    ]
    print("\n".join(lines))
    if asked.write:
        add_section("Training workers" + (" on GPUs" if asked.device == "cuda" else ""), lines)


def write_training(folder: Path, steps: int, batch: int) -> Path:
    """A made-up scene with labels, and the configuration of a training on it."""
    rng = np.random.default_rng(0)
    shape = {"driver": "GTiff", "height": _SIDE_PX, "width": _SIDE_PX, "dtype": "uint8", "crs": "EPSG:32640"}
    place = {"transform": Affine(1, 0, 320000, 0, -1, 2770000), "tiled": True, "compress": "deflate"}
    light_hw = (rng.random((_SIDE_PX // 16, _SIDE_PX // 16)) < 0.4).repeat(16, 0).repeat(16, 1)
    image_chw = np.where(light_hw, 200, 60) + rng.normal(0, 12, (3, _SIDE_PX, _SIDE_PX))
    with rasterio.open(folder / "image.tif", "w", count=3, photometric="RGB", **shape, **place) as dataset:
        dataset.write(image_chw.clip(0, 255).astype(np.uint8))
    with rasterio.open(folder / "labels.tif", "w", count=1, nodata=0, **shape, **place) as dataset:
        dataset.write(np.where(light_hw, 1, 2).astype(np.uint8), 1)
    bounds = {"train": (0, _SIDE_PX * 3 // 4), "val": (_SIDE_PX * 7 // 8, _SIDE_PX)}
    for split, (first, last) in bounds.items():
        west, east, south = 320000 + first, 320000 + last, 2770000 - _SIDE_PX
        ring = [[west, south], [east, south], [east, 2770000], [west, 2770000], [west, south]]
        crs = {"type": "name", "properties": {"name": "EPSG:32640"}}
        feature = {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [ring]}}
        document = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
        (folder / f"{split}.geojson").write_text(json.dumps(document))
    config = {
        "kind": "train",
        "name": "benchmark",
        "description": "a benchmark",
        "licence": "CC0-1.0",
        "attribution": "nobody",
        "architecture": {"name": "unet_resnet18", "width": 0.5},
        "imagery": {
            "bands": ["red", "green", "blue"],
            "dtype": "uint8",
            "value_range": [0, 255],
            "ground_resolution_m": 1,
        },
        "classes": [
            {"name": "light", "layer": None, "kind": "stuff", "color": "#ffffff"},
            {"name": "dark", "layer": None, "kind": "stuff", "color": "#000000"},
        ],
        "label_values": {1: "light", 2: "dark"},
        "data": [
            {
                "image": "image.tif",
                "labels": "labels.tif",
                "split": split,
                "region": {"file": f"{split}.geojson"},
            }
            for split in bounds
        ],
        "training": {
            "crop_px": 256,
            "batch": batch,
            "iterations": steps,
            "validate_every": max(1, steps // 2),
            "augmentation": {"color_jitter": 0.15},
        },
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def rate(config: Path, output: Path, workers: int, device: str, batch: int) -> float:
    """Crops a second of all workers together, over the second half of a training."""
    train_package(
        config,
        output,
        config.parent,
        options=TrainOptions(),
        skip_bad=False,
        device=device,
        threads=1,
        workers=WorkerOptions(workers),
    )
    with (output.with_name(output.name + ".training") / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    crops = [int(row["iteration"]) * batch * workers for row in rows[-2:]]
    seconds = [number / float(row["samples_per_s"]) for number, row in zip(crops, rows[-2:], strict=True)]
    return (crops[1] - crops[0]) / (seconds[1] - seconds[0])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
