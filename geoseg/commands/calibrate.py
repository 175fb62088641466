"""`geoseg calibrate`: a model package whose probabilities mean what they say on the user's own data."""

import json
from pathlib import Path

import click

from geoseg.calibration import calibrate_package
from geoseg.catalog import model_folder
from geoseg.commands.card_lines import calibration_lines
from geoseg.commands.labelled_data import data_root_option
from geoseg.commands.place import DiskPath


@click.command("calibrate")
@click.argument("model", metavar="MODEL")
@click.option(
    "--data",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="Configuration that lists the scenes, labels and regions.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="val",
    show_default=True,
    help="Which regions; the model must not have been trained on them.",
)
@click.option("-o", "--output", type=DiskPath(), required=True, help="Folder of the new MODEL to write.")
@data_root_option
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model. [all cores]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def calibrate(
    model: str,
    config_file: Path,
    split: str,
    output: Path,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Calibrate a MODEL (a name or folder) on labelled scenes: a copy whose confidence fits them.

    One temperature is fitted and folded into the weights of the last layer (Guo et al. 2017): classes stay, but for
    what blends of overlapping tiles change at their borders; probabilities are right as often as they say. What
    `geoseg train` writes is calibrated on its own split val already.
    """
    card = calibrate_package(model_folder(model), config_file, split, output, data_root, device, threads)
    assert card.calibration is not None
    if as_json:
        click.echo(json.dumps({"model": str(output), **card.calibration.model_dump(mode="json")}, indent=2))
        return
    for line in calibration_lines(card.calibration):
        click.echo(line)
