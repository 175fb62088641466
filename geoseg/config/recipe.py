"""How long and how to train: sections of a configuration."""

from typing import Annotated, Literal

from pydantic import Field

from geoseg.config.losses import LossConfig
from geoseg.config.sections import NotNegative, Positive, Section


class AugmentationConfig(Section):
    """Random changes of training crops.

    Attributes:
        flips: Mirror left-right and top-bottom.
        rotations: Turn by multiples of 90 degrees.
        color_jitter: Strength of random gain per band and of random contrast, as a fraction; 0 is off.
    """

    flips: bool = True
    rotations: bool = True
    color_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0


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
        loss: Its terms, their weights and parameters.
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
