"""How long the cleaning of layers and the network of roads take, next to the inference of the same run.

    python tests/benchmarks/cleaning.py [--data DIR] [--workers 2] [--write]

One `geoseg map` with every clean-up there is (the defaults), into an empty folder, after one of the demo scene that
leaves compiled loops behind; then the seconds of its stages, as run.json has them. Exact layers of the same mosaic
(`--simplify 0 --no-network`) say what of it they cost. The scene is DIR/mbrsc/t78_image.tif (--data or DATA=DIR),
else the demo's.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import add_section, machine, table

import geoseg

_DEMO = Path(geoseg.__file__).parent / "bundled" / "demo" / "dubai.tif"
_STAGES = ("outlines", "whole", "overlaps", "splits", "features", "roads", "skeleton", "pieces", "network")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/; else the demo's scene")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    scene = _DEMO if asked.data is None else Path(asked.data) / "mbrsc" / "t78_image.tif"
    with tempfile.TemporaryDirectory() as name:
        mapped(_DEMO, Path(name) / "demo", asked.workers)
        run = Path(name) / "run"
        cleaned = mapped(scene, run, asked.workers)
        exact = mapped(scene, run, asked.workers, "--simplify", "0", "--no-network")
    inference = cleaned["stages"]["mosaic"]["seconds"]
    seconds = {stage: cleaned["stages"][stage]["seconds"] for stage in _STAGES}
    plain = sum(exact["stages"].get(stage, {}).get("seconds", 0.0) for stage in _STAGES)
    total = sum(seconds.values())
    rows = [[stage, f"{one:.1f}", f"{one / inference:.3f}"] for stage, one in seconds.items()]
    rows.append(["all of these", f"{total:.1f}", f"{total / inference:.3f}"])
    rows.append(["exact outlines instead", f"{plain:.1f}", f"{plain / inference:.3f}"])
    changed = ", ".join(f"{name} {value:.10g}" for name, value in cleaned["clean_up"].items() if name != "outlines")
    outlines = ", ".join(f"{name} {count}" for name, count in cleaned["clean_up"]["outlines"].items())
    lines = [
        f"Scene: {scene.name}; {asked.workers} worker(s); inference (mosaic) {inference:.1f} s; {machine()}.",
        "",
        *table(["stage", "seconds", "of inference"], rows),
        "",
        f"What it changed: {changed}. Outlines of buildings: {outlines}.",
    ]
    print("\n".join(lines))
    if asked.write:
        add_section("Cleaning", lines)


def mapped(scene: Path, run: Path, workers: int, *options: str) -> Any:  # noqa: ANN401  # JSON
    """run.json of a run of the command."""
    command = [sys.executable, "-m", "geoseg.cli", "map", str(scene), "-o", str(run), "--workers", str(workers)]
    subprocess.run([*command, "--assume-crs", "EPSG:32640", *options], check=True, capture_output=True)
    return json.loads((run / "run.json").read_text())


if __name__ == "__main__":
    main()
