"""What telling objects apart costs: `geoseg map` of a panoptic model beside the same model without its branch.

    python tests/benchmarks/panoptic.py MODEL [--data DIR] [--scene FILE] [--workers 2] [--write]

MODEL is a trained panoptic package: of random weights, objects would be noise. The other one has its encoder,
decoder and classes, to the last weight, and no instance branch. Both map the same scene, each in a process of its
own, one after the other, panoptic first. The scene is DIR/mbrsc/t78_image.tif (--data or DATA=DIR), or --scene.
"""

import argparse
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from efficiency import geoseg
from results import add_section, machine, table

from geoseg.models.architecture import build
from geoseg.models.card import CardDraft
from geoseg.models.package import load_package, save_package


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a panoptic model's folder")
    parser.add_argument("--data", default=os.environ.get("DATA"), help="folder with mbrsc/")
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="add the figures to RESULTS.md")
    asked = parser.parse_args()
    if asked.scene is None and asked.data is None:
        parser.error("expected --scene FILE, or --data DIR or DATA=DIR, a folder with mbrsc/")
    scene = asked.scene or Path(asked.data) / "mbrsc" / "t78_image.tif"
    card = load_package(asked.model).card
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = mapped(scene, asked.model, folder / "panoptic", asked.workers)
        alone = mapped(scene, without_branch(asked.model, folder / "semantic"), folder / "run", asked.workers)
    stages = [stage for stage in told["stages"] if stage != "total"]
    rows = [(stage, seconds(alone, stage), seconds(told, stage)) for stage in stages]
    one_s, other_s = sum(row[1] for row in rows), sum(row[2] for row in rows)
    network = card.architecture
    what = f"{network.name} of width {network.width:g} at {card.imagery.ground_resolution_m:g} m"
    lines = [
        f"Scene: {scene.name}; {what}; {asked.workers} worker(s) on cpu; {machine()}.",
        "",
        *table(
            ("stage", "semantic, s", "panoptic, s"),
            [(stage, f"{one:.1f}", f"{other:.1f}") for stage, one, other in (*rows, ("all", one_s, other_s))],
        ),
        "",
        f"Panoptic / semantic = **{other_s / one_s:.2f}**; objects: {objects(alone)} and {objects(told)}.",
    ]
    print("\n".join(lines))
    if asked.write:
        add_section(f"Telling objects apart, {network.name}", lines)


def without_branch(model: Path, folder: Path) -> Path:
    """Write the same package but for its instance branch; returns its folder."""
    package = load_package(model)
    said = {name: getattr(package.card, name) for name in CardDraft.model_fields}
    said |= {"architecture": replace(package.card.architecture, instances=False), "grouping": None}
    network = build(said["architecture"])
    weights = package.build().state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    save_package(folder, CardDraft(**said), network)
    return folder


def mapped(scene: Path, model: Path, run: Path, workers: int) -> dict[str, Any]:
    """The record of a run."""
    command = ["map", str(scene), "-o", str(run), "--model", str(model), "--workers", str(workers)]
    record: dict[str, Any] = json.loads(geoseg(*command, "--device", "cpu", "--json"))
    return record


def seconds(record: dict[str, Any], stage: str) -> float:
    """How long a stage took; nothing where there was none."""
    return float(record["stages"].get(stage, {}).get("seconds", 0.0))


def objects(record: dict[str, Any]) -> int:
    """How many features of all layers were written."""
    counts = {output["path"]: output["features"] for output in record["outputs"] if output["format"] == "geojson"}
    return sum(count or 0 for count in counts.values())


if __name__ == "__main__":
    main()
