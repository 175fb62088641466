"""`geoseg train`: from a configuration to a model package."""

import json
import shlex
from pathlib import Path

import click

from geoseg.commands.labelled_data import data_root_option, figures_line
from geoseg.config.options import TrainOptions
from geoseg.training import Trained, train_package


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
@click.option(
    "--from",
    "start_from",
    metavar="MODEL",
    help="Train this model further, a name or a folder; its last layer is new where classes are. "
    "Without a recipe: rate 1e-4, batch 8, up to 100 epochs.",
)
@click.option("--epochs", type=click.FloatRange(0, min_open=True), help="Instead of the configuration's length.")
@click.option("--batch", type=click.IntRange(1), help="Crops at once, instead of the configuration's.")
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), help="Learning rate, instead of the configuration's."
)
@data_root_option
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint, in MODEL.training.")
@click.option("--skip-bad", is_flag=True, help="Go on without scenes that cannot be opened.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the configuration's.")
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model. [all cores]")
@click.option("--json", "as_json", is_flag=True, help="Write the outcome as JSON.")
def train(
    config_file: Path,
    output: Path,
    start_from: str | None,
    epochs: float | None,
    batch: int | None,
    lr: float | None,
    data_root: Path | None,
    resume: bool,
    skip_bad: bool,
    seed: int | None,
    device: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train a model on regions of labelled scenes and write it as a package.

    Checkpoints and the log lie in MODEL.training beside it. The weights with the best validation mIoU are
    packed; test regions are read once, after that, for the figures on the card. Ctrl-C finishes the step and
    keeps it; --resume goes on.
    """
    trained = train_package(
        config_file,
        output,
        data_root,
        options=TrainOptions(start_from, epochs, batch, lr, seed),
        resume=resume,
        skip_bad=skip_bad,
        device=device,
        threads=threads,
    )
    for line in trained.skipped:
        click.echo(f"skipped {line}", err=True)
    following = _next_command(output, trained)
    if as_json:
        click.echo(json.dumps(_document(output, trained, following), indent=2))
        return
    early = "" if trained.iterations == trained.planned else f", ended early of {trained.planned}"
    click.echo(f"{output}: iteration {trained.iteration}, the best of {trained.iterations} on val{early}")
    for evaluation in trained.evaluations:
        click.echo(figures_line(evaluation.split, evaluation.to_json()))
    click.echo(f"next: {following}")


def _next_command(output: Path, trained: Trained) -> str:
    """What maps a scene that was not trained on, to be pasted as it is."""
    run = output.with_name(f"{output.name}-map")
    return shlex.join(["geoseg", "map", trained.scene, "--model", _as_path(output), "-o", str(run)])


def _document(output: Path, trained: Trained, following: str) -> dict[str, object]:
    return {
        "model": str(output),
        "iteration": trained.iteration,
        "iterations": trained.iterations,
        "planned_iterations": trained.planned,
        "skipped": list(trained.skipped),
        "evaluations": [evaluation.to_json() for evaluation in trained.evaluations],
        "next": following,
    }


def _as_path(folder: Path) -> str:
    """The folder as `--model` takes it: a bare name would be looked up among the bundled models."""
    text = str(folder)
    return text if "/" in text else f"./{text}"
