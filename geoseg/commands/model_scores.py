"""How a model did on a split, as tables for people."""

from collections.abc import Mapping
from typing import Any

import click

from geoseg.commands.labelled_data import figures_line
from geoseg.commands.text import echo_table

_OF_CLASSES = (
    ("IoU", "iou"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("F1", "f1"),
    ("boundary IoU", "boundary_iou"),
    ("boundary F1", "boundary_f1"),
)
_OF_ALL = (
    ("mean IoU", "miou"),
    ("pixel accuracy", "accuracy"),
    ("mean accuracy", "mean_accuracy"),
    ("frequency-weighted IoU", "fwiou"),
    ("mean F1", "mean_f1"),
    ("mean boundary IoU", "mean_boundary_iou"),
    ("mean boundary F1", "mean_boundary_f1"),
    ("calibration error", "ece"),
)


def echo_model_scores(document: Mapping[str, Any]) -> None:
    """Print what `geoseg evaluate MODEL --json` holds: regions in a line each, then the split in two tables."""
    for region in document["regions"]:
        click.echo(figures_line(region["name"], region))
    split, intervals, said = document["split"], document["intervals"], document["parameters"]
    click.echo()
    level = f"{said['level']:.0%}".replace("%", " %")
    echo_table(
        [f"all of {split}", "", f"{level} interval"],
        [[words, _figure(document[key]), _interval(intervals[key])] for words, key in _OF_ALL],
    )
    click.echo()
    rows = [
        [
            name,
            _figure(of["iou"]),
            _interval(intervals[f"{name}.iou"]),
            *(_figure(of[key]) for _, key in _OF_CLASSES[1:]),
        ]
        for name, of in document["classes"].items()
    ]
    echo_table(["class", "IoU", f"{level} interval", *(words for words, _ in _OF_CLASSES[1:])], rows)
    drawn = f"intervals: {said['pieces']} {said['drawn']}, drawn anew {said['replicates']} times"
    few = "; too few for an interval" if said["pieces"] < 2 else ""
    click.echo(f"\n{document['pixels']} px; boundaries within {said['boundary_px']} px; {drawn}{few}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "-" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"
