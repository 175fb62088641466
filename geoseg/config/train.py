"""The configuration of a training run."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from geoseg.config.data import IGNORE, UNKNOWN, SamplingConfig, SourceConfig, SplitsConfig
from geoseg.config.imagery import ClassConfig, ImageryConfig
from geoseg.config.recipe import TrainingConfig
from geoseg.config.sections import Positive, Section, explain
from geoseg.config.text import read_mapping
from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS, LabelSet


class ArchitectureConfig(Section):
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


class TrainConfig(Section):
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
        label_values: From values of the label rasters to class names, for entries of `data` without `values`.
        ignore_values: Values of the label rasters that are not learned and not judged.
        data: Scenes with labels; train, val and test are regions.
        splits: How entries with `split: auto` are divided.
        sampling: Which windows training draws.
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
    label_values: dict[int, str] = Field(default_factory=dict)
    ignore_values: tuple[int, ...] = ()
    data: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    splits: SplitsConfig = SplitsConfig()
    sampling: SamplingConfig = SamplingConfig()
    training: TrainingConfig

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = self.label_set().names
        for value, name in self.label_values.items():
            if name not in names:
                raise ValueError(f"label_values.{value}: expected one of {', '.join(names)}, got {name!r}")
        for number, entry in enumerate(self.data):
            self._check_classes(f"data.{number}", entry, names)
        labelled = [self.labelled_by(entry) for entry in self.data]
        unlabelled = [name for name in names if not any(some is None or name in some for some in labelled)]
        if unlabelled and self.label_values:
            raise ValueError(f"label_values: no label value stands for {', '.join(unlabelled)}")
        if unlabelled:
            raise ValueError(f"data: no entry labels {', '.join(unlabelled)}; leave it out of classes, or label it")
        both = sorted(set(self.ignore_values) & set(self.label_values))
        if both:
            raise ValueError(f"ignore_values: {both[0]} is in label_values too")
        for split in ("train", "val"):
            if not any(source.split in (split, "auto") for source in self.data):
                raise ValueError(f"data: no entry has split: {split}")
        return self

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Later sections are left out at their defaults: the fingerprints of older runs stay as they are.
        content = dump(self)
        for key, section in (("splits", self.splits), ("sampling", self.sampling)):
            if key in content and section == type(section)():
                del content[key]
        return content

    @staticmethod
    def _check_classes(key: str, entry: SourceConfig, names: tuple[str, ...]) -> None:
        """Refuse what an entry calls a class and is none."""
        given = [("values." + value, name) for value, name in (entry.values or {}).items()]
        given += [] if entry.rest is None else [("rest", entry.rest)]
        for where, name in given:
            if name not in (*names, UNKNOWN, IGNORE):
                raise ValueError(
                    f"{key}.{where}: expected one of {', '.join(names)}, {UNKNOWN} or {IGNORE}, got {name!r}"
                )
        of_labels = [("labels." + name, name) for name in entry.labels] if isinstance(entry.labels, dict) else []
        for where, name in [*of_labels, *(("classes", name) for name in entry.classes or ())]:
            if name not in names:
                raise ValueError(f"{key}.{where}: expected one of {', '.join(names)}, got {name!r}")

    def labelled_by(self, entry: SourceConfig) -> frozenset[str] | None:
        """The names of the classes that an entry labels; None where only its files can tell."""
        names = frozenset(self.label_set().names)
        rest = names & {entry.rest}
        if entry.classes is not None:
            return frozenset(entry.classes) | rest
        if isinstance(entry.labels, dict):
            return frozenset(entry.labels) | rest
        if entry.values is not None:
            return frozenset(entry.values.values()) & names | rest
        if self.label_values and entry.reads_label_values:
            return frozenset(self.label_values.values()) | rest
        return None

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
        return TrainConfig.model_validate(read_mapping(path))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(TrainConfig, error)}") from error
