"""`geoseg evaluate`: a model package against the labels of a split."""

import json
from pathlib import Path

import click
import torch

from geoseg.commands.labelled_data import (
    coding_of,
    data_folder,
    data_root_option,
    figures_line,
    sources_of,
)
from geoseg.config import load_train_config
from geoseg.errors import ConfigError
from geoseg.evaluate import Evaluation
from geoseg.evaluate import evaluate as evaluate_model
from geoseg.models.package import load_package
from geoseg.train.device import choose_device, place


@click.command("evaluate")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="Configuration that lists the scenes, labels and regions.",
)
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Which regions."
)
@data_root_option
@click.option("--device", "device_name", default="cpu", show_default=True, help="cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def evaluate(
    model: Path,
    config_file: Path,
    split: str,
    data_root: Path | None,
    device_name: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Compare MODEL's classes with the labels of whole regions: IoU per class, mIoU and accuracy.

    The last layer's best class of every labelled pixel counts, from 512 px tiles whose outer 64 px are not
    used. Figures are pooled over the split's regions, and given for each region.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    evaluation = evaluate_package(model, config_file, split, data_root, choose_device(device_name))
    figures = evaluation.to_json()
    if as_json:
        click.echo(json.dumps({"model": str(model), **figures}, indent=2))
        return
    for region in figures["regions"]:
        click.echo(figures_line(region["name"], region))
    click.echo(figures_line(f"all of {split}", figures))


def evaluate_package(
    model: Path, config_file: Path, split: str, data_root: Path | None, device: torch.device
) -> Evaluation:
    """Judge a package on disk on a split.

    Args:
        model: The package's folder.
        config_file: Lists the scenes, labels and regions.
        split: The regions to judge on.
        data_root: Where the configuration's paths start.
        device: Where to compute.

    Raises:
        ConfigError: The configuration is wrong, or its classes are not the model's.
        ModelError: The package cannot be used.
        SceneError: A raster cannot be opened or used.
    """
    config = load_train_config(config_file)
    loaded = load_package(model)
    if config.label_set().names != loaded.labels.names:
        raise ConfigError(
            f"{config_file}: expected the model's classes {', '.join(loaded.labels.names)}, "
            f"got {', '.join(config.label_set().names)}"
        )
    sources = sources_of(config, data_folder(data_root))
    network = place(loaded.build(), device)
    return evaluate_model(network, loaded.imagery, loaded.labels, sources, coding_of(config), split, device)
