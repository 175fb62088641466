"""What the card of a trained model says of its training and its quality."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import torch
from pydantic import JsonValue

from geoseg.config import TrainConfig
from geoseg.config.card import GroupingConfig
from geoseg.config.recipe import WHOLE
from geoseg.imagery import Imagery
from geoseg.models.card import Agreement, Calibration, CardDraft, Intended, SplitMetrics, TileDefaults
from geoseg.objects.grouping import Grouping
from geoseg.train.checkpoint import Progress
from geoseg.train.recipe import Recipe
from geoseg.train.start import Start


def history(
    config: TrainConfig,
    start: Start,
    recipe: Recipe,
    progress: Progress,
    device: str,
    skipped: Sequence[str],
    before: Mapping[str, Mapping[str, float | None]],
    workers: int = 1,
) -> dict[str, JsonValue]:
    """How a model was trained, for its card.

    Args:
        config: The whole of its recipe is told, with what was not said.
        start: What the weights began from.
        recipe: Has the lengths in iterations.
        progress: Where the run ended.
        device: "cpu" or "cuda".
        skipped: Why scenes were left out.
        before: For a split what the model that it started from reached there: IoU by class; may be empty.
        workers: How many trained together.
    """
    begun = start.history
    reached = {split: dict(ious) for split, ious in before.items() if ious}
    if "start_from" in begun and reached:
        begun = {"start_from": {**begun["start_from"], "iou_before": reached}}
    whole = config.training.model_dump(mode="json", context=WHOLE)
    return {
        "geoseg": version("geoseg"),
        "recipe": {
            **whole,
            "iterations": recipe.iterations,
            "validate_every": recipe.validate_every,
            **({"workers": workers} if workers > 1 else {}),
        },
        "iteration": progress.best_iteration,
        "iterations": progress.iteration,
        "device": device,
        "torch": torch.__version__,
        "data": [source.model_dump(mode="json") for source in config.data],
        **({"skipped": list(skipped)} if skipped else {}),
        **begun,
    }


def draft(
    config: TrainConfig,
    start: Start,
    imagery: Imagery,
    training: Mapping[str, JsonValue],
    metrics: Mapping[str, SplitMetrics],
    calibration: Calibration | None = None,
    agreement: Agreement | None = None,
) -> CardDraft:
    """The card without what the weights file determines.

    Args:
        config: Names, words and classes.
        start: The network, and whose work it stands on besides.
        imagery: What the model expects, with its statistics.
        training: As `history` has it.
        metrics: By split.
        calibration: Of the packed weights, if they were calibrated.
        agreement: Of two annotators, if the configuration names two annotations.
    """
    said = config.card
    intended = Intended(
        ground_resolution_m=said.ground_resolution_m, places=said.places, not_for=said.not_for, notes=said.notes
    )
    return CardDraft(
        name=config.name,
        description=config.description,
        architecture=start.architecture,
        imagery=imagery,
        classes=config.label_set().classes,
        activation=start.activation,
        overlapping=start.overlapping,
        tile=TileDefaults(size_px=said.tile.size_px, overlap_px=said.tile.overlap_px),
        metrics=dict(metrics),
        training=dict(training),
        licence=config.licence,
        attribution=tuple(dict.fromkeys((config.attribution, *start.attribution))),
        calibration=calibration,
        agreement=agreement,
        # Told in full: what is usual may change, and maps of this model should not.
        grouping=_grouping(said.grouping or GroupingConfig()) if start.architecture.instances else None,
        intended=None if intended == Intended() else intended,
    )


def _grouping(said: GroupingConfig) -> Grouping:
    usual = Grouping()
    # Heat is stored as a byte; of nothing at all there is no centre.
    heat = usual.least_heat if said.least_heat is None else max(1, round(said.least_heat * 254))
    given = said.model_dump(exclude={"least_heat"}, exclude_none=True)
    return replace(usual, least_heat=heat, **given)


def split_metrics(figures: Mapping[str, Any]) -> SplitMetrics:
    """A split's figures, as `Evaluation.to_json` gives them, for the card."""
    intervals = figures["intervals"]
    return SplitMetrics(
        miou=figures["miou"],
        iou=figures["iou"],
        pixel_accuracy=figures["accuracy"],
        pixels=figures["pixels"],
        regions=tuple(region["name"] for region in figures["regions"]),
        miou_interval=intervals["miou"],
        iou_intervals={name: intervals[f"{name}.iou"] for name in figures["iou"]},
        ece=figures["ece"],
    )
