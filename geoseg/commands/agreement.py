"""`geoseg agreement`: two class rasters of the same ground, class by class."""

import json
from pathlib import Path

import click

from geoseg.agreement import compare_rasters, likeness
from geoseg.commands.text import echo_table
from geoseg.errors import GeosegError
from geoseg.notation import value_pairs


@click.command("agreement")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="VALUE=CLASS",
    help="What a value of the rasters means, nothing if CLASS is left out; repeated for each. [each its own class]",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def agreement(first: Path, second: Path, values: tuple[str, ...], as_json: bool) -> None:
    """Compare two class rasters, FIRST and SECOND, on the pixels where both hold data: IoU of each class.

    Of two annotators it is what no model can be told to exceed. Name them in a training's configuration (card:
    agreement:), and the model's card has it too, with the model's own scores against both.
    """
    meanings = None
    if values:
        pairs = value_pairs(values)
        for text, _ in pairs:
            if not text.isdigit():
                raise GeosegError(f"expected --value NUMBER=CLASS such as 3=road, got {text}=")
        meanings = {int(text): name or None for text, name in pairs}
    confusion, names = compare_rasters(str(first), str(second), meanings)
    found = likeness(confusion, names)
    in_first, in_second = confusion.counts.sum(1).tolist(), confusion.counts.sum(0).tolist()
    if as_json:
        pixels = {
            name: {"first": one, "second": other}
            for name, one, other in zip(names, in_first, in_second, strict=True)
        }
        document = {"first": str(first), "second": str(second), **found.model_dump(mode="json"), "classes": pixels}
        click.echo(json.dumps(document, indent=2))
        return
    echo_table(
        ["class", "IoU", "px in first", "px in second"],
        [
            [name, "-" if iou is None else f"{iou:.3f}", str(one), str(other)]
            for (name, iou), one, other in zip(found.iou.items(), in_first, in_second, strict=True)
        ],
    )
    click.echo(f"mean IoU {found.miou:.3f} on {found.pixels} px that both know")
