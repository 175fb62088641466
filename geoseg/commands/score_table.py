"""Scores as tables for people."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from geoseg.commands.text import echo_lines, echo_table

_OBJECTS = (
    ("true", "true", "d"),
    ("false", "false", "d"),
    ("missed", "missed", "d"),
    ("precision", "precision", ".3f"),
    ("recall", "recall", ".3f"),
    ("F1", "f1", ".3f"),
    ("AP 0.5", "ap_50", ".3f"),
    ("AP 0.5:0.95", "ap_50_95", ".3f"),
    ("IoU", "matched_iou_mean", ".3f"),
    ("PoLiS m", "polis_m_mean", ".2f"),
    ("rotation deg", "rotation_error_deg_median", ".1f"),
    ("vertices", "vertex_ratio", ".2f"),
)
_SEGMENTS = (
    ("PQ", "pq", ".3f"),
    ("SQ", "sq", ".3f"),
    ("RQ", "rq", ".3f"),
    ("true", "true", "d"),
    ("false", "false", "d"),
    ("missed", "missed", "d"),
    ("AP 0.5", "ap_50", ".3f"),
    ("AP 0.5:0.95", "ap_50_95", ".3f"),
    ("splits", "splits", "d"),
    ("merges", "merges", "d"),
)
_LINES = (
    ("APLS", "apls", ".3f"),
    ("reference in map", "apls_reference_in_map", ".3f"),
    ("map in reference", "apls_map_in_reference", ".3f"),
    ("completeness", "completeness", ".3f"),
    ("correctness", "correctness", ".3f"),
    ("quality", "quality", ".3f"),
    ("reference m", "reference_m", ".0f"),
    ("map m", "mapped_m", ".0f"),
)

Columns = Sequence[tuple[str, str, str]]
"""Heading, name of the figure, and how it is written."""


def echo_scores(document: Mapping[str, Any]) -> None:
    """Print what `geoseg evaluate RUN --json` holds, a table for each kind of score."""
    distances = document["parameters"]["boundary_m"]
    areas = (
        *((name, name.lower(), ".3f") for name in ("IoU", "precision", "recall", "F1")),
        *((f"boundary F1 {metres:g} m", f"boundary_f1_{metres:g}m", ".3f") for metres in distances),
    )
    echo_lines(_about(document))
    _table("areas", areas, document["classes"])
    if document["miou"] is not None:
        click.echo(f"mean IoU {document['miou']:.3f}")
    _table("objects", _OBJECTS, document["classes"])
    if document["panoptic"] is not None:
        _panoptic(document["panoptic"])
    _table("lines", _LINES, document["classes"])
    for name, why in document["not_scored"].items():
        click.echo(f"\nno scores of the lines of {name}: {why}")


def _panoptic(document: Mapping[str, Any]) -> None:
    groups = {name: document[name] for name in ("things", "stuff", "all") if document[name]["classes"]}
    of = {name: {"panoptic": figures} for name, figures in (document["classes"] | groups).items()}
    _table("panoptic", _SEGMENTS, of)
    click.echo(f"objects are {_KINDS[document['map']]} in the map, {_KINDS[document['reference']]} in the labels")
    for words in document["warnings"]:
        click.echo(f"warning  {words}")
    if document["without_layer"]:
        click.echo(f"no segments of {', '.join(document['without_layer'])}, things without a layer")


_KINDS = {
    "instances": "instances",
    "components": "connected components",
    "features": "features",
    "ids": "ids of a raster",
}


def _about(document: Mapping[str, Any]) -> list[tuple[str, object]]:
    files = (one["file"] if one["class"] is None else f"{one['class']}={one['file']}" for one in document["labels"])
    counted = ""
    if document["repaired"]:
        counted += f"; {document['repaired']} invalid geometries repaired"
    if document["left_out"]:
        counted += f"; {document['left_out']} features without class, area or length left out"
    lines: list[tuple[str, object]] = [("run", document["run"]), ("labels", f"{', '.join(files)}{counted}")]
    if document["values"] is not None:
        lines.append(("values", ", ".join(f"{value} {name or '-'}" for value, name in document["values"].items())))
    parameters = document["parameters"]
    lines.append(("plane", f"{parameters['crs']}, {document['area_m2'] / 1e6:.4g} km2 that count"))
    if document["missing_blocks"]:
        lines.append(("INCOMPLETE", f" {document['missing_blocks']} block(s) failed; they count neither way"))
    return lines


def _table(group: str, columns: Columns, classes: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [
        [name, *("-" if of[group].get(key) is None else format(of[group][key], style) for _, key, style in columns)]
        for name, of in classes.items()
        if group in of
    ]
    if rows:
        click.echo()
        echo_table([group, *(heading for heading, _, _ in columns)], rows)
