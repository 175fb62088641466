"""The network as training begins: by chance, from weights of its encoder, or from a model package."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoseg.catalog import model_folder
from geoseg.config import TrainConfig
from geoseg.config.train import ArchitectureConfig
from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.io.place import file_sha256
from geoseg.labels import Activation
from geoseg.models.architecture import Architecture, build
from geoseg.models.deeplab import DeepLabV3Plus
from geoseg.models.imagenet import load_encoder_weights
from geoseg.models.package import LoadedModel, load_package
from geoseg.models.unet import ResNetUNet
from geoseg.train.losses import build_loss

_HEAD = "head."
"""How the names of the last layer's weights begin, in every network: their first axis is the class."""


@dataclass(frozen=True, slots=True)
class EncoderWeights:
    """The file that an encoder begins from.

    Attributes:
        path: The file.
        sha256: Of its content.
    """

    path: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Start:
    """What a network begins from.

    Attributes:
        architecture: Of the network that is trained.
        encoder: The file of its encoder's weights, if one is named.
        base: The package whose weights it takes over, if one is named.
        activation: What makes probabilities of its answers.
        overlapping: Whether a pixel may be of several classes.
    """

    architecture: Architecture
    encoder: EncoderWeights | None
    base: LoadedModel | None
    activation: Activation = "softmax"
    overlapping: bool = False

    @property
    def instances(self) -> bool:
        """Whether the network tells objects apart."""
        return self.architecture.instances

    @classmethod
    def of(cls, config: TrainConfig, root: Path) -> "Start":
        """What a configuration names.

        Args:
            config: The configuration.
            root: Folder that the path of encoder weights starts from.

        Raises:
            ConfigError: A file is missing, or the package does not fit the configuration.
            ModelError: There is no such package, or it cannot be used.
        """
        if config.start_from is None:
            assert config.architecture is not None
            said, own = config.architecture, _architecture(config, config.architecture)
            _refuse_exchange(config, own)
            return cls(own, _encoder_weights(config, root), None, said.heads, said.overlapping)
        base = load_package(model_folder(config.start_from))
        _refuse_misfit(config, base)
        own = base.card.architecture
        _refuse_exchange(config, own)
        # A network that told classes apart may learn to tell objects apart: its instance branch is new then.
        instances = own.instances or (config.architecture is not None and config.architecture.instances)
        architecture = replace(own, classes=len(config.classes), instances=instances)
        start = cls(architecture, None, base, base.card.activation, base.card.overlapping)
        # Said here, before anything is written: these heads are not the configuration's, which checked its own.
        build_loss(
            config.training.loss.model_copy(update={"class_weights": None}),
            len(config.classes),
            start.activation,
            instances=start.instances,
        )
        try:
            config.check_instances(instances=start.instances)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        return start

    def network(self) -> nn.Module:
        """The network, in training mode, from the current state of torch's random numbers.

        Raises:
            ConfigError: The network has no encoder for the weights.
            ModelError: The weights are of another network.
        """
        network = build(self.architecture)
        if self.encoder is not None:
            if not isinstance(network, ResNetUNet | DeepLabV3Plus):
                raise ConfigError(f"architecture.encoder_weights: {self.architecture.name} has no ResNet encoder")
            load_encoder_weights(network.encoder, self.encoder.path)
        return network

    def take_over(self, network: nn.Module, names: tuple[str, ...]) -> None:
        """Put the package's weights into a network of `architecture`, in place; nothing where there is none.

        Of the last layer, classes of the same name keep their rows; the others stay as they are.

        Args:
            network: Gets the weights.
            names: Its classes.
        """
        if self.base is None:
            return
        state = network.state_dict()
        theirs = self.base.labels.names
        rows = [(names.index(name), theirs.index(name)) for name in names if name in theirs]
        for name, tensor in self.base.build().state_dict().items():
            if not name.startswith(_HEAD):
                state[name].copy_(tensor)
                continue
            for mine, other in rows:
                state[name][mine].copy_(tensor[other])

    def normalization(self, imagery: Imagery) -> Imagery | None:
        """The imagery with the package's mean and deviation, which its weights are used to.

        None where there is no package, or its pixels are counted otherwise (another type or range).
        """
        if self.base is None:
            return None
        theirs = self.base.imagery
        if (theirs.dtype, theirs.value_range) != (imagery.dtype, imagery.value_range):
            return None
        return Imagery(
            bands=imagery.bands,
            dtype=imagery.dtype,
            value_range=imagery.value_range,
            mean=theirs.mean,
            std=theirs.std,
            ground_resolution_m=imagery.ground_resolution_m,
        )

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What a run's fingerprint says of it."""
        encoder = {} if self.encoder is None else {"encoder_sha256": self.encoder.sha256}
        return encoder if self.base is None else {**encoder, "base": self.base.identity}

    @property
    def history(self) -> dict[str, Any]:
        """What a card says of it."""
        if self.encoder is not None:
            return {"encoder_weights": {"file": self.encoder.path.name, "sha256": self.encoder.sha256}}
        if self.base is not None:
            return {"start_from": {"model": self.base.card.name, "identity": self.base.identity}}
        return {}

    @property
    def attribution(self) -> tuple[str, ...]:
        """Whose work the weights stand on besides, as a card says it."""
        if self.base is None:
            return ()
        card = self.base.card
        return (*card.attribution, f"trained further from the weights of {card.name} ({card.licence})")


