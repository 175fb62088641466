"""How much of the bare forward pass's speed `geoseg map` keeps, up to the finished mosaic.

    python tests/benchmarks/efficiency.py [--data DIR] [--workers 1] [--device cpu] [--model NAME] [--write]
    python tests/benchmarks/efficiency.py --device cuda --untrained deeplabv3plus_resnet50   # bf16 where it has it

(a) The network alone, as its package gives it: batches of tiles that lie in memory, on as many processes as there
are workers, side by side. Once more with its normalizations folded into its convolutions, as the workers run it.
(b) `geoseg map` of a scene: distinct lattice tiles that touch valid pixels, each counted once however often it was
evaluated, per second of the mosaic stage. The start of Ray and of the workers is apart, and stated.
(a) is measured before and after (b), and the mean taken. The scene is DIR/mbrsc/t78_image.tif (--data or DATA=DIR),
else a generated one; the output says which.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from affine import Affine
from results import add_section, machine, table

from geoseg.catalog import DEFAULT_MODEL, model_folder
from geoseg.grid import Window
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS
from geoseg.models.architecture import Architecture, ArchitectureName, build
from geoseg.models.card import CardDraft
from geoseg.models.folding import fold_batch_norms
from geoseg.models.package import load_package, save_package
from geoseg.predict import Numerics, Predictor
from geoseg.tiling import Lattice

_BARE_S = 20.0
_BARE_TILES = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/; else a generated scene")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--untrained", metavar="ARCHITECTURE", help="instead: a network without training")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = folder / "scene.tif" if asked.data is None else Path(asked.data) / "mbrsc" / "t78_image.tif"
        if asked.data is None:
            generate(scene)
        model = asked.model if asked.untrained is None else untrained(folder / "model", asked.untrained)
        lines = compare(scene, folder / "run", model, asked.workers, asked.device)
    source = "a generated scene" if asked.data is None else scene.name
    network = asked.untrained or asked.model
    lines = [
        f"Scene: {source}; model: {network}; {asked.workers} worker(s) on {asked.device}; {machine()}.",
        "",
        *lines,
    ]
    print("\n".join(lines))
    if asked.write:
        add_section(f"Efficiency, {network}, {asked.workers} worker(s) on {asked.device}", lines)


def untrained(folder: Path, architecture: ArchitectureName) -> str:
    """A package of a network with random weights, for the default model's imagery and classes; its folder."""
    card = load_package(model_folder(DEFAULT_MODEL)).card
    said = {name: getattr(card, name) for name in CardDraft.model_fields}
    said["architecture"] = Architecture(architecture, len(card.imagery.bands), len(card.classes))
    torch.manual_seed(0)
    save_package(folder, CardDraft(**said), build(said["architecture"]), "float32")
    return str(folder)


def compare(scene: Path, run: Path, model: str, workers: int, device: str) -> list[str]:
    """Both ways, in one table."""
    # The plan knows what the run is computed on; asking for it writes nothing.
    command = ["map", str(scene), "-o", str(run), "--model", model, "--workers", str(workers), "--device", device]
    plan = json.loads(geoseg(*command, "--dry-run", "--json"))
    numerics = Numerics(**{key: plan["numerics"][key] for key in ("device", "precision", "threads", "batch")})
    before = bare(model, numerics, workers)
    record = json.loads(geoseg(*command, "--json"))
    after = bare(model, numerics, workers)
    folded = bare(model, numerics, workers, fold=True)

    mosaic = plan["mosaic"]
    lattice = Lattice(mosaic["tile_px"], mosaic["overlap_px"])
    needed = needed_tiles(Mosaic(run / "mosaic.zarr"), lattice)
    stage = record["stages"]["mosaic"]
    computing_s = stage["seconds"] - stage["start_s"]
    busy = stage["infer_s"] / (computing_s * workers)
    mapped, alone = needed / computing_s, (before + after) / 2
    cell = lattice.stride_px**2 / 1e6
    return [
        *table(
            ("", "tiles", "seconds", "tiles/s", "ground Mpx/s"),
            [
                ("(a) the network alone, before", "", f"{_BARE_S:.0f}", f"{before:.3f}", f"{before * cell:.3f}"),
                (
                    "(b) geoseg map, mosaic stage",
                    f"{needed} needed, {stage['tiles']} evaluated, {stage.get('cached', 0)} from the cache",
                    f"{computing_s:.1f}",
                    f"{mapped:.3f}",
                    f"{mapped * cell:.3f}",
                ),
                ("(a) again, after", "", f"{_BARE_S:.0f}", f"{after:.3f}", f"{after * cell:.3f}"),
                ("(a) with folded normalizations", "", f"{_BARE_S:.0f}", f"{folded:.3f}", f"{folded * cell:.3f}"),
            ],
        ),
        "",
        f"(b) / (a) = **{mapped / alone:.3f}**, and {mapped / folded:.3f} of the folded network's.",
        f"Tiles evaluated over tiles needed: {stage['tiles'] / needed:.3f}.",
        f"The network, its gathering and blending included, was at work {busy:.0%} of the workers' time.",
        f"Start of Ray's workers, not counted in (b): {stage.get('start_s', 0):.1f} s.",
    ]


