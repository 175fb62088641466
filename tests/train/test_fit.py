import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from geoseg.config.losses import LossConfig
from geoseg.errors import ConfigError, GeosegError
from geoseg.train.candidates import Candidates
from geoseg.train.checkpoint import Progress, load_best
from geoseg.train.fit import Batch, Recipe, Step, fit, poly_lr
from geoseg.train.losses import build_loss
from geoseg.train.metrics import Confusion

Optimizer = Literal["adamw", "sgd"]

CPU = torch.device("cpu")
OPTIMIZERS = pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
NAMES = ("dark", "light")
RECIPE = Recipe(
    batch=2,
    iterations=12,
    optimizer="adamw",
    lr=0.05,
    weight_decay=1e-4,
    momentum=0.9,
    validate_every=4,
    precision="fp32",
)


LOSS, CODING = build_loss(LossConfig(), 2), Candidates.of(2)


class StoppedByTheTestError(Exception):
    pass


def tiny_model() -> nn.Module:
    torch.manual_seed(0)
    # Dropout draws from torch's generator, batch normalization keeps buffers: both must survive a resume.
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))


def make_batch(iteration: int) -> Batch:
    rng = np.random.default_rng(iteration)
    images_nchw = rng.normal(size=(2, 1, 8, 8)).astype(np.float32)
    return images_nchw, (images_nchw[:, 0] > 0).astype(np.int64)


def validate(model: nn.Module) -> Confusion:
    images_nchw, ids_nhw = make_batch(10_000)
    model.eval()
    with torch.inference_mode():
        predicted_nhw = model(torch.from_numpy(images_nchw)).argmax(1).numpy().astype(np.uint8)
    model.train()
    return Confusion.of(ids_nhw[0].astype(np.uint8), predicted_nhw[0], 2)


def run(
    folder: Path,
    recipe: Recipe = RECIPE,
    make: Callable[[int], Batch] = make_batch,
    judge: Callable[[nn.Module], Confusion] = validate,
    fingerprint: str = "f" * 64,
    resume: bool = False,
    stop_after: int | None = None,
) -> tuple[nn.Module, Progress, list[Step]]:
    folder.mkdir(exist_ok=True)
    model, steps = tiny_model(), list[Step]()

    def report(step: Step) -> None:
        steps.append(step)
        if step.iteration == stop_after:
            raise StoppedByTheTestError

    return (
        model,
        fit(model, make, judge, LOSS, CODING, recipe, folder, fingerprint, NAMES, CPU, resume, report),
        steps,
    )


def log_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


