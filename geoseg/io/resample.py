"""Resampling in which a pixel never depends on the window it is read in.

GDAL's decimated and warped reads place their kernels relative to the window that is asked for, so that two
overlapping reads disagree. Here each axis of the target is an interval of the source, fixed by the raster's
origin; a pixel is the same weighted sum in the same order however it is read.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse


@dataclass(frozen=True, slots=True)
class Taps:
    """The source pixels [start, stop) along one axis, and the weight of each for each target pixel.

    Attributes:
        start: First source pixel.
        stop: One past the last source pixel.
        weights: (target, source) in compressed rows, or None where target and source are the same pixels.
    """

    start: int
    stop: int
    weights: sparse.csr_array | None


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a target raster laid over a source axis with the same origin.

    Attributes:
        source_size: Source pixels.
        scale: Source pixels per target pixel; above 1 the target is coarser.
    """

    source_size: int
    scale: float

    @property
    def size(self) -> int:
        """Target pixels; the last one may reach beyond the source by less than half of itself."""
        return max(1, round(self.source_size / self.scale))

    def taps(self, start: int, stop: int) -> Taps:
        """Weights of the target pixels [start, stop).

        The mean over each pixel's area when the target is coarser, linear between pixel centres (the
        outermost repeated) when it is finer.
        """
        if self.scale == 1:
            return Taps(start, stop, None)
        target = np.arange(start, stop)
        if self.scale > 1:
            low = target * self.scale
            high = np.minimum((target + 1) * self.scale, self.source_size)
            first = np.floor(low).astype(np.int64)
            per_target = np.ceil(high).astype(np.int64) - first
            rows = np.repeat(np.arange(len(target)), per_target)
            offsets = np.arange(len(rows)) - np.repeat(np.cumsum(per_target) - per_target, per_target)
            columns = first[rows] + offsets
            covered = np.minimum(high[rows], columns + 1) - np.maximum(low[rows], columns)
            values = covered / (high - low)[rows]
        else:
            centre = np.clip((target + 0.5) * self.scale - 0.5, 0, self.source_size - 1)
            first = np.minimum(np.floor(centre).astype(np.int64), max(self.source_size - 2, 0))
            fraction = centre - first
            rows = np.repeat(np.arange(len(target)), 2)
            columns = np.minimum(np.stack([first, first + 1], axis=1).ravel(), self.source_size - 1)
            values = np.stack([1 - fraction, fraction], axis=1).ravel()
        source_start, source_stop = int(columns.min()), int(columns.max()) + 1
        weights = sparse.csr_array(
            (values.astype(np.float32), (rows, columns - source_start)),
            shape=(len(target), source_stop - source_start),
        )
        return Taps(source_start, source_stop, weights)

    def nearest(self, start: int, stop: int) -> NDArray[np.int64]:
        """The source pixel that holds the centre of each target pixel [start, stop), int64 (n,)."""
        centre = (np.arange(start, stop) + 0.5) * self.scale
        return np.minimum(np.floor(centre).astype(np.int64), self.source_size - 1)


def resample(
    image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_], rows: Taps, cols: Taps
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Weighted means of the valid source pixels.

    Args:
        image_chw: Source pixels, float32, of exactly the rows and columns that the taps name; zero where they
            are invalid.
        valid_hw: True where the source holds data.
        rows: Weights along the rows.
        cols: Weights along the columns.

    Returns:
        The target pixels (band, row, column), zero where invalid, and where they are valid: where at least
        half of a pixel's weight lies on valid source pixels.
    """
    if rows.weights is None and cols.weights is None:
        return image_chw, valid_hw
    weight_hw = _apply(valid_hw.astype(np.float32), rows, cols)
    valid_out_hw = weight_hw >= 0.5
    out_chw = np.zeros((len(image_chw), *weight_hw.shape), np.float32)
    for out_hw, band_hw in zip(out_chw, image_chw, strict=True):
        sums_hw = _apply(np.where(valid_hw, band_hw, np.float32(0)), rows, cols)
        np.divide(sums_hw, weight_hw, out=out_hw, where=valid_out_hw)
    return out_chw, valid_out_hw


def _apply(values_hw: NDArray[np.float32], rows: Taps, cols: Taps) -> NDArray[np.float32]:
    if rows.weights is not None:
        values_hw = np.asarray(rows.weights @ values_hw, np.float32)
    if cols.weights is not None:
        values_hw = np.asarray(cols.weights @ np.ascontiguousarray(values_hw.T), np.float32).T
    return np.ascontiguousarray(values_hw)
