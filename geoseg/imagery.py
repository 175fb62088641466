"""What pixels a model expects: bands, value range, normalization and ground resolution."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Imagery:
    """The imagery that a model was trained on; it travels in the model package.

    Attributes:
        bands: Band names in the order of the model's input channels ("red", "green", "blue").
        dtype: Data type of the rasters, as numpy names it ("uint8").
        value_range: Least and greatest pixel value (inclusive), in the raster's own numbers.
        mean: Per band, in the raster's own numbers.
        std: Per band, in the raster's own numbers.
        ground_resolution_m: Ground length of a pixel in metres.
    """

    bands: tuple[str, ...]
    dtype: str
    value_range: tuple[float, float]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    ground_resolution_m: float

    def __post_init__(self) -> None:
        if not self.bands or len(set(self.bands)) != len(self.bands):
            raise ValueError(f"band names must be given and differ, got {self.bands}")
        if not len(self.mean) == len(self.std) == len(self.bands):
            raise ValueError(
                f"expected a mean and a std for each of {len(self.bands)} bands, "
                f"got {len(self.mean)} and {len(self.std)}"
            )
        if not all(np.isfinite((*self.mean, *self.std, *self.value_range))) or min(self.std) <= 0:
            raise ValueError("means, stds and the value range must be finite, and stds positive")
        largest, least = np.finfo(np.float32).max, np.finfo(np.float32).tiny
        if max(np.abs((*self.mean, *self.std, *self.value_range))) > largest or min(self.std) < least:
            raise ValueError("means, stds and the value range must be ordinary 32-bit floating-point numbers")
        if not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"expected a value range (low, high), got {self.value_range}")
        if not 0 < self.ground_resolution_m < np.inf:
            raise ValueError(f"ground resolution must be positive metres, got {self.ground_resolution_m}")
        try:
            np.dtype(self.dtype)
        except TypeError as error:
            raise ValueError(f"expected a data type as numpy names it (uint8), got {self.dtype!r}") from error

    def normalize(self, image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Zero mean and unit variance where there is data, zero where there is none.

        Args:
            image_chw: Pixel values in the raster's own numbers, float32.
            valid_hw: True where the pixel holds data.

        Returns:
            A new array, float32 (band, row, column).
        """
        mean_c = np.asarray(self.mean, np.float32)[:, None, None]
        std_c = np.asarray(self.std, np.float32)[:, None, None]
        normalized_chw = image_chw - mean_c
        normalized_chw /= std_c
        # Not a product with the mask: what lies under nodata may be NaN.
        np.copyto(normalized_chw, 0, where=~valid_hw)
        return normalized_chw
