import csv
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.config.losses import LossConfig
from geoseg.errors import ConfigError, GeosegError
from geoseg.models.architecture import Architecture, build
from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.checkpoint import Identity, Progress, load_best
from geoseg.train.fit import fit
from geoseg.train.losses import build_loss
from geoseg.train.metrics import Confusion
from geoseg.train.recipe import Recipe
from geoseg.train.schedule import poly_lr
from geoseg.train.steps import Step

CPU = torch.device("cpu")
NAMES = ("dark", "light")
RECIPE = Recipe(batch=2, iterations=12, optimizer="adamw", lr=0.05, validate_every=4)
SGD: dict[str, Any] = {"optimizer": "sgd", "nesterov": True, "clip_norm": 0.5}
EVERYTHING: dict[str, Any] = {"schedule": "one-cycle", "accumulate": 2, "ema": 0.9}


class StoppedByTheTestError(Exception):
    pass


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    # Dropout draws from torch's generator, batch normalization keeps buffers: both must survive a resume.
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))


def make_batch(number: int) -> Batch:
    rng = np.random.default_rng(number)
    images_nchw = rng.normal(size=(2, 1, 8, 8)).astype(np.float32)
    names = (f"left {number}", f"right {number}")
    return Batch(images_nchw, (images_nchw[:, 0] > 0).astype(np.uint8), names)


def validate(model: nn.Module) -> Confusion:
    batch = make_batch(10_000)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        predicted_nhw = model(torch.from_numpy(batch.images_nchw)).argmax(1).numpy().astype(np.uint8)
    model.train(was_training)
    return Confusion.of(batch.labels_nhw[0], predicted_nhw[0], 2)


def run(
    folder: Path,
    recipe: Recipe = RECIPE,
    make: Callable[[int], Batch] = make_batch,
    judge: Callable[[nn.Module], Confusion] = validate,
    fingerprint: str = "f" * 64,
    resume: bool = False,
    after: Callable[[Step], None] = lambda _: None,
    model: nn.Module | None = None,
) -> tuple[nn.Module, Progress, list[Step]]:
    folder.mkdir(exist_ok=True)
    model, steps = model or tiny_model(), list[Step]()

    def report(step: Step) -> None:
        steps.append(step)
        after(step)

    loss, candidates = build_loss(LossConfig(), 2), Candidates.of(2)
    identity = Identity(fingerprint)
    progress = fit(model, make, judge, loss, candidates, recipe, folder, identity, NAMES, CPU, resume, report)
    return model, progress, steps


def stop_after(iteration: int, how: Callable[[], None]) -> Callable[[Step], None]:
    def after(step: Step) -> None:
        if step.iteration == iteration:
            how()

    return after


def fail() -> None:
    raise StoppedByTheTestError


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        assert float(row.pop("seconds")) >= 0
        assert float(row.pop("samples_per_s")) >= 0
    return rows


def same(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(theirs[name], tensor) for name, tensor in one.state_dict().items())


def best_of(folder: Path) -> nn.Module:
    best = tiny_model()
    load_best(folder, best, CPU)
    return best


@pytest.mark.parametrize(("change", "stops"), [({}, (8,)), (SGD, (5,)), (EVERYTHING, (3, 4, 7, 11))])
def test_an_accident_costs_the_work_since_the_checkpoint_and_changes_nothing(
    tmp_path: Path, change: dict[str, Any], stops: tuple[int, ...]
) -> None:
    recipe = replace(RECIPE, checkpoint_every=3, **change)
    whole, progress, _ = run(tmp_path / "whole", recipe)
    parts = tmp_path / "parts"
    for number, stop in enumerate(stops):
        with pytest.raises(StoppedByTheTestError):
            run(parts, recipe, resume=number > 0, after=stop_after(stop, fail))
    resumed, resumed_progress, steps = run(parts, recipe, resume=True)
    kept = [done for done in (3, 4, 6, 8, 9) if done < stops[-1] or (done == stops[-1] and done % 4 == 0)]
    assert steps[0].iteration == max(kept) + 1
    assert resumed_progress == progress
    assert same(resumed, whole)
    assert same(best_of(parts), best_of(tmp_path / "whole"))
    assert log_rows(parts) == log_rows(tmp_path / "whole")
    assert [row["iteration"] for row in log_rows(parts)] == ["4", "8", "12"]


