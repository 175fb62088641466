"""Pictures of a training for slides and papers: curves, confusion, IoU, and chips side by side."""

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from geoseg.labels import LabelSet
from geoseg.report.chip_picture import PANELS, RIGHT, WRONG, JudgedChip
from geoseg.report.training_facts import SplitFacts, TrainingFacts

_DPI = 110
_BLUE, _VERMILION = (tuple(part / 255 for part in color) for color in (RIGHT, WRONG))
_HATCHES = ("", "//", "..", "xx")
"""Splits differ by these besides their colours."""

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
    _save(figure, path)


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
    _save(figure, path)


def write_iou(path: Path, splits: Sequence[SplitFacts], labels: LabelSet) -> None:
    """IoU of each class on each split, as a PNG.

    Args:
        path: PNG to write.
        splits: The figures.
        labels: The classes.
    """
    figure = Figure((8, max(2.5, 0.35 * len(labels) * max(1, len(splits)) + 1)), layout="constrained")
    axes = figure.subplots()
    thick = 0.8 / max(1, len(splits))
    colors = (_BLUE, _VERMILION, (0.0, 0.62, 0.45), (0.8, 0.47, 0.65))
    for number, split in enumerate(splits):
        ious = [split.iou.get(name) for name in labels.names]
        places = np.arange(len(labels)) + (number - (len(splits) - 1) / 2) * thick
        widths = [0.0 if iou is None else iou for iou in ious]
        mean = "-" if split.miou is None else f"{split.miou:.3f}"
        axes.barh(
            places,
            widths,
            thick,
            color=colors[number % len(colors)],
            hatch=_HATCHES[number % len(_HATCHES)],
            edgecolor="white",
            label=f"{split.split}, mean {mean}",
        )
        for place, iou in zip(places, ious, strict=True):
            axes.text((iou or 0) + 0.01, place, "not there" if iou is None else f"{iou:.3f}", va="center", size=8)
    axes.set_yticks(range(len(labels)), labels.names)
    axes.invert_yaxis()
    axes.set(xlabel="IoU", xlim=(0, 1.1))
    if splits:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=len(splits), frameon=False)
    _save(figure, path)


def write_chips(path: Path, chips: Sequence[JudgedChip], labels: LabelSet, title: str) -> None:
    """Chips with their labels, what was predicted and where that is wrong, a row each, as a PNG.

    Args:
        path: PNG to write.
        chips: At least one.
        labels: The classes.
        title: What is said of them all.
    """
    figure = Figure((11, 2.9 * len(chips) + 0.9), layout="constrained")
    grid = figure.subplots(len(chips), len(PANELS), squeeze=False)
    for row, chip in zip(grid, chips, strict=True):
        for axes, picture, words in zip(row, chip.pictures(labels), PANELS, strict=True):
            axes.imshow(picture, interpolation="nearest")
            _bare(axes)
            axes.set_title(words, size=9)
        # Names come from files, in which a dollar sign begins no formula.
        row[0].set_ylabel(f"{chip.name}\nmean IoU {chip.miou:.3f}", size=8, parse_math=False)
    legend(figure, labels)
    figure.suptitle(title, parse_math=False)
    _save(figure, path)


def legend(figure: Figure, labels: LabelSet) -> None:
    """The classes with their colours, below a figure."""
    patches = [Patch(facecolor=label.color, edgecolor="black", label=label.name) for label in labels.classes]
    patches.append(Patch(facecolor="#dddddd", edgecolor="black", hatch="..", label="not known"))
    figure.legend(handles=patches, loc="outside lower center", ncols=min(8, len(patches)), frameon=False)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])


def _save(figure: Figure, path: Path) -> None:
    # No date and no name of a program: the same figures give the same bytes.
    write_whole(path, lambda part: figure.savefig(part, dpi=_DPI, format="png", metadata={"Software": None}))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let a file be written beside its place and move it there: it appears whole or not at all.

    Args:
        path: Its place.
        write: Writes a file of another name.
    """
    part = path.with_name(f".{path.name}.{uuid4().hex}.partial")
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
