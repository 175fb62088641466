"""The configuration of a training run."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator

from geoseg.config.card import CardConfig
from geoseg.config.data import IGNORE, UNKNOWN, SamplingConfig, SourceConfig, SplitsConfig
from geoseg.config.imagery import ClassConfig, ImageryConfig
from geoseg.config.options import TrainOptions
from geoseg.config.recipe import TrainingConfig
from geoseg.config.run import RunConfig
from geoseg.config.sections import Positive, Section, explain
from geoseg.config.text import read_mapping
from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS, Activation, LabelSet


class ArchitectureConfig(Section):
    """The network to train.

    Attributes:
        name: "unet" (Ronneberger et al. 2015), a U-Net with a ResNet encoder, or DeepLabV3+ (Chen et al. 2018).
        width: Factor on the number of channels everywhere; 1 is the published size.
        output_stride: Of DeepLabV3+: input pixels per pixel of its deepest features.
        separable: Of DeepLabV3+: whether the 3x3 convolutions after the encoder are depthwise separable.
        decoder_stride: Of a U-Net with a ResNet encoder: input pixels per pixel of its decoder's last features. 2
            and 4 leave out the decoder's last steps, which are the dearest, and bring the answer to the image's
            size by bilinear interpolation.
        normalization: "batch", over the crops of a batch; or "group" (Wu and He 2018), over groups of channels of
            each crop by itself: for batches of a few crops, and for several workers.
        heads: "softmax" where classes exclude each other, "sigmoid" gives each class a probability of its own.
        overlapping: With sigmoid heads: whether a pixel may be of several classes.
        instances: Whether the network tells objects of the classes of kind thing apart, by a heat map of their
            centres and the way from each pixel to its object's centre (Cheng et al. 2020, Panoptic-DeepLab).
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
    decoder_stride: Literal[1, 2, 4] = 1
    normalization: Literal["batch", "group"] = "batch"
    heads: Activation = "softmax"
    overlapping: bool = False
    instances: bool = False
    encoder_weights: str | None = None

    @model_validator(mode="after")
    def _has_an_encoder(self) -> Self:
        if self.encoder_weights is not None and self.name == "unet":
            raise ValueError(
                "encoder_weights: the classic unet has no ResNet encoder, name one such as unet_resnet18"
            )
        if self.encoder_weights is not None and self.width != 1:
            raise ValueError(f"encoder_weights: they are for width 1, got width {self.width}")
        if self.encoder_weights is not None and self.normalization != "batch":
            raise ValueError(
                f"encoder_weights: they are for normalization batch, got {self.normalization}: remove one of them"
            )
        if self.overlapping and self.heads != "sigmoid":
            raise ValueError(f"overlapping: expected heads: sigmoid with it, got {self.heads}")
        if self.overlapping and self.instances:
            raise ValueError(
                "instances: expected classes that exclude each other, got overlapping ones, where a pixel may be "
                "of several objects: remove one of the two"
            )
        return self

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Later arguments are left out at their defaults: the fingerprints of older runs stay as they are.
        later = {
            "output_stride": 16,
            "separable": False,
            "decoder_stride": 1,
            "normalization": "batch",
            "heads": "softmax",
            "overlapping": False,
            "instances": False,
            "encoder_weights": None,
        }
        return {key: value for key, value in dump(self).items() if key not in later or value != later[key]}