@pytest.mark.parametrize("change", [{}, EVERYTHING])
def test_a_signal_at_any_step_finishes_it_and_nothing_is_lost(tmp_path: Path, change: dict[str, Any]) -> None:
    recipe = replace(RECIPE, **change)
    whole, progress, _ = run(tmp_path / "whole", recipe)
    parts = tmp_path / "parts"
    before = signal.getsignal(signal.SIGINT)
    for stop in range(1, recipe.iterations, 2):
        # The signal comes after the report of one step; the next is finished, kept, and not validated any more.
        with pytest.raises(KeyboardInterrupt):
            run(parts, recipe, resume=stop > 1, after=stop_after(stop, interrupt))
        assert signal.getsignal(signal.SIGINT) is before
    resumed, resumed_progress, steps = run(parts, recipe, resume=True)
    assert [step.iteration for step in steps] == [12]
    assert resumed_progress == progress
    assert same(resumed, whole)
    assert log_rows(parts) == log_rows(tmp_path / "whole")


def test_a_signal_stops_a_validation_which_is_done_again(tmp_path: Path) -> None:
    whole, progress, _ = run(tmp_path / "whole")

    def judge(_: nn.Module) -> Confusion:
        interrupt()
        return Confusion.zero(2)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", judge=judge)
    resumed, resumed_progress, steps = run(tmp_path / "parts", resume=True)
    assert [step.iteration for step in steps] == [4, *range(5, 13)]
    assert steps[0].validation is not None
    assert resumed_progress == progress
    assert same(resumed, whole)


def test_a_finished_run_resumes_to_nothing(tmp_path: Path) -> None:
    model, progress, _ = run(tmp_path / "run")
    again, same_progress, steps = run(tmp_path / "run", resume=True)
    assert steps == []
    assert same_progress == progress
    assert same(again, model)


def test_without_resume_a_run_starts_anew_and_the_seed_decides_it(tmp_path: Path) -> None:
    first, _, _ = run(tmp_path / "run", replace(RECIPE, **EVERYTHING))
    second, _, steps = run(tmp_path / "run", replace(RECIPE, **EVERYTHING))
    assert len(steps) == 12
    assert same(first, second)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ConfigError, match="another configuration"):
        run(tmp_path / "run", fingerprint="0" * 64, resume=True)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "sgd"},
        {"schedule": "one-cycle", "ema": 0.9},
        {"precision": "bf16", "schedule": "cosine", "warmup": 5, "clip_norm": 1.0},
    ],
)
def test_it_learns(tmp_path: Path, change: dict[str, Any]) -> None:
    _, progress, steps = run(tmp_path / "run", replace(RECIPE, iterations=60, **change))
    assert progress.best_miou > 0.7
    assert np.mean([step.loss for step in steps[-10:]]) < 0.5 * np.mean([step.loss for step in steps[:10]])


def judged_as(*right: int) -> Callable[[nn.Module], Confusion]:
    """Validations with so many pixels of 100 right, one after the other."""
    quality = iter(right)

    def judge(_: nn.Module) -> Confusion:
        hits = next(quality)
        return Confusion(np.array([[hits, 100 - hits], [100 - hits, hits]], np.int64))

    return judge


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_best_weights_are_those_that_the_best_validation_saw(tmp_path: Path, ema: float | None) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    judged = judged_as(10, 90, 20)

    def judge(model: nn.Module) -> Confusion:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return judged(model)

    model, progress, _ = run(tmp_path / "run", replace(RECIPE, ema=ema), judge=judge)
    assert (progress.iteration, progress.best_iteration) == (12, 8)
    best = best_of(tmp_path / "run").state_dict()
    assert all(torch.equal(best[name], tensor) for name, tensor in seen[1].items())
    last = model.state_dict()
    assert all(torch.equal(last[name], tensor) for name, tensor in seen[2].items()) == (ema is None)


