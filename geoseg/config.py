"""Configuration files: YAML in, checked and frozen values out, with errors that name the key."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS, LabelClass, LabelSet

Split = Literal["train", "val", "test"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


_YAML_CHARS = 2**20
_YAML_VALUE_CHARS = 10_000
_YAML_VALUES = 100_000
_YAML_DEPTH = 32
"""Bounds on a configuration, each far beyond what one needs: a line for each of ten thousand scenes fits."""


class _Section(BaseModel):
    """What all sections share: unknown keys are refused, values cannot be changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchitectureConfig(_Section):
    """The network to train.

    Attributes:
        name: "unet" (Ronneberger et al. 2015), a U-Net with a ResNet encoder, or DeepLabV3+ (Chen et al. 2018).
        width: Factor on the number of channels everywhere; 1 is the published size.
        output_stride: Of DeepLabV3+: input pixels per pixel of its deepest features.
        separable: Of DeepLabV3+: whether the 3x3 convolutions after the encoder are depthwise separable.
        encoder_weights: torchvision's weights of the encoder, a .pth or .safetensors file relative to the data
            root, to begin from; null begins from chance.
    """

    name: Literal[
        "unet",
        "unet_resnet18",
        "unet_resnet34",
        "unet_resnet50",
        "unet_resnet101",
        "deeplabv3plus_resnet18",
        "deeplabv3plus_resnet34",
        "deeplabv3plus_resnet50",
        "deeplabv3plus_resnet101",
    ]
    width: Positive = 1.0
    output_stride: Literal[8, 16] = 16
    separable: bool = False
    encoder_weights: str | None = None

    @model_validator(mode="after")
    def _has_an_encoder(self) -> Self:
        if self.encoder_weights is not None and self.name == "unet":
            raise ValueError(
                "encoder_weights: the classic unet has no ResNet encoder, name one such as unet_resnet18"
            )
        if self.encoder_weights is not None and self.width != 1:
            raise ValueError(f"encoder_weights: they are for width 1, got width {self.width}")
        return self

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Later arguments are left out at their defaults: the fingerprints of older runs stay as they are.
        later = {"output_stride": 16, "separable": False, "encoder_weights": None}
        return {key: value for key, value in dump(self).items() if key not in later or value != later[key]}


class ImageryConfig(_Section):
    """The pixels that the model expects, in the raster's own numbers.

    Attributes:
        bands: Band names in the order of the model's input channels.
        dtype: Data type of the rasters, as numpy names it.
        value_range: Least and greatest pixel value, inclusive.
        ground_resolution_m: Ground length of a pixel in metres.
        mean: Per band; measured on the training regions when not given.
        std: Per band; measured on the training regions when not given.
    """

    bands: Annotated[tuple[str, ...], Field(min_length=1)]
    dtype: Literal["uint8", "uint16", "int16", "float32"]
    value_range: tuple[float, float]
    ground_resolution_m: Positive
    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _together(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("give both mean and std, or neither to have them measured")
        for what, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.bands):
                raise ValueError(f"expected {len(self.bands)} values of {what}, one per band, got {len(values)}")
        if len(set(self.bands)) != len(self.bands):
            raise ValueError(f"band names must differ, got {', '.join(self.bands)}")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"expected a value_range [low, high], got {list(self.value_range)}")
        return self


class ClassConfig(_Section):
    """One class of the model; its id is its position in the list, from 0.

    Attributes:
        name: Lower-case identifier.
        layer: The vector layer of its objects, or null for none.
        kind: "thing" for countable objects, "stuff" for the rest.
        color: "#rrggbb".
    """

    name: str
    layer: str | None
    kind: Literal["thing", "stuff"]
    color: str

    @model_validator(mode="after")
    def _is_a_class(self) -> Self:
        self.to_label_class()
        return self

    def to_label_class(self) -> LabelClass:
        """The class as the rest of geoseg knows it."""
        return LabelClass(self.name, self.layer, self.kind, self.color)


