"""Pictures of a training for slides and papers: curves, confusion, IoU, and chips side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from geoseg.labels import LabelSet
from geoseg.report.bars import write_bars
from geoseg.report.chip_picture import PANELS, RIGHT, WRONG, JudgedChip
from geoseg.report.figure_file import add_legend, save_figure
from geoseg.report.training_facts import SplitFacts, TrainingFacts

_BLUE, _VERMILION = (tuple(part / 255 for part in color) for color in (RIGHT, WRONG))
_MOST_IN_CELLS = 12
"""Classes up to which the cells of a confusion matrix hold their figures."""


def write_curves(path: Path, facts: TrainingFacts) -> None:
    """Loss and mean IoU over the iterations, as a PNG that appears whole or not at all.

    Args:
        path: PNG to write.
        facts: Of the training.
    """
    figure = Figure((10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    iterations = [point.iteration for point in facts.curve]
    left.plot(iterations, [point.loss for point in facts.curve], color=_VERMILION, marker=".")
    left.set(xlabel="iteration", ylabel="loss on training crops")
    mious = [np.nan if point.miou is None else point.miou for point in facts.curve]
    right.plot(iterations, mious, color=_BLUE, marker=".")
    right.axvline(facts.best_iteration, color="black", linestyle=":", label=f"packed: {facts.best_iteration}")
    right.set(xlabel="iteration", ylabel="mean IoU on validation tiles", ylim=(0, 1))
    right.legend(loc="lower right")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def write_confusion(path: Path, split: SplitFacts, labels: LabelSet) -> None:
    """The confusion matrix of a split, shares of each true class, as a PNG.

    Args:
        path: PNG to write.
        split: The figures.
        labels: The classes.
    """
    classes = len(labels)
    side = max(4.0, 0.62 * classes + 2)
    figure = Figure((side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = split.shares
    image = axes.imshow(np.ma.masked_invalid(shares), cmap="cividis", vmin=0, vmax=1)
    axes.set_xticks(range(classes), labels.names, rotation=90 if classes > 6 else 45, ha="center")
    axes.set_yticks(range(classes), labels.names)
    axes.set(xlabel="predicted", ylabel="true", title=f"{split.split}: share of each true class")
    if classes <= _MOST_IN_CELLS:
        for row, col in np.argwhere(np.isfinite(shares)):
            share = shares[row, col]
            axes.text(
                col, row, f"{100 * share:.0f}", ha="center", va="center", color="black" if share > 0.55 else "white"
            )
    figure.colorbar(image, shrink=0.8)
    save_figure(figure, path)


def write_iou(path: Path, splits: Sequence[SplitFacts], labels: LabelSet) -> None:
    """IoU of each class on each split, as a PNG.

    Args:
        path: PNG to write.
        splits: The figures.
        labels: The classes.
    """
    series = [
        (
            f"{one.split}, mean {'-' if one.miou is None else format(one.miou, '.3f')}",
            list(map(one.iou.get, labels.names)),
        )
        for one in splits
    ]
    write_bars(path, labels.names, series, "IoU", lambda iou: f"{iou:.3f}")


def write_chips(path: Path, chips: Sequence[JudgedChip], labels: LabelSet, title: str) -> None:
    """Chips with their labels, what was predicted and where that is wrong, a row each, as a PNG.

    Args:
        path: PNG to write.
        chips: At least one.
        labels: The classes.
        title: What is said of them all.
    """
    height = 2.75 * len(chips) + 1.1
    figure = Figure((11, height))
    # Panels of one size need no layout to be found, which would take longer than all else.
    frame = {"left": 0.05, "right": 0.99, "bottom": 0.45 / height, "top": 1 - 0.65 / height}
    grid = figure.subplots(
        len(chips), len(PANELS), squeeze=False, gridspec_kw=frame | {"wspace": 0.05, "hspace": 0.12}
    )
    for row, chip in zip(grid, chips, strict=True):
        for axes, picture, words in zip(row, chip.pictures(labels), PANELS, strict=True):
            axes.imshow(picture, interpolation="nearest")
            _bare(axes)
            axes.set_title(words, size=9)
        # Names come from files, in which a dollar sign begins no formula.
        row[0].set_ylabel(f"{chip.name}\nmean IoU {chip.miou:.3f}", size=8, parse_math=False)
    add_legend(figure, labels)
    figure.suptitle(title, parse_math=False)
    save_figure(figure, path)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