class TrainConfig(Section):
    """A training run: the data, the model, and what its card says.

    Attributes:
        kind: Always "train".
        name: Of the model.
        description: What it maps and what it was trained on.
        licence: Of the weights.
        attribution: Who made the data.
        start_from: A model package to begin from, by name or folder: its weights are trained further, with a new
            last layer where the classes differ.
        architecture: The network; may be left out where `start_from` says it.
        imagery: The pixels it expects.
        classes: What it tells apart.
        label_values: From values of the label rasters to class names, for entries of `data` without `values`.
        ignore_values: Values of the label rasters that are not learned and not judged.
        data: Scenes with labels; train, val and test are regions.
        splits: How entries with `split: auto` are divided.
        sampling: Which windows training draws.
        training: How to train.
        card: What the model is meant for, and two annotations to compare.
        run: Where and by whom it is trained; no part of what a model was trained by.
    """

    kind: Literal["train"]
    name: Annotated[str, Field(min_length=1)]
    description: str
    licence: str
    attribution: str
    start_from: str | None = None
    architecture: ArchitectureConfig | None = None
    imagery: ImageryConfig
    classes: Annotated[tuple[ClassConfig, ...], Field(min_length=2, max_length=NODATA_CLASS)]
    label_values: dict[int, str] = Field(default_factory=dict)
    ignore_values: tuple[int, ...] = ()
    data: Annotated[tuple[SourceConfig, ...], Field(min_length=1)]
    splits: SplitsConfig = SplitsConfig()
    sampling: SamplingConfig = SamplingConfig()
    training: TrainingConfig = TrainingConfig()
    card: CardConfig = CardConfig()
    run: Annotated[RunConfig, Field(exclude=True)] = RunConfig()

    @model_validator(mode="before")
    @classmethod
    def _says_what_is_needed(cls, values: Any) -> Any:  # noqa: ANN401  # whatever stands in the file
        # Before the types are checked: a missing key is named like any other.
        if isinstance(values, dict) and values.get("kind") == "study":
            raise ValueError("kind: expected train, got study: `geoseg study` runs it")
        if isinstance(values, dict) and values.get("start_from") is None:
            for key in ("architecture", "training"):
                if values.get(key) is None:
                    raise ValueError(f"{key}: expected a value, the key is missing (only start_from does without)")
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.start_from is None and self.training.iterations is None and self.training.epochs is None:
            raise ValueError("training: expected iterations or epochs, got neither")
        if self.start_from is not None and self.architecture is not None and self.architecture.encoder_weights:
            raise ValueError("architecture.encoder_weights: start_from brings weights already, remove one of them")
        names = self.label_set().names
        for value, name in self.label_values.items():
            if name not in names:
                raise ValueError(f"label_values.{value}: expected one of {', '.join(names)}, got {name!r}")
        for number, entry in enumerate(self.data):
            self._check_classes(f"data.{number}", entry, names)
        self._check_labelled(names)
        both = sorted(set(self.ignore_values) & set(self.label_values))
        if both:
            raise ValueError(f"ignore_values: {both[0]} is in label_values too")
        if self.architecture is not None:  # else the heads are those of the model to start from
            self.training.loss.check_heads(
                self.architecture.heads, len(names), instances=self.architecture.instances
            )
            self.check_instances(instances=self.architecture.instances)
        for split in ("train", "val"):
            if not any(source.split in (split, "auto") for source in self.data):
                raise ValueError(f"data: no entry has split: {split}")
        return self

    def check_instances(self, *, instances: bool) -> None:
        """Refuse what does not go with a network that tells objects apart.

        Args:
            instances: Whether the network does.

        Raises:
            ValueError: Names the key, and what to write.
        """
        if not instances and self.card.grouping is not None:
            raise ValueError(
                "card.grouping: expected architecture.instances with it, there is no instance branch: remove it"
            )
        if not instances:
            return
        if not self.things:
            raise ValueError(
                "architecture.instances: expected a class of kind thing whose objects are told apart, got "
                f"{', '.join(self.label_set().names)} of kind stuff alone: write kind: thing, or remove instances"
            )
        if self.training.augmentation.mixup:
            raise ValueError(
                "training.augmentation.mixup: a pixel of two blended crops is of two objects, expected 0 with "
                "architecture.instances: remove it (cutmix goes with instances)"
            )

    @property
    def things(self) -> tuple[int, ...]:
        """Ids of the classes whose objects are countable."""
        return tuple(number for number, label in enumerate(self.label_set().classes) if label.kind == "thing")

    def _check_labelled(self, names: tuple[str, ...]) -> None:
        """Refuse classes that no entry labels."""
        labelled = [self.labelled_by(entry) for entry in self.data]
        # Where an entry labels all classes but one, its rest can be of that one alone.
        implied = frozenset(
            name
            for entry, some in zip(self.data, labelled, strict=True)
            if some is not None and len(some) == len(names) - 1 and entry.may_be_of_others
            for name in frozenset(names) - some
        )
        known = [name in implied or any(some is None or name in some for some in labelled) for name in names]
        unlabelled = [name for name, one in zip(names, known, strict=True) if not one]
        if unlabelled and self.label_values:
            raise ValueError(f"label_values: no label value stands for {', '.join(unlabelled)}")
        if unlabelled:
            raise ValueError(f"data: no entry labels {', '.join(unlabelled)}; leave it out of classes, or label it")

    @model_serializer(mode="wrap")
    def _brief(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Later sections are left out at their defaults: the fingerprints of older runs stay as they are.
        content = dump(self)
        later = (
            ("splits", SplitsConfig()),
            ("sampling", SamplingConfig()),
            ("start_from", None),
            ("card", CardConfig()),
        )
        for key, default in later:
            if key in content and getattr(self, key) == default:
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

    def deciding(self) -> dict[str, Any]:
        """What the trained weights depend on, as plain data: not the card's words, nor how often work is kept."""
        words = {"name", "description", "licence", "attribution", "card"}
        values = self.model_dump(mode="json", exclude=words)
        for key in ("checkpoint_minutes", "checkpoint_every", "calibrate"):
            values["training"].pop(key, None)
        return values

    def label_set(self) -> LabelSet:
        """The classes, in order."""
        return LabelSet(tuple(label.to_label_class() for label in self.classes))

    def label_ids(self) -> dict[int, int]:
        """From values of the label rasters to class ids; ignored values to `NODATA_CLASS`."""
        names = self.label_set().names
        ids = {value: names.index(name) for value, name in self.label_values.items()}
        return ids | dict.fromkeys(self.ignore_values, NODATA_CLASS)


def load_train_config(path: Path, options: TrainOptions | None = None) -> TrainConfig:
    """Read and check the configuration of a training run.

    Args:
        path: A YAML file; only plain data is read from it (`yaml.safe_load`).
        options: What goes before the file.

    Raises:
        ConfigError: The file cannot be read, is no YAML mapping, or has a wrong key or value. The message
            names the key, what was expected and what came.
    """
    try:
        values = read_mapping(path)
        return TrainConfig.model_validate(values if options is None else options.over(values))
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(TrainConfig, error)}") from error


def write_config(path: Path, config: TrainConfig) -> None:
    """Write a configuration as YAML, what stands at its default left out.

    Raises:
        ConfigError: The file cannot be written.
    """
    values = config.model_dump(mode="json", exclude_defaults=True)
    text = yaml.safe_dump({"kind": "train", **values}, sort_keys=False, allow_unicode=True, width=100)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
