"""`geoseg train`: from a configuration to a model package."""

from pathlib import Path

import click

from geoseg.commands.labelled_data import data_root_option, figures_line
from geoseg.training import train_package


@click.command("train")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    help="YAML file with data, model and recipe.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the MODEL to write."
)
@data_root_option
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint, in MODEL.training.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the configuration's.")
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model. [all cores]")
def train(
    config_file: Path,
    output: Path,
    data_root: Path | None,
    resume: bool,
    seed: int | None,
    device: str | None,
    threads: int | None,
) -> None:
    """Train a model on regions of labelled scenes and write it as a package.

    Checkpoints and the log lie in MODEL.training beside it. The weights with the best validation mIoU are
    packed; test regions are read once, after that, for the figures on the card.
    """
    trained = train_package(
        config_file, output, data_root, resume=resume, seed=seed, device=device, threads=threads
    )
    click.echo(f"{output}: iteration {trained.iteration}, the best of {trained.iterations} on val")
    for evaluation in trained.evaluations:
        click.echo(figures_line(evaluation.split, evaluation.to_json()))
    click.echo(f"next: geoseg map SCENE --model {_as_path(output)} -o RUN")


def _as_path(folder: Path) -> str:
    """The folder as `--model` takes it: a bare name would be looked up among the bundled models."""
    text = str(folder)
    return text if "/" in text else f"./{text}"
