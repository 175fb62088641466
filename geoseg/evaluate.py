"""Judge a model on whole regions: confusion of each and of all, on the pixels that `geoseg map` would give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.errors import ConfigError
from geoseg.fields import predict_block
from geoseg.imagery import Imagery
from geoseg.io.regions import region_mask
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.predict import Predictor
from geoseg.progress import Advance, stage_progress
from geoseg.tiling import BlockPlan, Lattice
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelCoding, LabelledScene, Source, open_scenes

_BLOCK_PX = 2048
"""Side of the blocks that are predicted at once, in 0.4 GB for five classes; it changes no pixel."""


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
    predictor: Predictor,
    imagery: Imagery,
    labels: LabelSet,
    lattice: Lattice,
    sources: Sequence[Source],
    coding: LabelCoding,
    split: str,
) -> Evaluation:
    """Map all regions of a split as `geoseg map` does, and compare the classes with the labels.

    Pixels that are invalid, ignored or outside the region count neither for nor against.

    Args:
        predictor: The network on its device.
        imagery: What it expects.
        labels: What it tells apart.
        lattice: Its tiles.
        sources: Scenes with labels, of any split.
        coding: The meaning of label values.
        split: The split to judge.

    Raises:
        ConfigError: No source belongs to the split, or none of its pixels is labelled.
        SceneError: A raster cannot be opened or used.
    """
    chosen = [source for source in sources if source.split == split]
    if not chosen:
        raise ConfigError(f"expected data of split {split}, the configuration lists none")
    with open_scenes(chosen, imagery, coding) as scenes:
        scores = []
        with stage_progress(f"evaluate {split}", sum(round(scene.pixels.area) for scene in scenes)) as advance:
            for scene in scenes:
                confusion = _confusion(scene, imagery, predictor, lattice, len(labels), advance)
                scores.append(RegionScore(scene.source.name, confusion))
    evaluation = Evaluation(split, labels, tuple(scores))
    if evaluation.pooled.pixels == 0:
        raise ConfigError(f"expected labelled pixels in the regions of split {split}, found none")
    return evaluation


def _confusion(
    scene: LabelledScene, imagery: Imagery, predictor: Predictor, lattice: Lattice, classes: int, advance: Advance
) -> Confusion:
    total = Confusion.zero(classes)
    plan = BlockPlan(scene.grid.height, scene.grid.width, lattice, _BLOCK_PX, (_BLOCK_PX, _BLOCK_PX))
    for block in plan:
        covered_px = int(np.count_nonzero(region_mask(scene.pixels, block.window)))
        # Blocks outside the region are not even read.
        if not covered_px:
            continue
        target_hw = scene.labels(block.window)
        tiles = 0
        if (target_hw != NODATA_CLASS).any():
            fields = predict_block(scene.reader, imagery, plan, block, predictor, classes)
            if fields is not None:
                target_hw[fields.classes_hw == NODATA_CLASS] = NODATA_CLASS
                total += Confusion.of(target_hw, fields.classes_hw, classes)
                tiles = fields.tiles
        advance(covered_px, tiles)
    return total
