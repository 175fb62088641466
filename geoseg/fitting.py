"""The loop of a training, given all that its configuration names: scenes, batches, loss, validation."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.io.decoding import decoding
from geoseg.labelled_data import balance_of, coding_of, imagery_of
from geoseg.train.augment import Augmentation
from geoseg.train.batches import BatchMaker
from geoseg.train.candidates import Candidates
from geoseg.train.checkpoint import Progress
from geoseg.train.decoded import cache_mib
from geoseg.train.device import place
from geoseg.train.fit import fit
from geoseg.train.losses import build_loss
from geoseg.train.losses.class_weights import inverse_frequency, labelled_pixels
from geoseg.train.metrics import Confusion
from geoseg.train.progress import training_progress
from geoseg.train.recipe import Recipe
from geoseg.train.samples import Sampler
from geoseg.train.scenes import LabelledScene, Source, open_scenes
from geoseg.train.score import TileShape, cores, evenly, score
from geoseg.train.start import Start

_VALIDATION_TILES = 72
"""Most tiles of one validation during training; the figures on the card are those of whole regions."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """How the loop went.

    Attributes:
        imagery: With its statistics.
        recipe: With all lengths in iterations.
        progress: Where it ended.
    """

    imagery: Imagery
    recipe: Recipe
    progress: Progress


def fit_network(
    config: TrainConfig,
    sources: tuple[Source, ...],
    network: nn.Module,
    start: Start,
    device: torch.device,
    folder: Path,
    resume: bool,
    events: Path | None,
) -> Fitted:
    """Train a new network, in place.

    Args:
        config: Says what and how.
        sources: Its scenes, checked.
        network: As it begins; on any device.
        start: What it begins from.
        device: Where to train.
        folder: Gets checkpoints and the log.
        resume: Go on from the folder's checkpoint, if there is one.
        events: Folder of TensorBoard's events, or None.

    Raises:
        GeosegError: As `geoseg.train.fit.fit` says.
        ConfigError: Split val holds no labels, or a class that is to be weighed has no pixels.
        SceneError: A scene cannot be read.
    """
    coding, settings = coding_of(config, sources), config.training
    imagery = imagery_of(config)
    with open_scenes(sources, imagery, coding) as scenes:
        trained = tuple(scene for scene in scenes if scene.source.split == "train")
        recipe = Recipe.of(settings, math.fsum(scene.pixels.area for scene in trained))
        if config.imagery.mean is None:
            imagery = start.normalization(imagery) or _measured(trained, imagery, settings.crop_px)
    training = tuple(source for source in sources if source.split == "train")
    validation = tuple(source for source in sources if source.split == "val")
    # Two sets of readers: crops are read on a thread of their own while validation reads on this one.
    with open_scenes(training, imagery, coding) as scenes, open_scenes(validation, imagery, coding) as judged:
        augmentation = Augmentation(**settings.augmentation.model_dump())
        sampler = Sampler(scenes, imagery, settings.seed, balance_of(config), overlapping=start.overlapping)
        maker = BatchMaker(sampler, augmentation, imagery, settings.crop_px, settings.batch, settings.seed)
        names, weights_k = config.label_set().names, None
        if settings.loss.class_weights == "inverse_frequency":
            weights_k = inverse_frequency(labelled_pixels(scenes, coding.candidates), names)
        cache = decoding(cache_mib(scene.ref for scene in scenes), threads=1)
        samples = settings.batch * settings.accumulate
        with training_progress(names, samples, events) as report, cache:
            progress = fit(
                place(network, device),
                maker.make,
                _validator(judged, coding.candidates, device, overlapping=start.overlapping),
                build_loss(settings.loss, len(names), start.activation, weights_k),
                coding.candidates,
                recipe,
                folder,
                _fingerprint(config, imagery, start),
                names,
                device,
                resume,
                report,
            )
    return Fitted(imagery, recipe, progress)


def _measured(scenes: tuple[LabelledScene, ...], imagery: Imagery, crop_px: int) -> Imagery:
    """The imagery with mean and deviation of the training regions, whatever the seed."""
    mean, std = Sampler(scenes, imagery, 0).statistics(crop_px)
    return replace(imagery, mean=mean, std=std)


def _validator(
    scenes: tuple[LabelledScene, ...], candidates: Candidates, device: torch.device, *, overlapping: bool
) -> Callable[[nn.Module], Confusion]:
    """Count hits on the same tiles of the validation regions every time."""
    shape = TileShape()
    windows = evenly([(scene, core) for scene in scenes for core in cores(scene, shape)], _VALIDATION_TILES)
    if not any(scene.is_labelled(core, overlapping=overlapping) for scene, core in windows):
        raise ConfigError(
            "expected labelled pixels in the regions of split val, found none: nothing could be chosen"
        )

    def validate(network: nn.Module) -> Confusion:
        return score(network, windows, shape, candidates.classes, device, candidates, overlapping=overlapping)

    return validate


def _fingerprint(config: TrainConfig, imagery: Imagery, start: Start) -> str:
    """Names all that the weights depend on; the measured statistics stand for the pixels."""
    words = {"name", "description", "licence", "attribution", "start_from", "card"}
    # Counts on when the same words come to mean other numbers: 2, since losses on overlap are per image.
    meaning = 2
    values = config.model_dump(mode="json", exclude=words)
    for key in ("checkpoint_minutes", "checkpoint_every", "calibrate"):
        values["training"].pop(key, None)
    values |= {
        "meaning": meaning,
        "seed": config.training.seed,
        "mean": imagery.mean,
        "std": imagery.std,
        **start.fingerprint,
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