@given(st.floats(1e-6, 1), st.integers(1, 10_000))
def test_the_poly_schedule_falls_from_lr_towards_0(lr: float, iterations: int) -> None:
    assert poly_lr(lr, 0, iterations) == lr
    rates = [poly_lr(lr, iteration, iterations) for iteration in range(0, iterations, max(1, iterations // 20))]
    assert rates == sorted(rates, reverse=True)
    assert poly_lr(lr, iterations, iterations) == 0
    assert poly_lr(lr, iterations // 2, iterations) == pytest.approx(
        lr * math.pow(1 - (iterations // 2) / iterations, 0.9)
    )


@OPTIMIZERS
@pytest.mark.parametrize("stop_after", [5, 8, 11])
def test_an_interrupted_run_ends_with_the_same_weights(
    tmp_path: Path, optimizer: Optimizer, stop_after: int
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer)
    whole, progress, _ = run(tmp_path / "whole", recipe)
    with pytest.raises(StoppedByTheTestError):
        run(tmp_path / "parts", recipe, stop_after=stop_after)
    resumed, resumed_progress, steps = run(tmp_path / "parts", recipe, resume=True)
    assert steps[0].iteration == stop_after // 4 * 4 + 1
    assert resumed_progress == progress
    for name, tensor in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], tensor), name
    rows, resumed_rows = log_rows(tmp_path / "whole"), log_rows(tmp_path / "parts")
    for row in (*rows, *resumed_rows):
        row.pop("seconds")
    assert resumed_rows == rows
    assert [row["iteration"] for row in rows] == ["4", "8", "12"]


def test_a_finished_run_resumes_to_nothing(tmp_path: Path) -> None:
    model, progress, _ = run(tmp_path / "run")
    again, same_progress, steps = run(tmp_path / "run", resume=True)
    assert steps == []
    assert same_progress == progress
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())


def test_without_resume_a_run_starts_anew(tmp_path: Path) -> None:
    first, _, _ = run(tmp_path / "run")
    second, _, steps = run(tmp_path / "run")
    assert len(steps) == 12
    assert all(torch.equal(second.state_dict()[name], tensor) for name, tensor in first.state_dict().items())


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(ConfigError, match="another configuration"):
        run(tmp_path / "run", fingerprint="0" * 64, resume=True)


@OPTIMIZERS
def test_it_learns(tmp_path: Path, optimizer: Optimizer) -> None:
    _, progress, steps = run(tmp_path / "run", replace(RECIPE, optimizer=optimizer, iterations=60))
    assert progress.best_miou > 0.7
    assert np.mean([step.loss for step in steps[-10:]]) < 0.5 * np.mean([step.loss for step in steps[:10]])


def test_the_best_weights_are_those_of_the_best_validation(tmp_path: Path) -> None:
    seen: list[dict[str, torch.Tensor]] = []
    quality = iter([10, 90, 20])

    def judge(model: nn.Module) -> Confusion:
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        right = next(quality)
        return Confusion(np.array([[right, 100 - right], [100 - right, right]], np.int64))

    _, progress, _ = run(tmp_path / "run", judge=judge)
    assert (progress.iteration, progress.best_iteration) == (12, 8)
    best = tiny_model()
    load_best(tmp_path / "run", best, CPU)
    assert all(torch.equal(best.state_dict()[name], tensor) for name, tensor in seen[1].items())


def test_the_log_has_a_row_for_each_validation(tmp_path: Path) -> None:
    _, _, steps = run(tmp_path / "run", replace(RECIPE, iterations=10))
    rows = log_rows(tmp_path / "run")
    assert [row["iteration"] for row in rows] == ["4", "8", "10"]
    assert list(rows[0]) == ["iteration", "lr", "loss", "val_miou", "val_iou_dark", "val_iou_light", "seconds"]
    assert float(rows[1]["loss"]) == pytest.approx(np.mean([step.loss for step in steps[4:8]]), abs=1e-5)
    assert float(rows[1]["lr"]) == pytest.approx(poly_lr(0.05, 7, 10), rel=1e-5)


def test_a_class_that_validation_does_not_hold_is_left_empty(tmp_path: Path) -> None:
    def judge(_: nn.Module) -> Confusion:
        return Confusion(np.array([[5, 0], [0, 0]], np.int64))

    run(tmp_path / "run", judge=judge)
    assert {row["val_iou_light"] for row in log_rows(tmp_path / "run")} == {""}


def test_validation_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="in the validation regions, found none"):
        run(tmp_path / "run", judge=lambda _: Confusion.zero(2))


def test_a_loss_that_is_not_finite_stops_and_names_the_iteration(tmp_path: Path) -> None:
    def poisoned(iteration: int) -> Batch:
        images_nchw, ids_nhw = make_batch(iteration)
        if iteration == 6:
            images_nchw[0, 0, 0, 0] = np.nan
        return images_nchw, ids_nhw

    with pytest.raises(GeosegError, match="got nan at iteration 7"):
        run(tmp_path / "run", make=poisoned)


def test_an_error_while_reading_surfaces(tmp_path: Path) -> None:
    def broken(iteration: int) -> Batch:
        if iteration == 2:
            raise StoppedByTheTestError
        return make_batch(iteration)

    with pytest.raises(StoppedByTheTestError):
        run(tmp_path / "run", make=broken)


def test_bf16_trains_in_mixed_precision(tmp_path: Path) -> None:
    model, _, steps = run(tmp_path / "run", replace(RECIPE, precision="bf16", iterations=4))
    assert all(math.isfinite(step.loss) for step in steps)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