@pytest.mark.parametrize(
    ("patience", "min_iterations", "right", "end"),
    [
        (2, 0, (50, 60, 55, 60, 70), 16),  # as good as the best is not better
        (2, 20, (50, 60, 55, 60, 59), 20),
        (2, 0, (50, 60, 55, 70, 65), 20),  # a better one begins the count anew
        (1, 0, (50, 40), 8),
        (None, 0, (50, 40, 30, 20, 10), 20),
    ],
)
def test_a_run_ends_early_when_validations_are_no_better(
    tmp_path: Path, patience: int | None, min_iterations: int, right: tuple[int, ...], end: int
) -> None:
    recipe = replace(RECIPE, iterations=20, patience=patience, min_iterations=min_iterations)
    _, progress, steps = run(tmp_path / "run", recipe, judge=judged_as(*right))
    assert steps[-1].iteration == progress.iteration == end
    assert progress.best_iteration == 4 * (1 + max(range(end // 4), key=lambda number: right[number]))
    _, again, steps = run(tmp_path / "run", recipe, judge=judged_as(), resume=True)
    assert (again, steps) == (progress, [])


def test_the_count_of_validations_goes_on_with_the_run(tmp_path: Path) -> None:
    recipe = replace(RECIPE, iterations=20, patience=2)
    with pytest.raises(StoppedByTheTestError):
        run(tmp_path / "run", recipe, judge=judged_as(50, 40), after=stop_after(9, fail))
    _, progress, _ = run(tmp_path / "run", recipe, judge=judged_as(45), resume=True)
    assert (progress.iteration, progress.stopped) == (12, True)


@pytest.mark.parametrize("name", ["unet", "unet_resnet18", "deeplabv3plus_resnet18"])
def test_frozen_stages_do_not_change_and_the_rest_does(tmp_path: Path, name: Any) -> None:  # noqa: ANN401  # a literal
    torch.manual_seed(0)
    model = build(Architecture(name, 1, 2, 0.0625))
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    stages: Any = ("stem", "layer2")
    run(tmp_path / "run", replace(RECIPE, iterations=2, freeze=stages, ema=0.5), model=model)
    starts = ("down.0.", "down.2.") if name == "unet" else ("encoder.conv1", "encoder.bn1", "encoder.layer2.")
    changed = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert {key for key in before if key.startswith(starts)}
    assert not {key for key in changed if key.startswith(starts)}
    assert {key for key in before if not key.startswith(starts) and "num_batches" not in key} <= changed


def test_the_log_has_a_row_for_each_validation(tmp_path: Path) -> None:
    _, _, steps = run(tmp_path / "run", replace(RECIPE, iterations=10))
    rows = log_rows(tmp_path / "run")
    assert [row["iteration"] for row in rows] == ["4", "8", "10"]
    assert list(rows[0]) == ["iteration", "lr", "loss", "val_miou", "val_iou_dark", "val_iou_light"]
    assert float(rows[1]["loss"]) == pytest.approx(np.mean([step.loss for step in steps[4:8]]), abs=1e-5)
    assert float(rows[1]["lr"]) == pytest.approx(poly_lr(0.05, 7, 10), rel=1e-5)
    assert [step.iteration for step in steps if step.validation is not None] == [4, 8, 10]


def test_a_class_that_validation_does_not_hold_is_left_empty(tmp_path: Path) -> None:
    def judge(_: nn.Module) -> Confusion:
        return Confusion(np.array([[5, 0], [0, 0]], np.int64))

    run(tmp_path / "run", judge=judge)
    assert {row["val_iou_light"] for row in log_rows(tmp_path / "run")} == {""}


def test_validation_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in the validation regions, found none"):
        run(tmp_path / "run", judge=lambda _: Confusion.zero(2))


def test_a_loss_that_is_not_finite_stops_and_names_the_crop_with_a_bad_image(tmp_path: Path) -> None:
    def poisoned(number: int) -> Batch:
        batch = make_batch(number)
        if number == 13:
            batch.images_nchw[1, 0, 0, 0] = np.nan
        return batch

    words = "got nan at iteration 7: the image of right 13 holds values that are no numbers"
    with pytest.raises(GeosegError, match=words):
        run(tmp_path / "run", replace(RECIPE, accumulate=2), make=poisoned)


def test_a_network_that_diverges_is_told_from_a_bad_image(tmp_path: Path) -> None:
    model = tiny_model()
    with torch.no_grad():
        next(model.parameters()).fill_(math.inf)
    with pytest.raises(
        GeosegError, match="at iteration 1: the images are sound, but the network's answer to left 0"
    ):
        run(tmp_path / "run", model=model)


def test_an_error_while_reading_surfaces(tmp_path: Path) -> None:
    def broken(number: int) -> Batch:
        if number == 2:
            raise StoppedByTheTestError
        return make_batch(number)

    with pytest.raises(StoppedByTheTestError):
        run(tmp_path / "run", make=broken)


def test_half_precision_keeps_whole_weights(tmp_path: Path) -> None:
    model, _, steps = run(tmp_path / "run", replace(RECIPE, precision="bf16", iterations=4))
    assert all(math.isfinite(step.loss) for step in steps)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with pytest.raises(ConfigError, match="fp16 is for CUDA, this run is on cpu"):
        run(tmp_path / "run", replace(RECIPE, precision="fp16"))