class RegionConfig(_Section):
    """Polygons that say which part of a raster a split owns.

    Attributes:
        file: GeoJSON, relative to the data root; its `crs` member is honoured.
        where: Properties, with the values that a feature must have to be taken; empty takes all.
    """

    file: str
    where: dict[str, str | int | float | bool | None] = {}


class SourceConfig(_Section):
    """One scene with its label raster.

    Attributes:
        image: The scene, relative to the data root.
        labels: The label raster, relative to the data root.
        split: Which split the region belongs to.
        region: The part of the scene that is used; all of it when not given.
    """

    image: str
    labels: str
    split: Split
    region: RegionConfig | None = None


class AugmentationConfig(_Section):
    """Random changes of training crops.

    Attributes:
        flips: Mirror left-right and top-bottom.
        rotations: Turn by multiples of 90 degrees.
        color_jitter: Strength of random gain per band and of random contrast, as a fraction; 0 is off.
    """

    flips: bool = True
    rotations: bool = True
    color_jitter: Annotated[float, Field(ge=0, lt=1)] = 0.0


class LossConfig(_Section):
    """Weights of the loss terms."""

    cross_entropy: NotNegative = 1.0
    dice: NotNegative = 1.0

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.cross_entropy + self.dice == 0:
            raise ValueError("expected cross_entropy or dice above 0, got 0 for both: nothing would be learned")
        return self


class TrainingConfig(_Section):
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


class TrainConfig(_Section):
    """A training run: the data, the model, and what its card says.

    Attributes:
        kind: Always "train".
        name: Of the model.
        description: What it maps and what it was trained on.
        licence: Of the weights.
        attribution: Who made the data.
        architecture: The network.
        imagery: The pixels it expects.
        classes: What it tells apart.
        label_values: From values of the label rasters to class names.
        ignore_values: Values of the label rasters that are not learned and not judged.
        data: Scenes with labels; train, val and test are regions.
        training: How to train.
    """

    kind: Literal["train"]
    name: Annotated[str, Field(min_length=1)]
    description: str
    licence: str
    attribution: str
    architecture: ArchitectureConfig
    imagery: ImageryConfig
    classes: Annotated[tuple[ClassConfig, ...], Field(min_length=2, max_length=NODATA_CLASS)]
    label_values: dict[int, str]
    ignore_values: tuple[int, ...] = ()
    data: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    training: TrainingConfig

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = self.label_set().names
        for value, name in self.label_values.items():
            if name not in names:
                raise ValueError(f"label_values.{value}: expected one of {', '.join(names)}, got {name!r}")
        unlabelled = [name for name in names if name not in self.label_values.values()]
        if unlabelled:
            raise ValueError(f"label_values: no label value stands for {', '.join(unlabelled)}")
        both = sorted(set(self.ignore_values) & set(self.label_values))
        if both:
            raise ValueError(f"ignore_values: {both[0]} is in label_values too")
        for split in ("train", "val"):
            if not any(source.split == split for source in self.data):
                raise ValueError(f"data: no entry has split: {split}")
        return self

    def label_set(self) -> LabelSet:
        """The classes, in order."""
        return LabelSet(tuple(label.to_label_class() for label in self.classes))

    def label_ids(self) -> dict[int, int]:
        """From values of the label rasters to class ids; ignored values to `NODATA_CLASS`."""
        names = self.label_set().names
        ids = {value: names.index(name) for value, name in self.label_values.items()}
        return ids | dict.fromkeys(self.ignore_values, NODATA_CLASS)


