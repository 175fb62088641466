"""`geoseg models`: the models that have a name."""

import json
from pathlib import Path
from typing import Any

import click

from geoseg.catalog import DEFAULT_MODEL, search_path
from geoseg.commands.text import echo_table, printable
from geoseg.errors import ModelError
from geoseg.models.package import known_models, load_package


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def models(as_json: bool) -> None:
    """List the models that have a name: those that come with geoseg, and those in GEOSEG_MODEL_PATH.

    A model elsewhere is named by its folder (--model ./FOLDER); `geoseg inspect MODEL` says more of one.
    """
    known = [_described(name, folder) for name, folder in known_models(search_path()).items()]
    if as_json:
        click.echo(json.dumps({"default": DEFAULT_MODEL, "models": known}, indent=2))
        return
    if not known:
        click.echo("no models: set GEOSEG_MODEL_PATH to folders that hold model packages, or train one")
        return
    header = ("name", "classes", "metres", "architecture", "val mIoU", "test mIoU", "where")
    echo_table(header, [_row(model) for model in known if model["error"] is None])
    for model in known:
        if model["error"] is not None:
            click.echo(f"{printable(model['name'])}: {printable(model['error'])}")


def _described(name: str, folder: Path) -> dict[str, Any]:
    """What the list says of a package; a broken one is listed too, with what is wrong."""
    try:
        card = load_package(folder).card
    except ModelError as error:
        return {"name": name, "path": str(folder), "error": str(error)}
    return {
        "name": name,
        "path": str(folder),
        "error": None,
        "description": card.description,
        "architecture": card.architecture.name,
        "bands": list(card.imagery.bands),
        "ground_resolution_m": card.imagery.ground_resolution_m,
        "classes": list(card.labels.names),
        "meant_for_m": None if card.intended is None else card.intended.ground_resolution_m,
        "miou": {split: metrics.miou for split, metrics in card.metrics.items()},
        "calibration_error": {split: metrics.ece for split, metrics in card.metrics.items()},
        "licence": card.licence,
    }


def _row(model: dict[str, Any]) -> tuple[str, ...]:
    limits = model["meant_for_m"]
    ious = (model["miou"].get(split) for split in ("val", "test"))
    return (
        model["name"],
        ", ".join(model["classes"]),
        f"{model['ground_resolution_m']:g}" if limits is None else f"{limits[0]:g} to {limits[1]:g}",
        model["architecture"],
        *("-" if iou is None else f"{iou:.3f}" for iou in ious),
        model["path"],
    )
