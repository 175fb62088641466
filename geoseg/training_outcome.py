"""What became of a training, to look at: its curves, its figures, and chips that went well and badly."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoseg.grid import Window
from geoseg.imagery import Imagery
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.models.card import CardDraft
from geoseg.report.chip_picture import JudgedChip
from geoseg.report.failures import failures_png
from geoseg.report.figure_file import write_whole
from geoseg.report.training_facts import SplitFacts, TrainingFacts, read_curve
from geoseg.report.training_report import write_training_report
from geoseg.report.units import count, seconds
from geoseg.train.exemplars import Exemplar, Predict, best_and_worst
from geoseg.train.scenes import LabelledScene
from geoseg.train.score import TileShape, cores, evenly

_SHOWN = 4
"""Chips of each kind that are shown."""

_LOOKED_AT = 96
"""Windows of the validation regions that they are chosen from, spread evenly over them."""


def show_training(
    folder: Path,
    log: Path,
    card: CardDraft,
    network: nn.Module,
    device: torch.device,
    validation: Sequence[LabelledScene],
    evaluations: Sequence[Mapping[str, Any]],
    best_iteration: int,
    next_command: str,
    facts: Sequence[tuple[str, str]] = (),
    failures: Path | None = None,
) -> Path:
    """Write the folder that shows a training (`write_training_report`).

    Args:
        folder: Where: MODEL.training/report.
        log: The log.csv of the training.
        card: Of the finished model.
        network: Its network with the packed weights, on the device; put into evaluation mode and back.
        device: Where it is.
        validation: The open scenes of split val.
        evaluations: What `Evaluation.to_json` gives for each split.
        best_iteration: The one whose weights were packed.
        next_command: What to type to map a scene with the model.
        facts: What is said besides of how it was trained: label and words.
        failures: Where a picture of the worst chips alone is written; an old one is removed where there are none.

    Returns:
        The page, report.html.

    Raises:
        ConfigError: The log cannot be read.
        SceneError: A raster cannot be read.
    """
    shape, labels = TileShape(card.tile.size_px, card.tile.overlap_px // 2), card.labels
    windows = [(scene, core) for scene in validation for core in cores(scene, shape)]
    was_training = network.training
    network.eval()
    best, worst = best_and_worst(
        evenly(windows, _LOOKED_AT),
        _predict(network, device, card.imagery, shape, len(labels)),
        len(labels),
        _SHOWN,
    )
    network.train(was_training)
    if failures is not None:
        _draw_failures(failures, tuple(map(_shown, worst)), labels)
    curve = read_curve(log)
    return write_training_report(
        folder,
        TrainingFacts(
            name=card.name,
            description=card.description,
            labels=labels,
            curve=curve,
            best_iteration=best_iteration,
            splits=tuple(SplitFacts.of(figures) for figures in evaluations),
            best=tuple(map(_shown, best)),
            worst=tuple(map(_shown, worst)),
            rows=(*_rows(card), *((("Time", seconds(curve[-1].seconds)),) if curve else ()), *facts),
            next_command=next_command,
            licence=card.licence,
            attribution=card.attribution,
        ),
    )


def _draw_failures(path: Path, chips: Sequence[JudgedChip], labels: LabelSet) -> None:
    if not chips:
        path.unlink(missing_ok=True)
        return
    content = failures_png(chips, labels)
    write_whole(path, lambda part: part.write_bytes(content))


def _predict(network: nn.Module, device: torch.device, imagery: Imagery, shape: TileShape, classes: int) -> Predict:
    """The model on the tile around a core, as it was validated."""

    def predict(scene: LabelledScene, core: Window) -> NDArray[np.uint8]:
        window = shape.outer(core)
        image_chw, valid_hw = scene.image(window)
        inputs_nchw = torch.from_numpy(imagery.normalize(image_chw, valid_hw))[None]
        inputs_nchw = inputs_nchw.to(device, memory_format=torch.channels_last)
        with torch.inference_mode():
            # What tells objects apart comes after the classes.
            ids_hw = network(inputs_nchw)[0, :classes].argmax(0).to(torch.uint8).cpu().numpy()
        inner = core.slices_in(window)
        return np.where(valid_hw[inner], ids_hw[inner], np.uint8(NODATA_CLASS))

    return predict


def _shown(one: Exemplar) -> JudgedChip:
    return JudgedChip(one.name, one.image_chw, one.valid_hw, one.labels_hw, one.predicted_hw, one.miou)


def _rows(card: CardDraft) -> list[tuple[str, str]]:
    network, imagery, recipe = card.architecture, card.imagery, card.training.get("recipe")
    rows = [
        ("Network", f"{network.name} of width {network.width:g}"),
        ("Imagery", f"{', '.join(imagery.bands)} as {imagery.dtype}, {imagery.ground_resolution_m:g} m a pixel"),
        ("Classes", ", ".join(card.labels.names)),
    ]
    if isinstance(recipe, dict):
        rows += [(key.replace("_", " ").capitalize(), _words(value)) for key, value in recipe.items()]
    return rows


def _words(value: object) -> str:
    """A value of a recipe for people: nested ones in a line."""
    match value:
        case None | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return count(value)
        case dict():
            return ", ".join(f"{key} {_words(one)}" for key, one in value.items())
        case list():
            return ", ".join(map(_words, value))
        case _:
            return str(value)
