"""What a training measures before it begins, once for all who train: statistics, lengths, and what run it is."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from geoseg.config import TrainConfig
from geoseg.imagery import Imagery
from geoseg.labelled_data import coding_of, imagery_of
from geoseg.models.architecture import Architecture
from geoseg.progress import stage_progress, warn
from geoseg.train.cells import Cells
from geoseg.train.checkpoint import Identity
from geoseg.train.instances import doubts, instances_of
from geoseg.train.losses.class_weights import inverse_frequency, labelled_pixels
from geoseg.train.recipe import Recipe
from geoseg.train.samples import Sampler
from geoseg.train.scenes import LabelledScene, Source, open_scenes
from geoseg.train.start import Start
from geoseg.train.things import Things


@dataclass(frozen=True, slots=True)
class Settled:
    """What a training measures before it begins, once for all workers.

    Attributes:
        imagery: With its statistics.
        recipe: With all lengths in iterations.
        weights_k: Of the classes in the loss, (class,); None weighs them alike.
        identity: Of the run.
        workers: How many train together.
    """

    imagery: Imagery
    recipe: Recipe
    weights_k: tuple[float, ...] | None
    identity: Identity
    workers: int = 1

    def to_json(self) -> dict[str, Any]:
        """As plain data; the imagery by its mean and deviation, the rest of it stands in the configuration."""
        return {
            "mean": list(self.imagery.mean),
            "std": list(self.imagery.std),
            "recipe": asdict(self.recipe),
            "weights_k": None if self.weights_k is None else list(self.weights_k),
            "identity": asdict(self.identity),
            "workers": self.workers,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any], config: TrainConfig) -> "Settled":
        """What `to_json` gave, for the same configuration."""
        freeze, weights_k = values["recipe"]["freeze"], values["weights_k"]
        return cls(
            imagery_of(config, tuple(values["mean"]), tuple(values["std"])),
            Recipe(**{**values["recipe"], "freeze": freeze if isinstance(freeze, int) else tuple(freeze)}),
            None if weights_k is None else tuple(weights_k),
            Identity(**values["identity"]),
            values["workers"],
        )


def settle(config: TrainConfig, sources: tuple[Source, ...], start: Start, workers: int = 1) -> Settled:
    """Measure what a training depends on besides its configuration; what is doubtful about its objects is told.

    Args:
        config: Says what and how.
        sources: Its scenes, checked.
        start: What it begins from.
        workers: How many are to train together.

    Raises:
        ConfigError: A class that is to be weighed has no pixels, or objects are to be told apart and there are
            none.
        SceneError: A scene cannot be read.
    """
    coding, settings, imagery = coding_of(config, sources), config.training, imagery_of(config)
    training = tuple(source for source in sources if source.split == "train")
    with open_scenes(training, imagery, coding) as scenes:
        if start.instances:
            things = Things.of(coding.candidates, config.things)
            pixels = sum(scene.grid.height * scene.grid.width for scene in scenes)
            with stage_progress("objects", pixels) as advance:
                found = instances_of(scenes, things, advance)
            for doubt in doubts(scenes, found):
                warn(doubt)
        cells = Cells.of(scenes, settings.crop_px)
        recipe = Recipe.of(settings, cells.epoch_length, workers)
        if config.imagery.mean is None:
            imagery = start.normalization(imagery) or _measured(scenes, cells, imagery)
        weights_k = None
        if settings.loss.class_weights == "inverse_frequency":
            names = config.label_set().names
            weights_k = tuple(inverse_frequency(labelled_pixels(scenes, coding.candidates), names).tolist())
    return Settled(imagery, recipe, weights_k, _identity(config, imagery, start, workers), workers)


def _measured(scenes: tuple[LabelledScene, ...], cells: Cells, imagery: Imagery) -> Imagery:
    """The imagery with mean and deviation of the training regions, whatever the seed."""
    mean, std = Sampler(scenes, cells, imagery, 0).statistics()
    return replace(imagery, mean=mean, std=std)


def _identity(config: TrainConfig, imagery: Imagery, start: Start, workers: int) -> Identity:
    """Names all that the weights depend on; the measured statistics stand for the pixels."""
    # Counts on when the same words come to mean other numbers: 2, since losses on overlap are per image;
    # 3, since an epoch sees each cell of the ground once.
    meaning = 3
    # What it starts from is told by its content, below.
    values = {key: value for key, value in config.deciding().items() if key != "start_from"}
    values |= {
        "meaning": meaning,
        "seed": config.training.seed,
        "mean": imagery.mean,
        "std": imagery.std,
        **({"workers": workers} if workers > 1 else {}),
        **start.fingerprint,
    }
    fingerprint = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return Identity(fingerprint, _architecture_words(start.architecture))


def _architecture_words(architecture: Architecture) -> str:
    """What a network is, in short: what stands at its default is left out."""
    plain = {"name", "width", "bands", "classes"}
    others = [
        f"{key.name} {getattr(architecture, key.name)}"
        for key in fields(architecture)
        if key.name not in plain and getattr(architecture, key.name) != key.default
    ]
    first = f"{architecture.name} width {architecture.width:g}"
    return ", ".join([first, f"{architecture.bands} bands", f"{architecture.classes} classes", *others])