def _architecture(config: TrainConfig, network: ArchitectureConfig) -> Architecture:
    return Architecture(
        network.name,
        len(config.imagery.bands),
        len(config.classes),
        network.width,
        network.output_stride,
        network.separable,
        network.decoder_stride,
        network.normalization,
        network.instances,
    )


def _refuse_exchange(config: TrainConfig, architecture: Architecture) -> None:
    """Refuse to exchange statistics of a network that has none."""
    if config.training.sync_batch_norm and architecture.normalization != "batch":
        raise ConfigError(
            "training.sync_batch_norm: expected a network with batch normalization, got "
            f"{architecture.normalization} normalization, which needs no exchange: remove it"
        )


def _encoder_weights(config: TrainConfig, root: Path) -> EncoderWeights | None:
    """The configuration's encoder weights, if it names some."""
    name = None if config.architecture is None else config.architecture.encoder_weights
    if name is None:
        return None
    path = root / name
    try:
        if not path.is_file():
            raise ConfigError(f"architecture.encoder_weights: expected a file, got {name}, not found in {root}")
        return EncoderWeights(path, file_sha256(path))
    except OSError as error:
        raise ConfigError(f"architecture.encoder_weights: {path} cannot be read: {error.strerror}") from error


def _refuse_misfit(config: TrainConfig, base: LoadedModel) -> None:
    """Check that a package can be trained further as a configuration says."""
    name, bands = base.card.name, base.imagery.bands
    if config.imagery.bands != bands:
        raise ConfigError(
            f"imagery.bands: expected those of {name}, {', '.join(bands)}, in this order, got "
            f"{', '.join(config.imagery.bands)}: list these, or train from encoder weights or from chance"
        )
    if config.architecture is None:
        return
    said = config.architecture
    for key, here, there in (
        ("heads", said.heads, base.card.activation),
        ("overlapping", said.overlapping, base.card.overlapping),
    ):
        if here != there:
            raise ConfigError(f"architecture.{key}: expected that of {name}, {there}, got {here}: leave it out")
    mine, theirs = _architecture(config, said), base.card.architecture
    mine = replace(mine, instances=mine.instances and theirs.instances)
    for key in ("name", "width", "output_stride", "separable", "decoder_stride", "normalization", "instances"):
        if getattr(mine, key) != getattr(theirs, key):
            raise ConfigError(
                f"architecture.{key}: expected that of {name}, {getattr(theirs, key)}, got {getattr(mine, key)}: "
                "leave architecture out, the model to start from says it"
            )


def seeded(start: Start, names: tuple[str, ...], seed: int) -> nn.Module:
    """A new network, as a seed and what it starts from decide it.

    Args:
        start: What it begins from.
        names: Its classes.
        seed: Of torch's random numbers, from which training goes on.
    """
    torch.manual_seed(seed)
    network = start.network()
    start.take_over(network, names)
    return network
