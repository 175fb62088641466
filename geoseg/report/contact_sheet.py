"""A contact sheet: images with their labels, so that a look tells whether they belong together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geoseg.labels import LabelSet
from geoseg.report.chip_picture import class_colors, unknown
from geoseg.report.figure_file import add_legend, save_figure
from geoseg.report.picture import displayed

_ACROSS = 4
"""Pairs in a row."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An image with its labels.

    Attributes:
        name: Where it comes from.
        image_chw: float32 (band, row, column) in the raster's own numbers.
        valid_hw: Where it holds data.
        labels_hw: uint8 class ids (row, column); any value that is no class where it is not known.
    """

    name: str
    image_chw: NDArray[np.float32]
    valid_hw: NDArray[np.bool_]
    labels_hw: NDArray[np.uint8]


def write_contact_sheet(path: Path, pairs: Sequence[Pair], labels: LabelSet) -> None:
    """Draw pairs of image and labels, four in a row, as a PNG that appears whole or not at all.

    The borders of what is labelled are drawn on the image too: labels that lie beside what they name are seen so.

    Args:
        path: PNG to write.
        pairs: At least one.
        labels: The classes.
    """
    across = min(_ACROSS, len(pairs))
    down = math.ceil(len(pairs) / across)
    figure = Figure((4.3 * across, 2.45 * down + 0.8), layout="constrained")
    grid = figure.subplots(down, 2 * across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for number, pair in enumerate(pairs):
        image, drawn = grid[number // across, 2 * (number % across) :][:2]
        labels_hw = unknown(pair.labels_hw, pair.valid_hw)
        shown_hwc = displayed(pair.image_chw, pair.valid_hw)
        image.imshow(_with_borders(shown_hwc, labels_hw), interpolation="antialiased")
        drawn.imshow(class_colors(labels_hw, labels), interpolation="nearest")
        # Names come from files, in which a dollar sign begins no formula.
        image.set_title(pair.name, size=7, loc="left", parse_math=False)
    add_legend(figure, labels)
    save_figure(figure, path)


def _with_borders(shown_hwc: NDArray[np.uint8], labels_hw: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (row, column, 3) with yellow where a label differs from that below or right of it."""
    border_hw = np.zeros(labels_hw.shape, np.bool_)
    border_hw[:-1] |= labels_hw[:-1] != labels_hw[1:]
    border_hw[:, :-1] |= labels_hw[:, :-1] != labels_hw[:, 1:]
    marked_hwc = shown_hwc.copy()
    marked_hwc[border_hw] = (240, 228, 66)
    return marked_hwc
