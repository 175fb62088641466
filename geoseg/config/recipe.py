"""How long and how to train: sections of a configuration."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from geoseg.config.sections import NotNegative, Positive, Section

MOST_BEND = 0.48
"""How far a field may move its control points, as a share of their distance, so that nothing folds over: below
1 / 2.0464 (Choi and Lee 2000, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, theorem 1)."""


_LATER: dict[str, Any] = {
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
        return {key: value for key, value in dump(self).items() if getattr(self, key) != _LATER.get(key)}

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


class LossConfig(Section):
    """Weights of the loss terms."""

    cross_entropy: NotNegative = 1.0
    dice: NotNegative = 1.0

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.cross_entropy + self.dice == 0:
            raise ValueError("expected cross_entropy or dice above 0, got 0 for both: nothing would be learned")
        return self


class TrainingConfig(Section):
    """How long and how to train.

    Attributes:
        crop_px: Side of the square training crops.
        batch: Crops per iteration.
        iterations: Length of the run; the learning rate reaches 0 at its end.
        optimizer: AdamW (Loshchilov and Hutter 2019) or SGD with momentum.
        lr: Learning rate at the start.
        weight_decay: Decoupled for AdamW, L2 for SGD.
        momentum: For SGD only.
        loss: Weights of the loss terms.
        validate_every: Iterations between validations, each of which may keep the weights as the best.
        seed: Of the first weights and of the crops.
        augmentation: Random changes of crops.
        precision: "bf16" computes under autocast.
    """

    crop_px: Annotated[int, Field(ge=32, le=4096)] = 256
    batch: Annotated[int, Field(ge=1)] = 16
    iterations: Annotated[int, Field(ge=1)]
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    loss: LossConfig = LossConfig()
    validate_every: Annotated[int, Field(ge=1)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    augmentation: AugmentationConfig = AugmentationConfig()
    precision: Literal["fp32", "bf16"] = "fp32"
