"""From the weights that were best to a model package: calibrated, judged, with its card, README and page."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from geoseg.agreement import measure_agreement
from geoseg.calibration import calibrate_network
from geoseg.config import TrainConfig
from geoseg.evaluation import Evaluation
from geoseg.labelled_data import coding_of, evaluate_model, imagery_of, shared_iou
from geoseg.models.architecture import build
from geoseg.models.card import Calibration
from geoseg.models.package import load_package, save_package
from geoseg.report.model_readme import FAILURES_NAME, write_model_readme
from geoseg.settled import Settled
from geoseg.train.card import draft, history, split_metrics
from geoseg.train.checkpoint import Progress, load_best
from geoseg.train.device import place
from geoseg.train.scenes import Source, open_scenes
from geoseg.train.start import Start
from geoseg.training_outcome import show_training


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went.

    Attributes:
        iteration: Of the weights that were packed, the best on the validation regions.
        iterations: How many were done.
        planned: How many there were to be; more, where the run ended early.
        evaluations: The package on whole regions, of split val and, where there is one, test.
        calibration: Of the packed weights; None where there was to be none.
        before: IoU by class, on the last of these splits, of the model that it started from; of classes that both
            have and that have a layer, so empty without such a model.
        skipped: Why scenes were left out, a line for each.
        following: What to type to map a scene of split test, or else val.
        page: Shows the training.
    """

    iteration: int
    iterations: int
    planned: int
    evaluations: tuple[Evaluation, ...]
    calibration: Calibration | None
    before: dict[str, float | None]
    skipped: tuple[str, ...]
    following: str
    page: Path


def pack(
    config: TrainConfig,
    root: Path,
    sources: tuple[Source, ...],
    skipped: tuple[str, ...],
    start: Start,
    settled: Settled,
    done: Progress,
    folder: Path,
    output: Path,
    trained_on: str,
    device: str,
) -> Trained:
    """Write the package of a training that ended, and show how it went.

    Args:
        config: Of the training.
        root: Folder that its paths start from.
        sources: Its scenes, checked.
        skipped: Why scenes were left out.
        start: What it began from.
        settled: What it measured before it began.
        done: Where it ended.
        folder: Has best.pt and log.csv, and gets the page.
        output: Gets the package.
        trained_on: "cpu" or "cuda".
        device: What the model is judged on.

    Raises:
        ConfigError: There are no best weights, or the package cannot be written.
        SceneError: A scene cannot be read.
    """
    chosen = torch.device(device)
    network = build(start.architecture)
    load_best(folder, network, torch.device("cpu"))
    judged = [split for split in ("val", "test") if any(source.split == split for source in sources)]
    calibration = None
    if config.training.calibrate:
        # best.pt stays as it was trained: what is packed is that, divided.
        calibration = calibrate_network(
            place(network, chosen),
            settled.imagery,
            config,
            sources,
            judged,
            chosen,
            start.activation,
            overlapping=start.overlapping,
        )
    before = _before(start, config, sources, judged[-1], device)
    training = history(
        config, start, settled.recipe, done, trained_on, skipped, {judged[-1]: before}, settled.workers
    )
    # Measured on the weights as they were written, so the figures are those that a user gets.
    save_package(output, draft(config, start, settled.imagery, training, {}), network)
    model = load_package(output)
    evaluations = tuple(evaluate_model(model, config, sources, split, device) for split in judged)
    metrics = {evaluation.split: split_metrics(evaluation.to_json()) for evaluation in evaluations}
    agreement = measure_agreement(model, config, sources, root, device)
    card = draft(config, start, settled.imagery, training, metrics, calibration, agreement)
    packed = save_package(output, card, network)
    coding, last = coding_of(config, sources), [source for source in sources if source.split == judged[-1]]
    with open_scenes(last[:1], settled.imagery, coding) as (scene,):
        # What has no place on earth cannot be mapped.
        following = next_command(scene.source.image if scene.grid.has_place else "SCENE", output)
    validation = [source for source in sources if source.split == "val"]
    with open_scenes(validation, settled.imagery, coding) as scenes:
        page = show_training(
            folder / "report",
            folder / "log.csv",
            card,
            place(network, chosen),
            chosen,
            scenes,
            [evaluation.to_json() for evaluation in evaluations],
            done.best_iteration,
            following,
            [(f"{name} on {judged[-1]}", f"IoU {words}") for name, words in improved(before, evaluations[-1])],
            failures=output / FAILURES_NAME,
        )
    write_model_readme(output, packed)
    return Trained(
        iteration=done.best_iteration,
        iterations=done.iteration,
        planned=settled.recipe.iterations,
        evaluations=evaluations,
        calibration=calibration,
        before=before,
        skipped=skipped,
        following=following,
        page=page,
    )


def _before(
    start: Start, config: TrainConfig, sources: tuple[Source, ...], split: str, device: str
) -> dict[str, float | None]:
    """What the model to start from reaches on a split without training, on the pixels of the new one."""
    imagery = start.normalization(imagery_of(config))
    if start.base is None or imagery is None:
        return {}
    return shared_iou(start.base, imagery, config, sources, split, device)


def improved(before: Mapping[str, float | None], after: Evaluation) -> list[tuple[str, str]]:
    """What fine-tuning did for classes, in words such as "0.02 before, 0.48 after".

    Args:
        before: IoU of the model that it started from, by class.
        after: The new model, on the same split.
    """
    figures = after.figures()
    return [(name, f"{_iou(iou)} before, {_iou(figures[f'{name}.iou'])} after") for name, iou in before.items()]


def _iou(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def next_command(scene: str, output: Path) -> str:
    """What maps a scene with the new model, to be pasted as it is."""
    # As `--model` takes a folder: a bare name would be looked up among the bundled models.
    model = str(output) if len(output.parts) > 1 else f"./{output}"
    run = output.with_name(f"{output.name}-map")
    return shlex.join(["geoseg", "map", scene, "--model", model, "-o", str(run)])
