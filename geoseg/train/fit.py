"""The training loop: steps, validations, checkpoints and log, in an order that can be taken up anywhere."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geoseg.errors import ConfigError, StoppedError
from geoseg.train.batch import Batch
from geoseg.train.candidates import Candidates
from geoseg.train.checkpoint import Identity, Progress, Stateful, load_checkpoint, save_best, save_checkpoint
from geoseg.train.device import check_precision, check_sync_batch_norm
from geoseg.train.ema import Ema
from geoseg.train.freeze import Frozen
from geoseg.train.log import Log
from geoseg.train.losses import Loss
from geoseg.train.metrics import Confusion
from geoseg.train.prefetch import prefetch
from geoseg.train.recipe import Recipe
from geoseg.train.schedule import rates
from geoseg.train.stepper import Stepper
from geoseg.train.steps import Step
from geoseg.train.stopping import Stop, stops
from geoseg.train.team import ALONE, Team, synchronized

__all__ = ["Step", "fit"]

_AHEAD = 4
"""Batches made ahead; at 16 crops of 256 px in 3 bands that is 60 MB."""


def fit(
    model: nn.Module,
    make_batch: Callable[[int], Batch],
    validate: Callable[[nn.Module], Confusion],
    loss: Loss,
    candidates: Candidates,
    recipe: Recipe,
    folder: Path,
    identity: Identity,
    class_names: tuple[str, ...],
    device: torch.device,
    resume: bool,
    report: Callable[[Step], None],
    team: Team = ALONE,
    stop: Stop | None = None,
    commit: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train a model, alone or in a team, and keep the weights with the best validation mIoU.

    On one CPU, with the same thread count, a run that is interrupted anywhere and resumed gives the same weights
    as one that is not: batches depend on their number alone, and the checkpoint holds the rest. The same holds of
    several workers on CPUs. W workers do what one does with W times as many batches accumulated, but for batch
    statistics: each has those of its own crops, and the leader's are validated and kept.

    Args:
        model: On the device; changed in place. In a team all begin with the leader's weights.
        make_batch: The batch with a number, from 0; iteration i of W workers takes numbers i x accumulate x W to
            (i + 1) x accumulate x W - 1. Called on a background thread.
        validate: Counts on all validation regions, the same on all workers; called on this thread.
        loss: What is minimized.
        candidates: The meaning of labels.
        recipe: How to train.
        folder: Of the leader: gets last.pt, best.pt and log.csv. Of the others: may hold last.pt.
        identity: Names data, model and recipe; a checkpoint with another one is not continued.
        class_names: Columns of the log, by class id.
        device: Where the model is.
        resume: Continue from the checkpoint in the folder, if there is one.
        report: Called after each iteration, on each worker.
        team: Who train together; each calls this with the same arguments but for `make_batch`'s files, `folder`,
            and what is asked for on the way.
        stop: Whether the leader is asked to stop; by default signals ask.
        commit: Called on each worker after each checkpoint: makes it safe elsewhere.

    Returns:
        Where the run ended, with its best validation.

    Raises:
        GeosegError: The loss is not finite; names the crops.
        ConfigError: The checkpoint belongs to another run, the recipe does not fit the network or the device
            (fp16 and synchronized batch statistics need CUDA), or validation finds no labels.
        StoppedError: Memory does not suffice, or a file cannot be written.
        KeyboardInterrupt: A signal asked to stop; the step was finished and kept.
    """
    check_sync_batch_norm(device, asked=recipe.sync_batch_norm)
    if recipe.sync_batch_norm:
        model = synchronized(model)
    team.follow(model)
    if not team.leads:
        torch.manual_seed(torch.initial_seed() + team.rank)  # dropout drops elsewhere in other crops
    stepper = _stepper(model, loss, candidates, recipe, device, team)
    parts: dict[str, Stateful] = {"model": model, "optimizer": stepper.optimizer}
    if stepper.ema is not None:
        parts["ema"] = stepper.ema
    if stepper.scaler.is_enabled():
        parts["scaler"] = stepper.scaler
    progress = load_checkpoint(folder, identity, parts, device, team) if resume else None
    progress = progress or Progress()
    log = Log(folder / "log.csv", class_names, progress.validated) if team.leads else None
    with stops() if stop is None else contextlib.nullcontext(stop) as asked:
        place = _Place(folder, identity, parts, device, team, asked, log, report, commit)
        return _Run(stepper, validate, place, progress).to_the_end(make_batch)


