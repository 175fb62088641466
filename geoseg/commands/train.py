"""`geoseg train`: from a configuration, or scenes and labels, to a model package."""

import json
from pathlib import Path

import click
from click.core import ParameterSource

from geoseg.commands.card_lines import calibration_lines
from geoseg.commands.config_file import as_typed
from geoseg.commands.labelled_data import data_root_option, figures_line
from geoseg.commands.place import DiskPath
from geoseg.config.options import TrainOptions, WorkerOptions
from geoseg.config.run import RunConfig
from geoseg.errors import GeosegError
from geoseg.notation import data_arguments
from geoseg.packing import Trained, improved
from geoseg.training import train_package

_OF_ARGUMENTS = frozenset({"labels", "class_attribute", "values", "width_m", "rest", "ground_resolution_m"})


def _as_its_run_says(context: click.Context, _param: click.Parameter, file: Path | None) -> Path | None:
    if file is not None:
        as_typed(context, RunConfig.load(file), Path())
    return file


@click.command("train")
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    is_eager=True,
    callback=_as_its_run_says,
    help="YAML file with data, model and recipe; or",
)
@click.option("--image", "images", multiple=True, metavar="SCENE", help="a scene with labels; may be repeated, and")
@click.option(
    "--labels",
    multiple=True,
    metavar="[CLASS=]FILE",
    help="its labels: a vector file or class raster; or a vector file for each class, repeated.",
)
@click.option("--class-attribute", help="Of --labels: the attribute that names the class. [class]")
@click.option(
    "--value",
    "values",
    multiple=True,
    metavar="VALUE=CLASS",
    help="Of --labels: what a value of the raster or attribute means: a class, unknown or ignore.",
)
@click.option(
    "--width",
    "width_m",
    type=click.FloatRange(0, min_open=True),
    metavar="METRES",
    help="Of --labels that are lines.",
)
@click.option(
    "--rest",
    metavar="CLASS|unknown|ignore",
    help="Of --labels: what ground without a label is. [vectors: the class other; rasters: ignore]",
)
@click.option(
    "--resolution",
    "ground_resolution_m",
    type=click.FloatRange(0, min_open=True),
    metavar="METRES",
    help="Of --labels: ground length of the model's pixel. [the scene's, or that of --from]",
)
@click.option("-o", "--output", type=DiskPath(), required=True, help="Folder of the MODEL to write.")
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
@click.option("--resume", is_flag=True, help="Say that a run goes on; one that was begun does so by itself.")
@click.option(
    "--skip-bad", is_flag=True, help="Go on without scenes that are damaged or whose labels cover nothing."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Instead of the configuration's.")
@click.option("--device", help="cpu, cuda or cuda:N. [cuda if there is one, else cpu]")
@click.option("--threads", type=click.IntRange(1), help="CPU threads of the model, of each worker. [all cores]")
@click.option("--workers", type=click.IntRange(1), help="Train on so many processes together, with Ray. [none]")
@click.option("--address", metavar="auto|HOST:PORT", help="Of --workers: a running Ray cluster. [a local one]")
@click.option(
    "--storage",
    metavar="DIR|URL",
    help="Of --workers: where checkpoints are kept; on several machines a place that all share. [MODEL.training]",
)
@click.option("--tensorboard", is_flag=True, help="Write events to MODEL.training/events; log.csv is always there.")
@click.option("--json", "as_json", is_flag=True, help="Write the outcome as JSON.")
@click.pass_context
def train(
    context: click.Context,
    config_file: Path | None,
    images: tuple[str, ...],
    labels: tuple[str, ...],
    class_attribute: str | None,
    values: tuple[str, ...],
    width_m: float | None,
    rest: str | None,
    ground_resolution_m: float | None,
    output: Path,
    start_from: str | None,
    epochs: float | None,
    batch: int | None,
    lr: float | None,
    data_root: Path | None,
    resume: bool,  # noqa: ARG001  # a run goes on by itself; older commands say so
    skip_bad: bool,
    seed: int | None,
    device: str | None,
    threads: int | None,
    workers: int | None,
    address: str | None,
    storage: str | None,
    tensorboard: bool,
    as_json: bool,
) -> None:
    """Train a model on regions of labelled scenes and write it as a package.

    From a configuration (--config), or from scenes and labels (--image, --labels): then part of the labelled ground
    is held back, in blocks, to choose and judge by, and MODEL.training/config.yaml says how it was done.

    Checkpoints, the log and report/report.html lie in MODEL.training beside the package. The weights with the best
    validation mIoU are packed, their probabilities calibrated on val (temperature scaling); test regions are read
    after that, for the figures on the card. Ctrl-C finishes the step and keeps it; the same command again goes on,
    also after an accident.

    With --workers each process sees a batch of its own at each step, and their gradients are added up: N workers
    do what one does with training.accumulate N times as large. A worker that dies costs what was done since the
    last checkpoint.
    """
    if (config_file is None) == (not images):
        raise GeosegError(
            "expected either --config FILE or --image SCENE with --labels FILE, got "
            f"{'neither' if config_file is None else 'both'}"
        )
    if config_file is not None:
        source_of = context.get_parameter_source
        misplaced = sorted(name for name in _OF_ARGUMENTS if source_of(name) is ParameterSource.COMMANDLINE)
        if misplaced:
            options = {parameter.name: parameter.opts[0] for parameter in context.command.params}
            raise GeosegError(f"{options[misplaced[0]]} goes with --image, not with --config: say it in the file")
    given = config_file or data_arguments(
        images, labels, class_attribute, values, width_m, rest, start_from, ground_resolution_m
    )
    trained = train_package(
        given,
        output,
        data_root,
        options=TrainOptions(start_from, epochs, batch, lr, seed),
        skip_bad=skip_bad,
        device=device,
        threads=threads,
        tensorboard=tensorboard,
        workers=WorkerOptions(workers, address, storage),
    )
    if trained is None:
        words = "trained already, with this configuration and these data: nothing is left to do"
        click.echo(json.dumps({"model": str(output), "finished_before": True}) if as_json else f"{output}: {words}")
        return
    for line in trained.skipped:
        click.echo(f"skipped {line}", err=True)
    if as_json:
        click.echo(json.dumps(_document(output, trained), indent=2))
        return
    early = "" if trained.iterations == trained.planned else f", ended early of {trained.planned}"
    click.echo(f"{output}: iteration {trained.iteration}, the best of {trained.iterations} on val{early}")
    for evaluation in trained.evaluations:
        click.echo(figures_line(evaluation.split, evaluation.to_json()))
    for line in () if trained.calibration is None else calibration_lines(trained.calibration):
        click.echo(line)
    for name, words in improved(trained.before, trained.evaluations[-1]):
        click.echo(f"{name}: {words} (IoU on {trained.evaluations[-1].split})")
    click.echo(f"report: {trained.page}")
    click.echo(f"next: {trained.following}")


def _document(output: Path, trained: Trained) -> dict[str, object]:
    return {
        "model": str(output),
        "iteration": trained.iteration,
        "iterations": trained.iterations,
        "planned_iterations": trained.planned,
        "skipped": list(trained.skipped),
        "evaluations": [evaluation.to_json() for evaluation in trained.evaluations],
        "calibration": None if trained.calibration is None else trained.calibration.model_dump(mode="json"),
        "iou_before": trained.before,
        "report": str(trained.page),
        "next": trained.following,
    }
