"""Predict labelled regions tile by tile and count hits."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import shapely
import torch
from torch import nn

from geoseg.grid import Window
from geoseg.train.candidates import Candidates
from geoseg.train.metrics import Confusion
from geoseg.train.metrics.truth import Truth
from geoseg.train.scenes import LabelledScene

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class TileShape:
    """How regions are cut.

    Attributes:
        size_px: Side of the square windows that the network sees.
        margin_px: Frame of each window that is predicted but not counted, for want of context.
    """

    size_px: int = 512
    margin_px: int = 64

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin_px < self.size_px:
            raise ValueError(f"expected a margin below half of {self.size_px}, got {self.margin_px}")

    def outer(self, core: Window) -> Window:
        """The window that the network sees to predict a core."""
        return Window(core.row - self.margin_px, core.col - self.margin_px, self.size_px, self.size_px)


def cores(scene: LabelledScene, shape: TileShape) -> Iterator[Window]:
    """The cores of a scene's tiles that meet its region, in raster order.

    They partition the grid from its origin on; those at the far edges reach beyond it, where nothing counts.
    """
    core_px = shape.size_px - 2 * shape.margin_px
    for row in range(0, scene.grid.height, core_px):
        for col in range(0, scene.grid.width, core_px):
            if scene.pixels.intersects(shapely.box(col, row, col + core_px, row + core_px)):
                yield Window(row, col, core_px, core_px)


def evenly(items: Sequence[_Item], count: int) -> list[_Item]:
    """At most `count` of the items, spread evenly over the list; the same ones every time."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def score(
    model: nn.Module,
    windows: Iterable[tuple[LabelledScene, Window]],
    shape: TileShape,
    classes: int,
    device: torch.device,
    candidates: Candidates | None = None,
    *,
    overlapping: bool = False,
) -> Confusion:
    """Predict cores and count them against their labels.

    Cores without labels are read but not predicted. The model is put into evaluation mode and back.

    Args:
        model: Takes normalized images (N, band, row, column), gives logits (N, class, row, column),
            perhaps with further channels after those of the classes.
        windows: Scenes and the cores to predict in them.
        shape: The tiles around the cores.
        classes: How many classes there are.
        device: Where the model is.
        candidates: The meaning of coded labels; class ids alone if not given.
        overlapping: Whether a pixel may be of several classes: each is judged by itself, there at p >= 1/2.
    """
    candidates, total = candidates or Candidates.of(classes), Confusion.zero(classes)
    was_training = model.training
    model.eval()
    for scene, core in windows:
        if not scene.is_labelled(core, overlapping=overlapping):
            continue
        window = shape.outer(core)
        image_chw, labels = scene.read_planes(window) if overlapping else scene.read(window)
        inputs_nchw = torch.from_numpy(image_chw).unsqueeze(0).to(device, memory_format=torch.channels_last)
        inner = core.slices_in(window)
        with torch.inference_mode():
            # What tells objects apart comes after the classes.
            logits_khw = model(inputs_nchw)[0][:classes, *inner]
        if overlapping:
            truth = Truth.of_planes(labels[:, *inner])
            total += Confusion.of_planes(truth, (logits_khw >= 0).cpu().numpy())
        else:
            predicted_hw = logits_khw.argmax(0).to(torch.uint8).cpu().numpy()
            total += Confusion.of_truth(Truth.of_labels(labels[inner], candidates), predicted_hw)
    model.train(was_training)
    return total
