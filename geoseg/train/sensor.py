"""Random changes of a crop's pixel values, as cameras, air and light change them: blur, colour, noise."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from geoseg.train.augment import Augmentation
from geoseg.train.batch import Sample

_FAINT_PX = 0.2
"""A Gaussian narrower than this has less than 1e-5 of its weight beyond its own pixel."""

_REACH = 3.0
"""Standard deviations after which a blur ends."""


def blur(image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_], sigma_px: float) -> NDArray[np.float32]:
    """A Gaussian mean of each pixel's surroundings, of those that hold data alone.

    Where some do not, the sum is divided by their weights: normalized convolution (Knutsson and Westin 1993).

    Args:
        image_chw: Pixel values.
        valid_hw: Where they are data; the others stay as they are.
        sigma_px: Standard deviation; below 0.2 nothing changes.
    """
    if sigma_px < _FAINT_PX:
        return image_chw
    if valid_hw.all():
        return _gaussian(image_chw, sigma_px)
    weights_hw = _gaussian(valid_hw.astype(np.float32)[None], sigma_px)[0]
    sums_chw = _gaussian(np.where(valid_hw, image_chw, np.float32(0)), sigma_px)
    # A valid pixel has at least its own weight.
    return np.where(valid_hw, sums_chw / np.where(valid_hw, weights_hw, np.float32(1)), image_chw)


def _gaussian(values_chw: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    blurred_chw: NDArray[np.float32] = gaussian_filter(
        values_chw, sigma_px, mode="reflect", truncate=_REACH, axes=(-2, -1)
    )
    return blurred_chw


def jitter_color(
    image_chw: NDArray[np.float32],
    valid_hw: NDArray[np.bool_],
    value_range: tuple[float, float],
    strength: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Change the colours of a crop at random.

    With s the strength, each band is multiplied by its own gain from [1 - s, 1 + s] (acquisitions differ in
    tint as well as in brightness), then the distance from the mean of the crop's data by a common contrast from
    [1 - s, 1 + s]; the result is clipped to the value range.

    Args:
        image_chw: Pixel values in the raster's own numbers.
        valid_hw: Where they are data; what lies under the others says nothing about the crop's mean.
        value_range: Least and greatest pixel value.
        strength: A fraction below 1; 0 changes nothing.
        rng: Where the choices come from; the same state makes the same choices.
    """
    if not strength:
        return image_chw
    gain_c11 = rng.uniform(1 - strength, 1 + strength, (image_chw.shape[0], 1, 1)).astype(np.float32)
    contrast = np.float32(rng.uniform(1 - strength, 1 + strength))
    if not valid_hw.any():
        return image_chw
    image_chw = image_chw * gain_c11
    mean = image_chw.mean(dtype=np.float64) if valid_hw.all() else image_chw[:, valid_hw].mean(dtype=np.float64)
    image_chw -= np.float32(mean)
    image_chw *= contrast
    image_chw += np.float32(mean)
    return image_chw.clip(*value_range, out=image_chw)


def add_noise(
    image_chw: NDArray[np.float32], value_range: tuple[float, float], deviation: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add independent Gaussian noise to each pixel and band; the result is clipped to the value range.

    Args:
        image_chw: Pixel values in the raster's own numbers.
        value_range: Least and greatest pixel value.
        deviation: Of the noise, as a fraction of the value range; 0 changes nothing.
        rng: Where the noise comes from.
    """
    if not deviation:
        return image_chw
    low, high = value_range
    noise_chw = rng.standard_normal(image_chw.shape, np.float32)
    noise_chw *= np.float32(deviation * (high - low))
    noise_chw += image_chw
    return noise_chw.clip(low, high, out=noise_chw)


def change_values(
    sample: Sample, augmentation: Augmentation, value_range: tuple[float, float], rng: np.random.Generator
) -> Sample:
    """Blur, colours and noise, in the order in which light meets them; each as strong as chance has it.

    Args:
        sample: A crop; its labels and validity stay.
        augmentation: The greatest strengths; blur and noise each meet half of the crops, with
            deviations uniform below them.
        value_range: Least and greatest pixel value.
        rng: Where the choices come from.
    """
    image_chw = blur(sample.image_chw, sample.valid_hw, _strength(rng) * augmentation.blur_px)
    image_chw = jitter_color(image_chw, sample.valid_hw, value_range, augmentation.color_jitter, rng)
    image_chw = add_noise(image_chw, value_range, _strength(rng) * augmentation.noise, rng)
    return replace(sample, image_chw=image_chw)


def _strength(rng: np.random.Generator) -> float:
    """0 in half of the cases, for clean crops are what is mapped later; else uniform up to 1."""
    return max(0.0, 2 * float(rng.random()) - 1)
