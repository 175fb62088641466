"""What a network learns of objects: a heat map of their centres, and each pixel's way to its object's centre.

After Cheng et al. 2020, Panoptic-DeepLab, section 3.2 (instance centre and offset regression). The heat of a pixel
is the greatest of those of all objects, each a Gaussian of height 1 around the pixel in which the object's centre
of mass lies. The paper's Gaussians all have a standard deviation of 8 px; here it follows the object's size, since
neighbouring roofs may be 8 px wide: sigma = sqrt(pixels) / 8, from 1 to 8 px. As in the authors' code Gaussians end
at 3 sigma along each axis.

What is not known is not counted: heat where labels leave open whether a pixel is of a thing, or do not say of which
one; offsets everywhere but in objects that are known. Where a pixel is known not to be of a thing its heat is
known, and 0 but for Gaussians that reach there: those of narrow objects do, and the centre of a ring lies there.
"""

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled
from geoseg.train.batch import Instances, Sample
from geoseg.train.things import Things

_SHARE = 1 / 8
"""Standard deviation of a Gaussian, as a share of the side of a square that is as large as the object."""

_LEAST_PX, _MOST_PX = 1.0, 8.0
_END = 3.0
"""Standard deviations at which Gaussians end."""

REACH_PX = int(_END * _MOST_PX) + 1
"""No object has heat further than this from its centre, along an axis."""


def sigma_px(pixels_n: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations of the Gaussians of objects of so many pixels, in pixels, (n,)."""
    return np.clip(_SHARE * np.sqrt(pixels_n), _LEAST_PX, _MOST_PX)


def encode(instances: Instances) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The heat map and the offsets of objects, wherever labels say anything.

    Args:
        instances: The objects of a crop.

    Returns:
        Heat from 0 to 1, float32 (row, column); and from each pixel's centre to its object's centre in pixels,
        float32 (2, row, column), rows before columns on the first axis, NaN where there is no object.
    """
    ids_hw, centres_n2 = instances.ids_hw, instances.centres_n2
    heat_hw = np.zeros(ids_hw.shape, np.float32)
    _add_heat(np.floor(centres_n2).astype(np.int64), sigma_px(instances.pixels_n), _END, heat_hw)
    # Object 0 is none, and has its centre nowhere.
    row_n, col_n = np.concatenate((np.full((1, 2), np.nan), centres_n2)).T
    height, width = ids_hw.shape
    offset_ahw = np.empty((2, height, width), np.float32)
    offset_ahw[0] = row_n[ids_hw] - (np.arange(height) + 0.5)[:, None]
    offset_ahw[1] = col_n[ids_hw] - (np.arange(width) + 0.5)
    return heat_hw, offset_ahw


def centre_fields(sample: Sample, things: Things) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What is known of the heat map and the offsets of a crop.

    Args:
        sample: A crop with objects, of classes that exclude each other.
        things: Which labels are things.

    Returns:
        Heat (row, column) and offsets (2, row, column) as `encode` gives them, NaN where they are not known.

    Raises:
        ValueError: The crop is of a training that tells no objects apart.
    """
    if sample.instances is None:
        raise ValueError(f"expected objects of {sample.name}, got none")
    heat_hw, offset_ahw = encode(sample.instances)
    known_hw = things.is_v[sample.labels_hw] & (sample.instances.ids_hw > 0)
    offset_ahw[:, ~known_hw] = np.nan
    heat_hw[~known_hw & ~things.is_not_v[sample.labels_hw]] = np.nan
    return heat_hw, offset_ahw


@compiled
def _add_heat(
    centres_n2: NDArray[np.int64], sigma_n: NDArray[np.float64], end: float, heat_hw: NDArray[np.float32]
) -> None:
    """Put Gaussians around pixels into a heat map, where they are greater than what is there."""
    height, width = heat_hw.shape
    for n in range(len(centres_n2)):
        sigma, reach = sigma_n[n], int(end * sigma_n[n])
        row, col = centres_n2[n, 0], centres_n2[n, 1]
        for at_row in range(max(row - reach, 0), min(row + reach + 1, height)):
            for at_col in range(max(col - reach, 0), min(col + reach + 1, width)):
                squared = (at_row - row) ** 2 + (at_col - col) ** 2
                heat = np.float32(np.exp(-squared / (2 * sigma * sigma)))
                heat_hw[at_row, at_col] = max(heat_hw[at_row, at_col], heat)
