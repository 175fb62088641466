"""What may change in training crops, and the changes that blend no pixels: the symmetries of the square."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from geoseg.train.batch import Instances, Sample

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may change in a crop; the defaults after the first three change nothing.

    Attributes:
        flips: Mirror left-right and top-bottom; imagery from above has no preferred handedness.
        rotations: Turn by multiples of 90 degrees.
        color_jitter: Half-width of the random gain of each band and of the random contrast, as a fraction.
        scale: Least and greatest factor by which things appear larger.
        rotate_deg: Turn by any angle up to this, either way.
        elastic_px: Most that a point is moved along each axis by a random smooth field.
        elastic_spacing_px: Distance of that field's control points: how smooth it is.
        noise: Greatest standard deviation of Gaussian noise, as a fraction of the value range, in half of
            the crops.
        blur_px: Greatest standard deviation of a Gaussian blur, in half of the crops.
        cutmix: Probability that a rectangle of another crop of the batch is pasted into a crop, with its labels.
        mixup: Both parameters of the beta distribution that shares of blended crops come from; 0 blends none.
    """

    flips: bool
    rotations: bool
    color_jitter: float
    scale: tuple[float, float] = (1.0, 1.0)
    rotate_deg: float = 0.0
    elastic_px: float = 0.0
    elastic_spacing_px: float = 64.0
    noise: float = 0.0
    blur_px: float = 0.0
    cutmix: float = 0.0
    mixup: float = 0.0


@dataclass(frozen=True, slots=True)
class Symmetry:
    """One of the eight symmetries of the square: mirrored first, then turned.

    Attributes:
        mirror_cols: Left becomes right.
        mirror_rows: Top becomes bottom.
        quarter_turns: Counterclockwise.
    """

    mirror_cols: bool
    mirror_rows: bool
    quarter_turns: int

    @classmethod
    def draw(cls, augmentation: Augmentation, rng: np.random.Generator) -> "Symmetry":
        """A random one out of those that may occur."""
        mirror_cols = augmentation.flips and rng.random() < 0.5
        mirror_rows = augmentation.flips and rng.random() < 0.5
        return cls(mirror_cols, mirror_rows, int(rng.integers(4)) if augmentation.rotations else 0)

    def apply(self, values: NDArray[_Number]) -> NDArray[_Number]:
        """Change the last two axes (row, column) of an array; they must be of equal length to turn."""
        if self.mirror_cols:
            values = values[..., ::-1]
        if self.mirror_rows:
            values = values[..., ::-1, :]
        return np.ascontiguousarray(np.rot90(values, self.quarter_turns, (-2, -1)))

    def move(self, sample: Sample) -> Sample:
        """A crop with all that belongs to it, mirrored and turned alike."""
        instances = sample.instances
        return replace(
            sample,
            image_chw=self.apply(sample.image_chw),
            valid_hw=self.apply(sample.valid_hw),
            labels_hw=self.apply(sample.labels_hw),
            instances=None if instances is None else self._move(instances),
        )

    def _move(self, instances: Instances) -> Instances:
        """Objects, with their centres: the same points of the ground."""
        height, width = instances.ids_hw.shape
        row_n, col_n = instances.centres_n2.T
        if self.mirror_cols:
            col_n = width - col_n
        if self.mirror_rows:
            row_n = height - row_n
        for _ in range(self.quarter_turns % 4):
            row_n, col_n = width - col_n, row_n
            height, width = width, height
        return Instances(self.apply(instances.ids_hw), np.stack([row_n, col_n], 1), instances.pixels_n)
