"""Logits of labelled pixels, spread evenly over the regions of a split: what a calibration is fitted on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS, Activation
from geoseg.progress import stage_progress
from geoseg.train.candidates import Candidates
from geoseg.train.scenes import LabelledScene
from geoseg.train.score import TileShape, cores, evenly
from geoseg.train.target import Target

LEAST_PX = 250_000
"""Labelled pixels of a sample at least, where there are so many; at most twice as many."""

_TILES = 72
"""Tiles at most, unless they hold too few labelled pixels; as many as a validation in training."""


@dataclass(frozen=True, slots=True, eq=False)
class LogitSample:
    """What a network says of labelled pixels, and what is known of them, on the CPU.

    Attributes:
        logits_nk: float32 (pixel, class).
        labels: Coded labels, uint8 (n,), of pixels; where classes overlap planes, uint8 (pixel, class): 1, 0, or
            `NODATA_CLASS`.
        candidates: The meaning of coded labels.
        activation: What makes probabilities of logits.
        tiles: How many tiles of the split the pixels are from.
    """

    logits_nk: Tensor
    labels: Tensor
    candidates: Candidates
    activation: Activation
    tiles: int = 0

    @property
    def pixels(self) -> int:
        """How many there are."""
        return len(self.logits_nk)

    @property
    def overlapping(self) -> bool:
        """Whether a pixel may be of several classes."""
        return self.labels.ndim == 2

    def target(self, part: slice) -> Target:
        """What the losses know of some of the pixels, as an image of one row: (1, class, 1, pixel)."""
        labels = self.labels[part]
        if self.overlapping:
            return Target.of_planes(labels.T[None, :, None])
        return Target.of_labels(labels[None, None], self.candidates)

    @classmethod
    def of(
        cls,
        network: nn.Module,
        scenes: Sequence[LabelledScene],
        shape: TileShape,
        device: torch.device,
        candidates: Candidates,
        activation: Activation,
        *,
        overlapping: bool = False,
        least_px: int = LEAST_PX,
    ) -> Self:
        """Predict tiles as a validation does, and keep labelled pixels in equal steps; the same ones every time.

        Tiles of which anything is labelled are taken evenly from all of the split, then every n-th of their
        labelled pixels. Labels of the whole split are read for it, images of those tiles alone. The network is put
        into evaluation mode and back.

        Args:
            network: Takes normalized images (N, band, row, column), gives logits (N, class, row, column), perhaps
                with further channels after those of the classes.
            scenes: Of the split.
            shape: Its tiles.
            device: Where the network is.
            candidates: The meaning of coded labels.
            activation: What makes probabilities of its logits.
            overlapping: Whether a pixel may be of several classes.
            least_px: Of these at least, where there are so many, and at most twice as many.

        Raises:
            SceneError: A raster cannot be read.
        """
        windows = _labelled_windows(scenes, shape, overlapping=overlapping)
        tiles = _TILES
        chosen = evenly(windows, tiles)
        while sum(count for *_, count in chosen) < least_px and len(chosen) < len(windows):
            tiles *= 2
            chosen = evenly(windows, tiles)
        step = max(1, sum(count for *_, count in chosen) // least_px)
        classes, seen = candidates.classes, 0
        logits = [torch.empty((0, classes))]
        labels = [torch.empty((0, classes) if overlapping else 0, dtype=torch.uint8)]
        was_training = network.training
        network.eval()
        with stage_progress("calibrate", sum(count for *_, count in chosen)) as advance:
            for scene, core, count in chosen:
                logits_nk, labels_n = _predicted(
                    network, scene, core, shape, device, classes, overlapping=overlapping
                )
                # The step goes on from tile to tile, so that small tiles give their share.
                kept = slice(-seen % step, None, step)
                logits.append(logits_nk[kept].clone())
                labels.append(labels_n[kept].clone())
                seen += len(labels_n)
                advance(count, 1)
        network.train(was_training)
        return cls(torch.cat(logits), torch.cat(labels), candidates, activation, len(chosen))


def _labelled_windows(
    scenes: Sequence[LabelledScene], shape: TileShape, *, overlapping: bool
) -> list[tuple[LabelledScene, Window, int]]:
    """Scenes, cores that hold labels, and at how many pixels."""
    found = []
    for scene in scenes:
        for core in cores(scene, shape):
            labels = scene.planes(core) if overlapping else scene.labels(core)[None]
            count = int(np.count_nonzero((labels != NODATA_CLASS).any(0)))
            if count:
                found.append((scene, core, count))
    return found


def _predicted(
    network: nn.Module,
    scene: LabelledScene,
    core: Window,
    shape: TileShape,
    device: torch.device,
    classes: int,
    *,
    overlapping: bool,
) -> tuple[Tensor, Tensor]:
    """Logits (pixel, class) and labels (pixel, ...) of the labelled pixels of a core, in raster order."""
    window = shape.outer(core)
    image_chw, labels = scene.read_planes(window) if overlapping else scene.read(window)
    inputs_nchw = torch.from_numpy(image_chw).unsqueeze(0).to(device, memory_format=torch.channels_last)
    inner = core.slices_in(window)
    labels = labels[..., *inner]
    labelled_hw = torch.from_numpy((labels.reshape(-1, *labels.shape[-2:]) != NODATA_CLASS).any(0))
    with torch.inference_mode():
        logits_khw = network(inputs_nchw)[0][:classes, *inner].float().cpu()
    labels_hwk = torch.from_numpy(np.ascontiguousarray(np.moveaxis(labels, 0, -1) if overlapping else labels))
    return logits_khw.permute(1, 2, 0)[labelled_hw], labels_hwk[labelled_hw]
