"""The loop of a training, given all that its configuration names: scenes, batches, loss, validation."""

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from geoseg.config import TrainConfig
from geoseg.errors import ConfigError
from geoseg.io.decoding import decoding
from geoseg.labelled_data import balance_of, coding_of
from geoseg.settled import Settled
from geoseg.train.augment import Augmentation
from geoseg.train.batches import BatchMaker
from geoseg.train.candidates import Candidates
from geoseg.train.cells import Cells
from geoseg.train.checkpoint import Progress
from geoseg.train.decoded import cache_mib
from geoseg.train.device import place
from geoseg.train.fit import fit
from geoseg.train.instances import instances_of
from geoseg.train.losses import build_loss
from geoseg.train.metrics import Confusion
from geoseg.train.samples import Sampler
from geoseg.train.scenes import LabelledScene, Source, open_scenes
from geoseg.train.score import TileShape, cores, evenly, score
from geoseg.train.start import Start
from geoseg.train.steps import Step
from geoseg.train.stopping import Stop
from geoseg.train.team import ALONE, Team
from geoseg.train.things import Things

_VALIDATION_TILES = 72
"""Most tiles of one validation during training; the figures on the card are those of whole regions."""


def fit_network(
    config: TrainConfig,
    sources: tuple[Source, ...],
    network: nn.Module,
    start: Start,
    settled: Settled,
    device: torch.device,
    folder: Path,
    report: Callable[[Step], None],
    *,
    resume: bool = True,
    team: Team = ALONE,
    stop: Stop | None = None,
    commit: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train a new network, in place.

    Args:
        config: Says what and how.
        sources: Its scenes, checked.
        network: As it begins; on any device.
        start: What it begins from.
        settled: As `settle` gave it.
        device: Where to train.
        folder: Gets checkpoints and the log; as `geoseg.train.fit.fit` says.
        report: Called after each iteration.
        resume: Go on from the folder's checkpoint, if there is one.
        team: Who train together.
        stop: As `geoseg.train.fit.fit` says.
        commit: Likewise.

    Returns:
        Where it ended.

    Raises:
        GeosegError: As `geoseg.train.fit.fit` says.
        ConfigError: Split val holds no labels.
        SceneError: A scene cannot be read.
    """
    coding, settings, imagery = coding_of(config, sources), config.training, settled.imagery
    training = tuple(source for source in sources if source.split == "train")
    validation = tuple(source for source in sources if source.split == "val")
    # Two sets of readers: crops are read on a thread of their own while validation reads on this one.
    with open_scenes(training, imagery, coding) as scenes, open_scenes(validation, imagery, coding) as judged:
        augmentation = Augmentation(**settings.augmentation.model_dump())
        cells = Cells.of(scenes, settings.crop_px)
        things = Things.of(coding.candidates, config.things) if start.instances else None
        sampler = Sampler(
            scenes,
            cells,
            imagery,
            settings.seed,
            balance_of(config),
            overlapping=start.overlapping,
            instances=None if things is None else instances_of(scenes, things),
        )
        maker = BatchMaker(sampler, augmentation, imagery, settings.crop_px, settings.batch, settings.seed, things)
        names = config.label_set().names
        weights_k = None if settled.weights_k is None else np.array(settled.weights_k)
        with decoding(cache_mib(scene.ref for scene in scenes), threads=1):
            return fit(
                place(network, device),
                maker.make,
                _validator(judged, coding.candidates, device, team, overlapping=start.overlapping),
                build_loss(settings.loss, len(names), start.activation, weights_k, instances=start.instances),
                coding.candidates,
                settled.recipe,
                folder,
                settled.identity,
                names,
                device,
                resume,
                report,
                team,
                stop,
                commit,
            )


class Workplace(Protocol):
    """Where a network is trained: in this process, or by workers."""

    @property
    def device(self) -> str:
        """What it is trained on: "cpu", "cuda" or "cuda:N"."""
        ...

    @property
    def own_device(self) -> str:
        """What this process judges the model on, likewise."""
        ...

    @property
    def workers(self) -> int:
        """How many train together."""
        ...

    @property
    def storage(self) -> str | None:
        """Where checkpoints are kept, if not in the training's folder."""
        ...

    def fit(
        self,
        config: TrainConfig,
        root: Path,
        sources: tuple[Source, ...],
        network: nn.Module,
        start: Start,
        settled: Settled,
        folder: Path,
        report: Callable[[Step], None],
    ) -> Progress:
        """Train to the end, from the last checkpoint if there is one.

        Args:
            config: Says what and how.
            root: Folder that its paths start from.
            sources: Its scenes, checked.
            network: As it begins; it may be of no use afterwards.
            start: What it begins from.
            settled: As `settle` gave it.
            folder: Has last.pt, best.pt and log.csv in the end.
            report: Called after each iteration, or a moment later.

        Returns:
            Where the run ended.
        """
        ...


@dataclass(frozen=True, slots=True)
class OwnProcess:
    """One worker, in this process.

    Attributes:
        device: What it trains and judges on.
    """

    device: str
    workers: int = 1
    storage: str | None = None

    @property
    def own_device(self) -> str:
        """The same."""
        return self.device

    def fit(
        self,
        config: TrainConfig,
        root: Path,  # noqa: ARG002  # of the protocol
        sources: tuple[Source, ...],
        network: nn.Module,
        start: Start,
        settled: Settled,
        folder: Path,
        report: Callable[[Step], None],
    ) -> Progress:
        """As `Workplace` says."""
        return fit_network(config, sources, network, start, settled, torch.device(self.device), folder, report)


def _validator(
    scenes: tuple[LabelledScene, ...],
    candidates: Candidates,
    device: torch.device,
    team: Team,
    *,
    overlapping: bool,
) -> Callable[[nn.Module], Confusion]:
    """Count hits on the same tiles of the validation regions every time, each worker on a part of them."""
    shape = TileShape()
    windows = evenly([(scene, core) for scene in scenes for core in cores(scene, shape)], _VALIDATION_TILES)
    if not any(scene.is_labelled(core, overlapping=overlapping) for scene, core in windows):
        raise ConfigError(
            "expected labelled pixels in the regions of split val, found none: nothing could be chosen"
        )

    mine = windows[team.rank :: team.size]

    def validate(network: nn.Module) -> Confusion:
        own = score(network, mine, shape, candidates.classes, device, candidates, overlapping=overlapping)
        first, *others = team.gather(own)
        return functools.reduce(operator.add, others, first)

    return validate