def geoseg(*arguments: str) -> str:
    """What a command prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", "geoseg.cli", *arguments], check=False, text=True, capture_output=True
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return done.stdout


def bare(model: str, numerics: Numerics, workers: int, *, fold: bool = False) -> float:
    """Tiles per second of the network alone, on `workers` processes at the same time."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        rates = pool.starmap(_forward, [(model, numerics, worker, fold) for worker in range(workers)])
    return float(sum(rates))


def _forward(model: str, numerics: Numerics, worker: int, fold: bool) -> float:
    torch.set_num_threads(numerics.threads)
    package = load_package(model_folder(model))
    # Each process has a device of its own, as workers have.
    device = f"cuda:{worker}" if numerics.device == "cuda" else numerics.device
    placed = Numerics(device, numerics.precision, numerics.threads, numerics.batch)
    network = package.build()
    predictor = Predictor(fold_batch_norms(network) if fold else network, placed)
    side, bands = package.card.tile.size_px, len(package.imagery.bands)
    tiles = torch.randn(_BARE_TILES, numerics.batch, bands, side, side).to(device)
    tiles = torch.stack([batch.contiguous(memory_format=torch.channels_last) for batch in tiles])
    counted = 0
    for turn in range(3):  # the first ones choose kernels and fill caches
        predictor.logits(tiles[turn])
    _wait(device)
    start = time.perf_counter()
    while time.perf_counter() - start < _BARE_S:
        predictor.logits(tiles[counted % _BARE_TILES])
        counted += 1
        if counted % 8 == 0:
            _wait(device)
    _wait(device)
    return counted * numerics.batch / (time.perf_counter() - start)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def needed_tiles(mosaic: Mosaic, lattice: Lattice) -> int:
    """Tiles of the lattice that touch valid pixels of a finished map, whatever resolution it has."""
    valid_hw = mosaic.read(0, "classes") != NODATA_CLASS
    height, width = valid_hw.shape
    whole = Window(0, 0, height, width)
    windows = (tile.window.intersection(whole) for tile in lattice.touching(whole, height, width))
    return sum(bool(valid_hw[window.slices_in(whole)].any()) for window in windows if window is not None)


def generate(path: Path) -> None:
    """A scene of 6144 x 6144 px: noise on patches."""
    rng = np.random.default_rng(0)
    side = 6144
    profile = {"driver": "GTiff", "dtype": "uint8", "count": 3, "height": side, "width": side, "tiled": True}
    place = {"crs": "EPSG:32640", "transform": Affine(1, 0, 300000, 0, -1, 2700000), "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **place) as scene:
        coarse = rng.integers(0, 200, (3, side // 48, side // 48)).repeat(48, axis=1).repeat(48, axis=2)
        scene.write((coarse + rng.integers(0, 56, coarse.shape)).astype(np.uint8))


if __name__ == "__main__":
    main()
