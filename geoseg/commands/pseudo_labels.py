"""`geoseg pseudo-labels`: what a run is sure of, as labels to train on."""

import json
from pathlib import Path

import click

from geoseg.commands.place import COPIED_HERE, DiskPath
from geoseg.datasets.run_labels import OTHERS
from geoseg.errors import GeosegError
from geoseg.train.pseudo import write_pseudo_labels


@click.command("pseudo-labels")
@click.argument("run", type=COPIED_HERE)
@click.option("-o", "--output", type=DiskPath(), required=True, help="The label raster, a .tif.")
@click.option(
    "--min-confidence",
    "least",
    multiple=True,
    default=("0.9",),
    show_default=True,
    metavar="[CLASS=]P",
    help="Least probability with which a pixel's class is believed; for one class as road=0.8, repeated.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
def pseudo_labels(run: Path, output: Path, least: tuple[str, ...], force: bool) -> None:
    """Write what a finished RUN is sure of as a label raster, for the labels of a scene that has none.

    Its values are the run's class ids; where the run is not sure there is no data, which training does not count.
    """
    labels = write_pseudo_labels(run, output, dict(_threshold(text) for text in least), force=force)
    total = sum(labels.pixels) + labels.unlabelled
    for name, pixels in zip(labels.names, labels.pixels, strict=True):
        click.echo(f"{name:<12} {pixels / total:7.2%}")
    click.echo(f"{'not sure':<12} {labels.unlabelled / total:7.2%}")
    values = json.dumps({str(value): name for value, name in labels.values.items()})
    click.echo(f"in data: {{image: SCENE, labels: {output}, split: train, values: {values}}}")


def _threshold(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name or OTHERS, float(value)
    except ValueError:
        raise GeosegError(f"expected --min-confidence P or CLASS=P such as 0.9 or road=0.8, got {text}") from None
