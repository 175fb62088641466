"""`geoseg evaluate`: a model package against the labels of a split."""

import json
from pathlib import Path

import click

from geoseg.catalog import model_folder
from geoseg.commands.labelled_data import data_root_option, figures_line
from geoseg.labelled_data import evaluate_package


@click.command("evaluate")
@click.argument("model")
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
    default="test",
    show_default=True,
    help="Which regions.",
)
@data_root_option
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model. [all cores]")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(
    model: str,
    config_file: Path,
    split: str,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Compare MODEL (a name or folder) with the labels of whole regions: IoU per class, mIoU and accuracy.

    Classes are those that `geoseg map` gives these pixels. Figures are pooled over the split's regions, and
    given for each region.
    """
    folder = model_folder(model)
    evaluation = evaluate_package(folder, config_file, split, data_root, device, threads)
    figures = evaluation.to_json()
    if as_json:
        click.echo(json.dumps({"model": str(folder), **figures}, indent=2))
        return
    for region in figures["regions"]:
        click.echo(figures_line(region["name"], region))
    click.echo(figures_line(f"all of {split}", figures))
