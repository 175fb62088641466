"""From a configuration to a model package: train, choose the best weights, judge them, write the card."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch

from geoseg.agreement import annotated_twice, measure_agreement
from geoseg.calibration import calibrate_network
from geoseg.config import TrainConfig, load_train_config, write_config
from geoseg.config.options import TrainOptions
from geoseg.data_arguments import DataArguments, config_from_arguments
from geoseg.errors import ConfigError, GeosegError, StoppedError
from geoseg.evaluate import Evaluation
from geoseg.fitting import fit_network
from geoseg.labelled_data import checked_sources, coding_of, data_folder, evaluate_model
from geoseg.models.architecture import build
from geoseg.models.card import Calibration
from geoseg.models.package import load_package, save_package
from geoseg.predict import choose_device
from geoseg.report.model_readme import FAILURES_NAME, write_model_readme
from geoseg.runner import is_disk_full
from geoseg.threads import torch_threads
from geoseg.train.card import draft, history, split_metrics
from geoseg.train.checkpoint import load_best
from geoseg.train.device import check_precision, place
from geoseg.train.freeze import Frozen
from geoseg.train.scenes import open_scenes
from geoseg.train.start import Start, seeded
from geoseg.training_outcome import show_training

_MAX_SEED = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went.

    Attributes:
        iteration: Of the weights that were packed, the best on the validation regions.
        iterations: How many were done.
        planned: How many there were to be; more, where the run ended early.
        evaluations: The package on whole regions, of split val and, where there is one, test.
        calibration: Of the packed weights; None where there was to be none.
        skipped: Why scenes were left out, a line for each.
        following: What to type to map a scene of split test, or else val.
        page: Shows the training.
    """

    iteration: int
    iterations: int
    planned: int
    evaluations: tuple[Evaluation, ...]
    calibration: Calibration | None
    skipped: tuple[str, ...]
    following: str
    page: Path


def train_package(
    given: Path | DataArguments,
    output: Path,
    data_root: Path | None,
    *,
    options: TrainOptions,
    resume: bool,
    skip_bad: bool,
    device: str | None,
    threads: int | None,
    tensorboard: bool = False,
) -> Trained:
    """Train, choose, judge and show; arguments and errors as in `geoseg.train_model`."""
    if threads is not None and threads < 1:
        raise GeosegError(f"expected at least 1 thread, got {threads}")
    if options.seed is not None and not 0 <= options.seed <= _MAX_SEED:
        raise GeosegError(f"expected a seed from 0 to {_MAX_SEED}, got {options.seed}")
    if isinstance(given, DataArguments):
        config, root = config_from_arguments(given, output.name, options), Path.cwd()
    else:
        config, root = load_train_config(given, options), data_folder(data_root, given)
    if config.start_from is not None:
        config = config.model_copy(update={"training": config.training.for_fine_tuning()})
    try:
        with torch_threads(threads):
            return _train(config, output, root, resume, skip_bad, device, tensorboard)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise StoppedError(f"the disk of {output} is full: make room, then continue with --resume") from error


def _train(
    config: TrainConfig,
    output: Path,
    root: Path,
    resume: bool,
    skip_bad: bool,
    device: str | None,
    tensorboard: bool,
) -> Trained:
    chosen = choose_device(device)
    check_precision(config.training.precision, torch.device(chosen))
    # Before anything is written or measured, since what does not fit together is refused here.
    start = Start.of(config, root)
    sources, skipped = checked_sources(config, root, skip_bad=skip_bad)
    annotated_twice(config, sources, root)
    names = config.label_set().names
    network = seeded(start, names, config.training.seed)
    Frozen(network, config.training.freeze)
    folder = _training_folder(output, resume)
    write_config(folder / "config.yaml", config)

    events = folder / "events" if tensorboard else None
    fitted = fit_network(config, sources, network, start, torch.device(chosen), folder, resume, events)

    network = build(start.architecture)
    load_best(folder, network, torch.device("cpu"))
    done = fitted.progress
    judged = [split for split in ("val", "test") if any(source.split == split for source in sources)]
    calibration = None
    if config.training.calibrate:
        # best.pt stays as it was trained: what is packed is that, divided.
        calibration = calibrate_network(
            place(network, torch.device(chosen)),
            fitted.imagery,
            config,
            sources,
            judged,
            torch.device(chosen),
            start.activation,
            overlapping=start.overlapping,
        )
    training = history(config, start, fitted.recipe, done, chosen.partition(":")[0], skipped)
    # Measured on the weights as they were written, so the figures are those that a user gets.
    save_package(output, draft(config, start, fitted.imagery, training, {}), network)
    model = load_package(output)
    evaluations = tuple(evaluate_model(model, config, sources, split, device) for split in judged)
    metrics = {evaluation.split: split_metrics(evaluation.to_json()) for evaluation in evaluations}
    agreement = measure_agreement(model, config, sources, root, device)
    card = draft(config, start, fitted.imagery, training, metrics, calibration, agreement)
    packed = save_package(output, card, network)
    coding, last = coding_of(config, sources), [source for source in sources if source.split == judged[-1]]
    with open_scenes(last[:1], fitted.imagery, coding) as (scene,):
        # What has no place on earth cannot be mapped.
        following = next_command(scene.source.image if scene.grid.has_place else "SCENE", output)
    validation = [source for source in sources if source.split == "val"]
    with open_scenes(validation, fitted.imagery, coding) as scenes:
        page = show_training(
            folder / "report",
            folder / "log.csv",
            card,
            place(network, torch.device(chosen)),
            torch.device(chosen),
            scenes,
            [evaluation.to_json() for evaluation in evaluations],
            done.best_iteration,
            following,
            failures=output / FAILURES_NAME,
        )
    write_model_readme(output, packed)
    return Trained(
        done.best_iteration,
        done.iteration,
        fitted.recipe.iterations,
        evaluations,
        calibration,
        skipped,
        following,
        page,
    )


def _training_folder(output: Path, resume: bool) -> Path:
    """Where checkpoints lie; refused when something of another run is in the way."""
    folder = output.with_name(output.name + ".training")
    if not resume:
        for path in (output / "card.json", folder / "last.pt"):
            if path.exists():
                raise ConfigError(
                    f"expected a new output, {path} is there already: continue with --resume, or choose another -o"
                )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror}; name another -o") from error
    return folder


def next_command(scene: str, output: Path) -> str:
    """What maps a scene with the new model, to be pasted as it is."""
    # As `--model` takes a folder: a bare name would be looked up among the bundled models.
    model = str(output) if len(output.parts) > 1 else f"./{output}"
    run = output.with_name(f"{output.name}-map")
    return shlex.join(["geoseg", "map", scene, "--model", model, "-o", str(run)])
