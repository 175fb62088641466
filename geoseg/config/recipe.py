"""How long and how to train: sections of a configuration."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from geoseg.config.losses import LossConfig
from geoseg.config.sections import NotNegative, Positive, Section

MOST_BEND = 0.48
"""How far a field may move its control points, as a share of their distance, so that nothing folds over: below
1 / 2.0464 (Choi and Lee 2000, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, theorem 1)."""


_LATER_CHANGES: dict[str, Any] = {
    "scale": (1.0, 1.0),
    "rotate_deg": 0.0,
    "elastic_px": 0.0,
    "elastic_spacing_px": 64.0,
    "noise": 0.0,
    "blur_px": 0.0,
    "cutmix": 0.0,
    "mixup": 0.0,
}


class AugmentationConfig(Section):
    """Random changes of training crops.

    Attributes:
        flips: Mirror left-right and top-bottom.
        rotations: Turn by multiples of 90 degrees.
        color_jitter: Strength of random gain per band and of random contrast, as a fraction; 0 is off.
        scale: Least and greatest factor by which things appear larger; below a half, pixels would be skipped.
        rotate_deg: Turn by any angle up to this, either way; 0 is off.
        elastic_px: Most that a point is moved along each axis by a random smooth field; 0 is off.
        elastic_spacing_px: Distance of that field's control points: how smooth it is.
        noise: Greatest standard deviation of Gaussian noise, as a fraction of the value range, in half of the
            crops; 0 is off.
        blur_px: Greatest standard deviation of a Gaussian blur, in half of the crops; 0 is off.
        cutmix: Probability that a rectangle of another crop of the batch is pasted in; 0 is off.
        mixup: Both parameters of the beta distribution that shares of blended crops come from; 0 is off.
    """

    flips: bool = True
    rotations: bool = True
    color_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0
    scale: tuple[Annotated[float, Field(ge=0.5, le=4)], Annotated[float, Field(ge=0.5, le=4)]] = (1.0, 1.0)
    rotate_deg: Annotated[float, Field(ge=0, le=180)] = 0.0
    elastic_px: NotNegative = 0.0
    elastic_spacing_px: Annotated[float, Field(ge=4, allow_inf_nan=False)] = 64.0
    noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    blur_px: Annotated[float, Field(ge=0, le=16)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    mixup: NotNegative = 0.0

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Later keys are left out at their defaults: the fingerprints of older runs stay as they are.
        return {key: value for key, value in dump(self).items() if getattr(self, key) != _LATER_CHANGES.get(key)}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale: expected [least, greatest], got {list(self.scale)}")
        most = MOST_BEND * self.elastic_spacing_px
        if self.elastic_px > most:
            raise ValueError(
                f"elastic_px: expected at most {MOST_BEND} of elastic_spacing_px ({most:g}), or the image would "
                f"fold over itself, got {self.elastic_px:g}; lower it or raise elastic_spacing_px"
            )
        return self


Stage = Literal["stem", "layer1", "layer2", "layer3", "layer4"]
"""A stage of an encoder, by the depth of its features."""


class EarlyStopConfig(Section):
    """When a run ends before its length is over.

    Attributes:
        patience: Validations in a row without a better mIoU than the best.
        min_epochs: No run is shorter than this, in epochs.
    """

    patience: Annotated[int, Field(ge=1)] = 10
    min_epochs: NotNegative = 0.0


class TrainingConfig(Section):
    """How long and how to train.

    Attributes:
        crop_px: Side of the square training crops.
        batch: Crops that the network sees at once; of each worker, where several train together.
        accumulate: Batches whose gradients are added up for one iteration, as if they were one batch (but for
            batch statistics, which each has its own).
        iterations: Length of the run, in steps of the optimizer; or
        epochs: its length in epochs. The ground of split train is cut into cells of `crop_px`, and an epoch is as
            many iterations as it takes to see each of them that holds labels and data once (or as often as `weight`
            of its entry says), in a new order each time, by a window moved by up to half a cell. What
            `sampling.balance` draws besides counts as well, so that the ground then takes 1 / (1 - share) epochs.
        optimizer: AdamW (Loshchilov and Hutter 2019) or SGD with momentum.
        lr: The highest learning rate.
        schedule: How the rate changes: "poly", "cosine" and "one-cycle" end at (nearly) 0, "constant" does not.
        warmup: Iterations at the start in which the rate rises to `lr` in equal steps; of one-cycle the length of
            its rise, 30 % of the run where this is 0.
        weight_decay: Decoupled for AdamW, L2 for SGD.
        momentum: For SGD only.
        nesterov: For SGD only: look ahead by the momentum.
        clip_norm: Gradients longer than this, all weights together, are shortened to it; null leaves them.
        ema: Decay of the moving average of the weights, such as 0.999; the average is what is validated and
            packed then. Null keeps none.
        freeze: Stages of the encoder that stay as they are, by name, or the first so many; their batch statistics
            stay, too.
        freeze_norm: Whether batch normalization keeps the statistics that it begins with, as small batches have
            none worth measuring; its scales and offsets go on learning. For networks with statistics, from
            `start_from` or encoder weights; what has measured none yet, as a decoder on such an encoder, goes on
            measuring.
        sync_batch_norm: Whether batch statistics are those of the crops of all workers (CUDA only); otherwise
            each worker has its own, and the first one's are kept.
        loss: Its terms, their weights and parameters.
        validate_every: Iterations between validations, each of which may keep the weights as the best; by default
            an epoch.
        early_stop: When the run ends early; null never.
        seed: Of the first weights and of the crops.
        augmentation: Random changes of crops.
        precision: "bf16" and "fp16" compute under autocast; fp16, with scaled gradients, needs CUDA.
        checkpoint_minutes: Most minutes of work that an accident may cost; each validation is followed by a
            checkpoint besides.
        checkpoint_every: Iterations between checkpoints, besides; null for none.
        calibrate: Whether the packed weights are calibrated on split val after training (temperature scaling).
    """

    crop_px: Annotated[int, Field(ge=32, le=4096)] = 256
    batch: Annotated[int, Field(ge=1)] = 16
    accumulate: Annotated[int, Field(ge=1)] = 1
    iterations: Annotated[int, Field(ge=1)] | None = None
    epochs: Positive | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1e-3
    schedule: Literal["poly", "cosine", "one-cycle", "constant"] = "poly"
    warmup: Annotated[int, Field(ge=0)] = 0
    weight_decay: NotNegative = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    clip_norm: Positive | None = None
    ema: Annotated[float, Field(ge=0, lt=1)] | None = None
    freeze: Annotated[int, Field(ge=0, le=5)] | tuple[Stage, ...] = ()
    freeze_norm: bool = False
    sync_batch_norm: bool = False
    loss: LossConfig = LossConfig()
    validate_every: Annotated[int, Field(ge=1)] | None = None
    early_stop: EarlyStopConfig | None = None
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpoint_minutes: Positive = 10.0
    checkpoint_every: Annotated[int, Field(ge=1)] | None = None
    calibrate: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.iterations is not None and self.epochs is not None:
            raise ValueError(f"expected iterations or epochs, got both ({self.iterations} and {self.epochs:g})")
        if self.iterations is not None and self.warmup >= self.iterations:
            raise ValueError(f"expected a warmup below {self.iterations} iterations, got {self.warmup}")
        if self.loss.lacks_overlap:
            raise ValueError(
                f"loss: expected a term on overlap or pixels beside {', '.join(self.loss.terms)}, got none: add "
                "one, such as dice: 1"
            )
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov: it is for optimizer sgd with a momentum; remove it")
        return self

    def for_fine_tuning(self) -> Self:
        """The same with what suits a network that knows much already, wherever nothing was said.

        A learning rate of 1e-4, batches of 8 (or accumulated to 8 where a smaller one is set), 100 epochs at
        most and 50 at least, with an end where 10 validations in a row were not better.
        """
        batch = self.batch if "batch" in self.model_fields_set else _TUNED_BATCH
        tuned: dict[str, Any] = {
            "batch": batch,
            "accumulate": max(1, math.ceil(_TUNED_BATCH / batch)),
            "lr": 1e-4,
            "early_stop": EarlyStopConfig(patience=10, min_epochs=50),
        }
        if self.iterations is None:
            tuned["epochs"] = 100.0
        said = {key for key in tuned if key in self.model_fields_set and key != "batch"}
        return self.model_copy(update={key: value for key, value in tuned.items() if key not in said})

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        # Later keys are left out at their defaults, so that the fingerprints of older runs stay as they are.
        values = dump(self)
        if info.context == WHOLE:
            return values
        defaults = {key: field.default for key, field in type(self).model_fields.items()}
        return {
            key: value for key, value in values.items() if key not in _LATER or getattr(self, key) != defaults[key]
        }


_TUNED_BATCH = 8

WHOLE = "whole"
"""A context of `model_dump` in which nothing is left out."""

_LATER = {
    "accumulate",
    "iterations",
    "epochs",
    "schedule",
    "warmup",
    "nesterov",
    "clip_norm",
    "ema",
    "freeze",
    "freeze_norm",
    "sync_batch_norm",
    "validate_every",
    "early_stop",
    "checkpoint_minutes",
    "checkpoint_every",
    "calibrate",
}
"""Keys that older runs did not know, or could not leave out."""
