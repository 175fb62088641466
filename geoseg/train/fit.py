"""The training loop: optimizer, schedule, validation, checkpoints and log."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoseg.errors import ConfigError, GeosegError
from geoseg.train.candidates import Candidates
from geoseg.train.checkpoint import Progress, load_checkpoint, save_best, save_checkpoint
from geoseg.train.losses import Loss
from geoseg.train.metrics import Confusion
from geoseg.train.prefetch import prefetch
from geoseg.train.target import Target

_AHEAD = 4
"""Batches made ahead; at 16 crops of 256 px in 3 bands that is 100 MB."""

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; the attributes are those of the configuration's training section.

    Attributes:
        batch: Crops per iteration.
        iterations: Length of the run.
        optimizer: "adamw" or "sgd".
        lr: Learning rate at the start.
        weight_decay: Decoupled for AdamW, L2 for SGD.
        momentum: For SGD only.
        validate_every: Iterations between validations.
        precision: "bf16" computes under autocast.
    """

    batch: int
    iterations: int
    optimizer: Literal["adamw", "sgd"]
    lr: float
    weight_decay: float
    momentum: float
    validate_every: int
    precision: Literal["fp32", "bf16"]


@dataclass(frozen=True, slots=True)
class Step:
    """What the loop reports after each iteration.

    Attributes:
        iteration: Iterations done, from 1.
        iterations: Length of the run.
        lr: Learning rate of this iteration.
        loss: Loss of this iteration.
        validation: Counts on the validation regions, if this iteration was followed by a validation.
        seconds: Since the run began, without earlier parts of a resumed run.
    """

    iteration: int
    iterations: int
    lr: float
    loss: float
    validation: Confusion | None
    seconds: float


def poly_lr(lr: float, iteration: int, iterations: int) -> float:
    """The poly schedule, lr x (1 - iteration / iterations)^0.9 (Chen et al. 2018, DeepLab, section 4.1)."""
    return lr * (1 - iteration / iterations) ** 0.9


def fit(
    model: nn.Module,
    make_batch: Callable[[int], Batch],
    validate: Callable[[nn.Module], Confusion],
    loss: Loss,
    candidates: Candidates,
    recipe: Recipe,
    folder: Path,
    fingerprint: str,
    class_names: tuple[str, ...],
    device: torch.device,
    resume: bool,
    report: Callable[[Step], None],
) -> Progress:
    """Train a model and keep the weights with the best validation mIoU.

    On one CPU, with the same thread count, a run that is interrupted and resumed gives the same weights as
    one that is not: batches depend on their number alone, and the checkpoint holds the rest.

    Args:
        model: On the device; changed in place.
        make_batch: The batch of an iteration (from 0): normalized images (N, band, row, column) and class
            ids (N, row, column). Called on a background thread.
        validate: Counts on the validation regions; called on this thread.
        loss: What to make small.
        candidates: The meaning of coded labels.
        recipe: How to train.
        folder: Gets last.pt, best.pt and log.csv.
        fingerprint: Names data, model and recipe; a checkpoint with another one is not continued.
        class_names: Columns of the log, by class id.
        device: Where the model is.
        resume: Continue from the checkpoint in the folder, if there is one.
        report: Called after each iteration.

    Returns:
        Where the run ended, with its best validation.

    Raises:
        GeosegError: The loss is not finite; names the iteration.
        ConfigError: The checkpoint belongs to another run, or validation finds no labels.
    """
    optimizer = _optimizer(model, recipe)
    progress = load_checkpoint(folder, fingerprint, model, optimizer, device) if resume else None
    progress = progress or Progress(iteration=0, best_iteration=0, best_miou=-1.0)
    log = _Log(folder / "log.csv", class_names, progress.iteration)
    began = time.monotonic()
    losses: list[float] = []
    model.train()
    batches = prefetch(make_batch, progress.iteration, recipe.iterations, _AHEAD)
    for iteration, batch in enumerate(batches, progress.iteration):
        lr = poly_lr(recipe.lr, iteration, recipe.iterations)
        for group in optimizer.param_groups:
            group["lr"] = lr
        losses.append(_step(model, optimizer, batch, loss, candidates, recipe, device, iteration + 1))
        step = Step(iteration + 1, recipe.iterations, lr, losses[-1], None, time.monotonic() - began)
        if step.iteration % recipe.validate_every == 0 or step.iteration == recipe.iterations:
            confusion = validate(model)
            step = replace(step, validation=confusion, seconds=time.monotonic() - began)
            miou = confusion.miou()
            progress = replace(progress, iteration=step.iteration)
            if miou is None:
                raise ConfigError("expected labelled pixels with data in the validation regions, found none")
            if miou > progress.best_miou:
                progress = replace(progress, best_iteration=step.iteration, best_miou=miou)
                save_best(folder, model)
            log.row(step, float(np.mean(losses)), confusion)
            losses.clear()
            save_checkpoint(folder, fingerprint, progress, model, optimizer)
        report(step)
    return progress


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    match recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
        case "sgd":
            return torch.optim.SGD(
                model.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
            )


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    loss: Loss,
    candidates: Candidates,
    recipe: Recipe,
    device: torch.device,
    number: int,
) -> float:
    """One iteration; returns its loss."""
    images_nchw, ids_nhw = batch
    inputs_nchw = torch.from_numpy(images_nchw).to(device, memory_format=torch.channels_last)
    target = Target.of_labels(torch.from_numpy(ids_nhw).to(device), candidates)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        logits_nchw = model(inputs_nchw)
    cost = loss(logits_nchw, target)
    value = cost.item()
    if not math.isfinite(value):
        raise GeosegError(
            f"expected a finite loss, got {value} at iteration {number}: lower training.lr, or check the "
            "imagery for values that are no measurements"
        )
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(cost)
    optimizer.step()
    return value


class _Log:
    """log.csv: a row per validation; rows after the iteration that a run resumes from are dropped."""

    def __init__(self, path: Path, class_names: tuple[str, ...], start: int) -> None:
        self._path = path
        header = ["iteration", "lr", "loss", "val_miou", *(f"val_iou_{name}" for name in class_names), "seconds"]
        rows: list[list[str]] = []
        if start and path.exists():
            with path.open(newline="", encoding="utf-8") as stream:
                rows = [row for row in list(csv.reader(stream))[1:] if int(row[0]) <= start]
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])

    def row(self, step: Step, mean_loss: float, confusion: Confusion) -> None:
        """Append a validation, with the mean loss since the last one; an IoU that does not exist is empty."""
        values = [confusion.miou(), *confusion.iou()]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        row = [step.iteration, f"{step.lr:.6g}", f"{mean_loss:.5f}", *cells, f"{step.seconds:.1f}"]
        with self._path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(row)
