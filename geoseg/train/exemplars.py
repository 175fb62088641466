"""Which windows of the validation regions a model does best and worst on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.train.metrics import Confusion
from geoseg.train.scenes import LabelledScene

_ENOUGH = 0.25
"""Share of a window whose class must be known for its IoU to say something."""

Predict = Callable[[LabelledScene, Window], NDArray[np.uint8]]
"""Gives the class ids (row, column) of a window of a scene, `NODATA_CLASS` where there is no data."""


@dataclass(frozen=True, slots=True, eq=False)
class Exemplar:
    """A window with what a model made of it.

    Attributes:
        name: The scene, and row and column in it.
        image_chw: float32 (band, row, column) in the raster's own numbers.
        valid_hw: Where it holds data.
        labels_hw: Class ids (row, column); `NODATA_CLASS` where the class is not known.
        predicted_hw: Class ids (row, column); `NODATA_CLASS` where there is no data.
        miou: Mean IoU of the classes that are there, in truth or prediction.
    """

    name: str
    image_chw: NDArray[np.float32]
    valid_hw: NDArray[np.bool_]
    labels_hw: NDArray[np.uint8]
    predicted_hw: NDArray[np.uint8]
    miou: float


def best_and_worst(
    windows: Iterable[tuple[LabelledScene, Window]], predict: Predict, classes: int, count: int
) -> tuple[tuple[Exemplar, ...], tuple[Exemplar, ...]]:
    """The windows with the highest and the lowest mean IoU; none is among both.

    Windows of which less than a quarter is labelled are left out. Pixels are
    held of `2 * count + 1` windows at most.

    Args:
        windows: Scenes and windows of them.
        predict: What the model makes of a window.
        classes: How many classes there are.
        count: How many of each are wanted; fewer where there are not twice as many windows.

    Returns:
        The best, the best first, and the worst, the worst first.
    """
    best: list[tuple[float, int, Exemplar]] = []
    worst: list[tuple[float, int, Exemplar]] = []
    seen = 0
    for number, (scene, window) in enumerate(windows):
        found = _judge(scene, window, predict, classes)
        if found is None:
            continue
        seen += 1
        # One order from its two ends: of equal windows the later one is the worse.
        best = sorted([*best, (-found.miou, number, found)], key=_rank)[:count]
        worst = sorted([*worst, (found.miou, -number, found)], key=_rank)[:count]
    # Of a few windows the better half is the best.
    most_best = min(count, (seen + 1) // 2)
    most_worst = min(count, seen - most_best)
    return _first(best, most_best), _first(worst, most_worst)


def _rank(entry: tuple[float, int, Exemplar]) -> tuple[float, int]:
    return entry[:2]


def _first(entries: Sequence[tuple[float, int, Exemplar]], count: int) -> tuple[Exemplar, ...]:
    return tuple(found for _, _, found in entries[:count])


def _judge(scene: LabelledScene, window: Window, predict: Predict, classes: int) -> Exemplar | None:
    labels_hw = scene.labels(window)
    if np.count_nonzero(labels_hw < classes) < _ENOUGH * labels_hw.size:
        return None
    image_chw, valid_hw = scene.image(window)
    labels_hw = np.where(valid_hw & (labels_hw < classes), labels_hw, np.uint8(NODATA_CLASS))
    if np.count_nonzero(labels_hw != NODATA_CLASS) < _ENOUGH * labels_hw.size:
        return None
    predicted_hw = predict(scene, window)
    labels_hw = np.where(predicted_hw < classes, labels_hw, np.uint8(NODATA_CLASS))
    miou = Confusion.of(labels_hw, predicted_hw, classes).miou()
    if miou is None:
        return None
    name = f"{scene.source.name}, row {window.row}, column {window.col}"
    return Exemplar(name, image_chw, valid_hw, labels_hw, predicted_hw, miou)