def _stepper(
    model: nn.Module, loss: Loss, candidates: Candidates, recipe: Recipe, device: torch.device, team: Team
) -> Stepper:
    check_precision(recipe.precision, device)
    frozen = Frozen(model, recipe.freeze, norms=recipe.freeze_norm)
    ema = None if recipe.ema is None else Ema(model, recipe.ema)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    return Stepper(model, _optimizer(model, recipe), scaler, ema, frozen, loss, candidates, recipe, device, team)


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    decay = recipe.weight_decay
    match recipe.optimizer:
        case "adamw":
            return torch.optim.AdamW(learning, recipe.lr, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(
                learning, recipe.lr, momentum=recipe.momentum, weight_decay=decay, nesterov=recipe.nesterov
            )


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where a worker trains, with whom, and who is told; the log is the leader's."""

    folder: Path
    identity: Identity
    parts: dict[str, Stateful]
    device: torch.device
    team: Team
    stop: Stop
    log: Log | None
    report: Callable[[Step], None]
    commit: Callable[[Progress], None]


@dataclass(slots=True, eq=False)
class _Run:
    """A run under way."""

    stepper: Stepper
    validate: Callable[[nn.Module], Confusion]
    place: _Place
    progress: Progress
    began: float = field(default_factory=time.monotonic)
    saved: float = field(default_factory=time.monotonic)
    kept: int | None = None
    overdue: bool = False
    stepping_s: float = 0.0
    crops: int = 0

    @property
    def recipe(self) -> Recipe:
        return self.stepper.recipe

    @property
    def ended(self) -> bool:
        return self.progress.stopped or self.progress.iteration >= self.recipe.iterations

    @property
    def due(self) -> bool:
        """Whether a validation is; also when a run was stopped just before."""
        done = self.progress.iteration
        return done > self.progress.validated and (
            done % self.recipe.validate_every == 0 or done == self.recipe.iterations
        )

    def to_the_end(self, make_batch: Callable[[int], Batch]) -> Progress:
        team, report, each = self.place.team, self.place.report, self.recipe.accumulate
        if self.due:
            report(self.judged())

        def mine(number: int) -> Batch:
            return make_batch(team.number(number, each))

        first, last = self.progress.iteration * each, self.recipe.iterations * each
        with contextlib.closing(prefetch(mine, first, last, _AHEAD)) as batches:
            while not self.ended:
                self.one_step(batches)
                report(self.judged() if self.due else self.step(None))
                self.keep_now_and_then()
        return self.progress

    def one_step(self, batches: Iterator[Batch]) -> None:
        """Do an iteration; what was asked to stop stops after it."""
        clock, number = time.monotonic(), self.progress.iteration
        try:
            together = [next(batches) for _ in range(self.recipe.accumulate)]
        except MemoryError as error:
            raise StoppedError(
                "out of memory while crops were read: lower training.batch, accumulate or crop_px, or free "
                "memory and run the same command again"
            ) from error
        rates(self.recipe, number).apply(self.stepper.optimizer)
        loss = self.stepper.step(together, number + 1)
        self.progress = replace(self.progress, iteration=number + 1, losses=(*self.progress.losses, loss))
        self.stepping_s += time.monotonic() - clock
        self.crops += sum(len(batch.images_nchw) for batch in together) * self.place.team.size
        long_ago = time.monotonic() - self.saved >= self.recipe.checkpoint_seconds
        asked, self.overdue = self.place.team.led(self.place.stop.asked, long_ago)
        if asked:
            self.save()
            raise KeyboardInterrupt

    def judged(self) -> Step:
        """Validate, and keep the weights if they are the best, and a checkpoint."""
        self.place.team.follow_statistics(self.stepper.judged)
        try:
            with self.place.stop.at_once():
                confusion = self.validate(self.stepper.judged)
        except KeyboardInterrupt:
            self.save()  # it goes on with this validation
            raise
        miou, now = confusion.miou(), self.progress.iteration
        if miou is None:
            raise ConfigError("expected labelled pixels with data in the validation regions, found none")
        if miou > self.progress.best_miou:
            if self.place.team.leads:
                save_best(self.place.folder, self.stepper.judged)
            self.progress = replace(self.progress, best_iteration=now, best_miou=miou, stale=0)
        else:
            self.progress = replace(self.progress, stale=self.progress.stale + 1)
        patience = self.recipe.patience
        tired = patience is not None and self.progress.stale >= patience and now >= self.recipe.min_iterations
        step = self.step(confusion)
        if self.place.log is not None:
            self.place.log.row(step, float(np.mean(self.progress.losses)), confusion)
        self.progress = replace(self.progress, validated=now, stopped=tired, losses=())
        self.save()
        return step

    def step(self, validation: Confusion | None) -> Step:
        """What is reported of the last iteration."""
        done = self.progress.iteration
        return Step(
            iteration=done,
            iterations=self.recipe.iterations,
            lr=rates(self.recipe, done - 1).lr,
            loss=self.progress.losses[-1],
            validation=validation,
            seconds=time.monotonic() - self.began,
            samples_per_s=self.crops / self.stepping_s if self.stepping_s else 0.0,
        )

    def keep_now_and_then(self) -> None:
        """Write a checkpoint when the last one is long ago."""
        every, now = self.recipe.checkpoint_every, self.progress.iteration
        if self.kept != now and (self.overdue or (every is not None and now % every == 0)):
            self.save()

    def save(self) -> None:
        place = self.place
        save_checkpoint(place.folder, place.identity, self.progress, place.parts, place.device, place.team)
        place.commit(self.progress)
        self.saved, self.kept, self.overdue = time.monotonic(), self.progress.iteration, False