def load_train_config(path: Path) -> TrainConfig:
    """Read and check the configuration of a training run.

    Args:
        path: A YAML file; only plain data is read from it (`yaml.safe_load`).

    Raises:
        ConfigError: The file cannot be read, is no YAML mapping, or has a wrong key or value. The message
            names the key, what was expected and what came.
    """
    try:
        if path.exists() and not path.is_file():
            raise ConfigError(f"{path}: expected a YAML file, got a directory or device")
        with path.open("rb") as stream:
            # No more than is looked at, however large the file is.
            text = stream.read(4 * _YAML_CHARS + 1).decode("utf-8")
        values = load_yaml(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path}: expected a readable YAML file: {reason}") from error
    except (yaml.YAMLError, ValueError) as error:  # a ValueError: a date or number that is none, too much of it
        raise ConfigError(f"{path}: expected YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected a mapping of keys to values, got {type(values).__name__}")
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from error


def load_yaml(text: str) -> Any:  # noqa: ANN401  # whatever the text says; a model checks it
    """Plain data from YAML (`yaml.safe_load`), with bounds on what a short text can become.

    Aliases let a text of a few lines stand for billions of values ("billion laughs"), so the values are counted
    with aliases written out, before anything is built.

    Raises:
        ValueError: The text is too long, nested too deeply, or stands for too many or too long values.
        yaml.YAMLError: It is no YAML.
    """
    if len(text) > _YAML_CHARS:
        raise ValueError(f"at most {_YAML_CHARS} characters, got {len(text)}")
    count = _Count()
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        count.add(event)
    return yaml.safe_load(text)


class _Count:
    """Counts the values that a YAML text stands for, event by event, with aliases written out."""

    def __init__(self) -> None:
        self._values = 0
        # For each collection that is open its anchor and what was counted before it; for each anchor its values.
        self._opened: list[tuple[str | None, int]] = []
        self._anchored: dict[str | None, int] = {}

    def add(self, event: yaml.Event) -> None:
        match event:
            case yaml.AliasEvent():
                if event.anchor not in self._anchored:
                    raise ValueError(f"alias *{event.anchor} names no finished value")
                self._values += self._anchored[event.anchor]
            case yaml.ScalarEvent():
                if len(event.value) > _YAML_VALUE_CHARS:
                    raise ValueError(f"at most {_YAML_VALUE_CHARS} characters a value, got {len(event.value)}")
                self._values += 1
                self._anchored[event.anchor] = 1
            case yaml.CollectionStartEvent():
                self._opened.append((event.anchor, self._values))
                self._values += 1
            case yaml.CollectionEndEvent():
                anchor, before = self._opened.pop()
                self._anchored[anchor] = self._values - before
        if len(self._opened) > _YAML_DEPTH:
            raise ValueError(f"at most {_YAML_DEPTH} levels of nesting")
        if self._values > _YAML_VALUES:
            raise ValueError(f"at most {_YAML_VALUES} values, aliases written out")


def _keys_beside(place: tuple[int | str, ...]) -> list[str]:
    """The keys that are known where an unknown one stands."""
    section: type[BaseModel] = TrainConfig
    for part in place[:-1]:
        if isinstance(part, str):
            annotation = section.model_fields[part].annotation
            inner = [annotation, *get_args(annotation)]
            section = next(kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel))
    return list(section.model_fields)


def _explain(error: ValidationError) -> str:
    """The first problem on one line, as `key: what was expected, got what came`, and how many more there are."""
    first, *others = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"])
    match first["type"]:
        case "extra_forbidden":
            nearest = difflib.get_close_matches(str(first["loc"][-1]), _keys_beside(first["loc"]), n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else "remove it or correct its spelling"
            text = f"{key}: unknown key, {hint}"
        case "missing":
            text = f"{key}: expected a value, the key is missing"
        case "value_error":
            # Our own validators say what came, and where it is not the section itself.
            text = f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
        case _:
            expected = first["msg"].removeprefix("Input should be ")
            came = repr(first["input"])
            text = f"{key}: expected {expected}, got {came if len(came) <= 80 else came[:77] + '...'}"
    return text if not others else f"{text} (and {len(others)} more)"
