"""Judge a model on whole regions: pooled and per-scene confusion, from overlapping tiles."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from geoseg.errors import ConfigError
from geoseg.imagery import Imagery
from geoseg.labels import LabelSet
from geoseg.train.metrics import Confusion
from geoseg.train.samples import LabelCoding, LabelledScene, Source
from geoseg.train.score import TileShape, cores, score


@dataclass(frozen=True, slots=True)
class RegionScore:
    """How a model did on one region.

    Attributes:
        name: Of the region.
        confusion: Counts over all of its labelled pixels.
    """

    name: str
    confusion: Confusion


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on a split.

    Attributes:
        split: The split.
        labels: The classes.
        regions: Its regions, in the order of the configuration.
    """

    split: str
    labels: LabelSet
    regions: tuple[RegionScore, ...]

    @property
    def pooled(self) -> Confusion:
        """Counts over all regions: a pixel weighs the same wherever it lies."""
        return sum((region.confusion for region in self.regions), Confusion.zero(len(self.labels)))

    def to_json(self) -> dict[str, Any]:
        """Per-class IoU, mIoU, accuracy and pixels of the split and of each of its regions."""
        return {
            "split": self.split,
            **_figures(self.pooled, self.labels),
            "regions": [
                {"name": region.name, **_figures(region.confusion, self.labels)} for region in self.regions
            ],
        }


def _figures(confusion: Confusion, labels: LabelSet) -> dict[str, Any]:
    return {
        "miou": confusion.miou(),
        "iou": dict(zip(labels.names, confusion.iou(), strict=True)),
        "accuracy": confusion.accuracy(),
        "pixels": confusion.pixels,
        "confusion": confusion.counts.tolist(),
    }


def evaluate(
    model: nn.Module,
    imagery: Imagery,
    labels: LabelSet,
    sources: tuple[Source, ...],
    coding: LabelCoding,
    split: str,
    device: torch.device,
    shape: TileShape | None = None,
) -> Evaluation:
    """Predict all regions of a split and compare them with their labels.

    Args:
        model: Takes normalized images, gives logits; on the device.
        imagery: What it expects.
        labels: What it tells apart.
        sources: Scenes with labels, of any split.
        coding: The meaning of label values.
        split: The split to judge.
        device: Where the model is.
        shape: Tiles; 512 px of which the outer 64 px are not used, when not given.

    Raises:
        ConfigError: No source belongs to the split, or none of its pixels is labelled.
        SceneError: A raster cannot be opened or used.
    """
    shape = shape or TileShape()
    chosen = tuple(source for source in sources if source.split == split)
    if not chosen:
        raise ConfigError(f"expected data of split {split}, the configuration lists none")
    scores = []
    for source in chosen:
        with LabelledScene(source, imagery, coding) as scene:
            windows = ((scene, core) for core in cores(scene, shape))
            scores.append(RegionScore(source.name, score(model, windows, shape, len(labels), device)))
    evaluation = Evaluation(split, labels, tuple(scores))
    if evaluation.pooled.pixels == 0:
        raise ConfigError(f"expected labelled pixels in the regions of split {split}, found none")
    return evaluation
