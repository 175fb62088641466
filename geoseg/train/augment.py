"""Random changes of training crops: the symmetries of the square, and colour."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may change in a crop.

    Attributes:
        flips: Mirror left-right and top-bottom; imagery from above has no preferred handedness.
        rotations: Turn by multiples of 90 degrees.
        color_jitter: Half-width of the random gain of each band and of the random contrast, as a fraction.
    """

    flips: bool
    rotations: bool
    color_jitter: float


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


def jitter_color(
    image_chw: NDArray[np.float32], value_range: tuple[float, float], strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change the colours of a crop at random.

    With s the strength, each band is multiplied by its own gain from [1 - s, 1 + s] (acquisitions differ in
    tint as well as in brightness), then the distance from the crop's mean by a common contrast from
    [1 - s, 1 + s]; the result is clipped to the value range.

    Args:
        image_chw: Pixel values in the raster's own numbers.
        value_range: Least and greatest pixel value.
        strength: A fraction below 1; 0 changes nothing.
        rng: Where the choices come from; the same state makes the same choices.
    """
    if not strength:
        return image_chw
    gain_c11 = rng.uniform(1 - strength, 1 + strength, (image_chw.shape[0], 1, 1)).astype(np.float32)
    contrast = np.float32(rng.uniform(1 - strength, 1 + strength))
    image_chw = image_chw * gain_c11
    mean = image_chw.mean(dtype=np.float64).astype(np.float32)
    return np.clip((image_chw - mean) * contrast + mean, *value_range).astype(np.float32)
