"""A recipe: how a network is trained, with every length in iterations."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from geoseg.config.recipe import Stage, TrainingConfig

_VALIDATIONS = 50
"""Validations of a run at most, where the configuration does not say how often."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train; what is not explained here is as in the configuration's training section.

    Attributes:
        batch: Crops that the network sees at once, of each worker.
        iterations: Length of the run, in steps of the optimizer.
        optimizer: "adamw" or "sgd".
        lr: The highest learning rate.
        validate_every: Iterations between validations.
        accumulate: Batches of one iteration, of each worker.
        schedule: How the learning rate changes.
        warmup: Iterations in which it rises.
        weight_decay: Decoupled for AdamW, L2 for SGD.
        momentum: For SGD only.
        nesterov: For SGD only.
        clip_norm: Longest gradient, or None.
        ema: Decay of the moving average of the weights, or None.
        freeze: Stages of the encoder that stay as they are; a number means the first so many.
        freeze_norm: Whether batch normalization keeps the statistics that it begins with.
        sync_batch_norm: Whether batch statistics are those of all workers' batches.
        patience: Validations in a row without a better mIoU after which the run ends; None goes on.
        min_iterations: No run ends before.
        precision: "fp32", or "bf16" or "fp16" under autocast.
        checkpoint_seconds: Most seconds between checkpoints.
        checkpoint_every: Iterations between them, or None.
    """

    batch: int
    iterations: int
    optimizer: Literal["adamw", "sgd"]
    lr: float
    validate_every: int
    accumulate: int = 1
    schedule: Literal["poly", "cosine", "one-cycle", "constant"] = "poly"
    warmup: int = 0
    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False
    clip_norm: float | None = None
    ema: float | None = None
    freeze: int | tuple[Stage, ...] = ()
    freeze_norm: bool = False
    sync_batch_norm: bool = False
    patience: int | None = None
    min_iterations: int = 0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpoint_seconds: float = 600
    checkpoint_every: int | None = None

    @classmethod
    def of(cls, settings: TrainingConfig, windows: int, workers: int = 1) -> Self:
        """The recipe of a configuration, for epochs of a given length.

        Args:
            settings: Says the length in iterations or in epochs.
            windows: Of an epoch, as many as the training ground has cells (`Cells.epoch_length`).
            workers: Who train together: each iteration sees the crops of all of them.
        """
        epoch = max(1, math.ceil(windows / (settings.batch * settings.accumulate * workers)))
        iterations = settings.iterations
        if iterations is None:
            assert settings.epochs is not None
            iterations = max(1, round(settings.epochs * epoch))
        # Where an epoch is a few iterations, a validation after each would take longer than the training.
        validate_every = settings.validate_every or max(epoch, math.ceil(iterations / _VALIDATIONS))
        early = settings.early_stop
        return cls(
            batch=settings.batch,
            iterations=iterations,
            optimizer=settings.optimizer,
            lr=settings.lr,
            validate_every=min(validate_every, iterations),
            accumulate=settings.accumulate,
            schedule=settings.schedule,
            warmup=min(settings.warmup, iterations - 1),
            weight_decay=settings.weight_decay,
            momentum=settings.momentum,
            nesterov=settings.nesterov,
            clip_norm=settings.clip_norm,
            ema=settings.ema,
            freeze=settings.freeze,
            freeze_norm=settings.freeze_norm,
            sync_batch_norm=settings.sync_batch_norm,
            patience=None if early is None else early.patience,
            min_iterations=0 if early is None else round(early.min_epochs * epoch),
            precision=settings.precision,
            checkpoint_seconds=settings.checkpoint_minutes * 60,
            checkpoint_every=settings.checkpoint_every,
        )
