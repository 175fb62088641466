"""`geoseg evaluate`: a model package against the labels of a split."""

import json
import os
from pathlib import Path

import click

from geoseg.commands.labelled_data import (
    coding_of,
    data_folder,
    data_root_option,
    figures_line,
    predictor_of,
    sources_of,
)
from geoseg.config import load_train_config
from geoseg.errors import ConfigError
from geoseg.evaluate import Evaluation
from geoseg.evaluate import evaluate as evaluate_model
from geoseg.models.package import find_model, load_package
from geoseg.tiling import Lattice


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
    search = [Path(folder) for folder in os.environ.get("GEOSEG_MODEL_PATH", "").split(os.pathsep) if folder]
    folder = find_model(model, search)
    evaluation = evaluate_package(folder, config_file, split, data_root, device, threads)
    figures = evaluation.to_json()
    if as_json:
        click.echo(json.dumps({"model": str(folder), **figures}, indent=2))
        return
    for region in figures["regions"]:
        click.echo(figures_line(region["name"], region))
    click.echo(figures_line(f"all of {split}", figures))


def evaluate_package(
    folder: Path,
    config_file: Path,
    split: str,
    data_root: Path | None,
    device: str | None,
    threads: int | None,
) -> Evaluation:
    """Judge a package on disk on a split.

    Args:
        folder: The package.
        config_file: Lists the scenes, labels and regions.
        split: The regions to judge on.
        data_root: Where the configuration's paths start.
        device: As `--device`.
        threads: CPU threads; all cores when not given.

    Raises:
        ConfigError: The configuration is wrong, or its classes are not the model's.
        ModelError: The package cannot be used.
        SceneError: A raster cannot be opened or used.
    """
    config = load_train_config(config_file)
    sources = sources_of(config, data_folder(data_root))
    model = load_package(folder)
    if config.label_set().names != model.labels.names:
        raise ConfigError(
            f"{config_file}: expected the model's classes {', '.join(model.labels.names)}, "
            f"got {', '.join(config.label_set().names)}"
        )
    return evaluate_model(
        predictor_of(model.build(), device, threads),
        model.imagery,
        model.labels,
        Lattice(model.card.tile.size_px, model.card.tile.overlap_px),
        sources,
        coding_of(config),
        split,
    )
