"""Crops scaled, turned and bent: one resampling, from a window that is read large enough.

The way from a pixel of the crop to its place in the window: from the crop's middle, moved by a smooth field, turned
and scaled. Pixel values are bilinear, over the neighbours that hold data; labels, objects and validity are those of
the pixel in which the place lies, so that no label is made up. An object's centre goes the same way back: it
becomes the point of the crop whose place it is, which of an object that is bent is nearly the centre of mass.

A loop of our own (numba) does all of the resampling in one pass, without Python's lock: the libraries that were
tried either mix invalid neighbours in (torch's grid_sample and OpenCV's remap, which take about as long for their
several passes), or take several times as long (scipy; kornia, which also gives what lies outside the label 0 and
draws from torch's global random numbers).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.compiled import compiled
from geoseg.labels import NODATA_CLASS
from geoseg.train.augment import Augmentation
from geoseg.train.batch import Instances, Sample

_MARGIN_PX = 1
"""Bilinear neighbours reach half a pixel beyond the places; rounding less than the other half."""

_STEPS = 60
"""Of Newton's method at most; where fields are as strong as they may be, a dozen are usual."""

_NEAR_PX = 1e-6
"""What lies this near to where it is wanted is there."""


@dataclass(frozen=True, slots=True, eq=False)
class Deformation:
    """Where the pixels of a crop lie in the window around it.

    Attributes:
        crop_px: Side of the crop.
        scale: How many times larger things appear.
        turn_deg: By how much the content is turned, counterclockwise.
        controls_ark: Displacement of control points, pixels of the crop, float64 (2, row, column), rows before
            columns on the first axis; the field between them is a uniform cubic B-spline, as in Rueckert
            et al. 1999 (Nonrigid registration using free-form deformations, section II-B). None moves nothing.
        spacing_px: Distance of the control points, the second of which lies on the crop's corner.
    """

    crop_px: int
    scale: float
    turn_deg: float
    controls_ark: NDArray[np.float64] | None
    spacing_px: float

    @classmethod
    def draw(cls, augmentation: Augmentation, crop_px: int, rng: np.random.Generator) -> "Deformation":
        """A random one: the logarithm of the scale, the angle and the field's strength are uniform.

        Random fields to bend images by: Simard et al. 2003 (Best practices for convolutional neural networks,
        section 2); on coarse control points as in Ronneberger et al. 2015 (U-Net, section 3.1).
        """
        low, high = np.log(augmentation.scale)
        scale = float(np.exp(rng.uniform(low, high))) if low < high else augmentation.scale[0]
        turn_deg = float(rng.uniform(-1, 1)) * augmentation.rotate_deg
        controls_ark = None
        if augmentation.elastic_px:
            side = math.ceil(crop_px / augmentation.elastic_spacing_px) + 3
            amplitude_px = rng.uniform(0, augmentation.elastic_px)
            controls_ark = rng.uniform(-amplitude_px, amplitude_px, (2, side, side))
        return cls(crop_px, scale, turn_deg, controls_ark, augmentation.elastic_spacing_px)

    @property
    def changes_nothing(self) -> bool:
        """Whether every pixel stays where it is."""
        return self.scale == 1 and self.turn_deg == 0 and self.controls_ark is None

    @property
    def side_px(self) -> int:
        """Side of the window that holds all places of the crop's pixels, with the neighbours they need."""
        if self.changes_nothing:
            return self.crop_px
        turn = math.radians(self.turn_deg)
        # A spline lies between its control points, so that no pixel moves further than they do.
        bend_px = 0.0 if self.controls_ark is None else float(np.abs(self.controls_ark).max())
        half_px = (self.crop_px / 2 + bend_px) * (abs(math.cos(turn)) + abs(math.sin(turn))) / self.scale
        return math.ceil(2 * half_px) + 2 * _MARGIN_PX

    def apply(self, sample: Sample) -> Sample:
        """The crop out of a window; what lies beyond the window is no data.

        Args:
            sample: A window of any size, which the crop lies in the middle of.
        """
        if self.changes_nothing and sample.valid_hw.shape == (self.crop_px, self.crop_px):
            return sample
        planes_khw = sample.labels_hw.reshape(-1, *sample.labels_hw.shape[-2:])
        places_ahw = self._places(*sample.valid_hw.shape)
        image_chw = np.zeros((len(sample.image_chw), self.crop_px, self.crop_px), np.float32)
        valid_hw = np.zeros((self.crop_px, self.crop_px), np.bool_)
        labels_khw = np.full((len(planes_khw), self.crop_px, self.crop_px), NODATA_CLASS, np.uint8)
        # What lies under nodata may be NaN, which weighs something even where it has no weight.
        source_chw = sample.image_chw if sample.valid_hw.all() else np.where(sample.valid_hw, sample.image_chw, 0)
        _resample(
            np.ascontiguousarray(source_chw, np.float32),
            np.ascontiguousarray(sample.valid_hw),
            np.ascontiguousarray(planes_khw),
            places_ahw,
            image_chw,
            valid_hw,
            labels_khw,
        )
        labels_hw = labels_khw.reshape(*sample.labels_hw.shape[:-2], *valid_hw.shape)
        instances = sample.instances
        if instances is not None:
            instances = Instances(
                _taken(instances.ids_hw, places_ahw),
                self._back(instances.centres_n2, *sample.valid_hw.shape),
                instances.pixels_n * self.scale**2,
            )
        return replace(sample, image_chw=image_chw, valid_hw=valid_hw, labels_hw=labels_hw, instances=instances)

    def _places(self, height: int, width: int) -> NDArray[np.float64]:
        """Where the crop's pixel centres lie (axis, row, column), counted from the corner of a window."""
        centre_n = np.arange(self.crop_px) + 0.5 - self.crop_px / 2
        places_ahw = np.empty((2, self.crop_px, self.crop_px))
        places_ahw[0], places_ahw[1] = centre_n[:, None], centre_n
        if self.controls_ark is not None:
            _displace(self.controls_ark, *_spline(self.crop_px, self.spacing_px), places_ahw)
        turn = math.radians(self.turn_deg)
        cos, sin = math.cos(turn) / self.scale, math.sin(turn) / self.scale
        # Rows run downwards: content turned counterclockwise is fetched from clockwise.
        down_hw, right_hw = places_ahw
        return np.stack([height / 2 + cos * down_hw + sin * right_hw, width / 2 - sin * down_hw + cos * right_hw])

    def _back(self, places_n2: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
        """The points of the crop (n, axis), counted from its corner, that have given places in a window.

        Where the content is bent, by Newton's method with backtracking: the field never folds over (`MOST_BEND`),
        so the distance to the wanted place has no other minimum. Beyond the crop the field is that of its edge.
        """
        turn = math.radians(self.turn_deg)
        cos, sin = math.cos(turn) * self.scale, math.sin(turn) * self.scale
        down_n, right_n = places_n2[:, 0] - height / 2, places_n2[:, 1] - width / 2
        wanted_n2 = np.stack([cos * down_n - sin * right_n, sin * down_n + cos * right_n], 1) + self.crop_px / 2
        if self.controls_ark is None:
            return wanted_n2
        points_n2 = wanted_n2.copy()
        moved_n2, slope_n22 = self._field(points_n2)
        short_n2 = points_n2 + moved_n2 - wanted_n2
        share_n = np.ones(len(points_n2))
        for _ in range(_STEPS):
            left_n = np.hypot(*short_n2.T)
            if (left_n <= _NEAR_PX).all():
                break
            step_n2 = np.linalg.solve(slope_n22, short_n2[:, :, None])[:, :, 0]
            tried_n2 = points_n2 - share_n[:, None] * step_n2
            moved_n2, tried_slope_n22 = self._field(tried_n2)
            tried_short_n2 = tried_n2 + moved_n2 - wanted_n2
            better_n = np.hypot(*tried_short_n2.T) < left_n
            points_n2[better_n] = tried_n2[better_n]
            short_n2[better_n], slope_n22[better_n] = tried_short_n2[better_n], tried_slope_n22[better_n]
            share_n = np.where(better_n, 1.0, share_n / 2)
        return points_n2

    def _field(self, points_n2: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """By how much the field moves points of the crop (n, axis), and the slope of where that leads (n, 2, 2)."""
        assert self.controls_ark is not None  # else nothing is moved
        inside_n2 = points_n2.clip(0, self.crop_px)
        most = self.controls_ark.shape[1] - 4
        row_first, row_weights, row_slopes = _weights(inside_n2[:, 0] / self.spacing_px, most)
        col_first, col_weights, col_slopes = _weights(inside_n2[:, 1] / self.spacing_px, most)
        four = np.arange(4)
        rows_n4, cols_n4 = row_first[:, None] + four, col_first[:, None] + four
        around_an44 = self.controls_ark[:, rows_n4[:, :, None], cols_n4[:, None, :]]
        moved_n2 = np.einsum("anij,ni,nj->na", around_an44, row_weights, col_weights)
        slope_n22 = np.empty((len(points_n2), 2, 2))
        slope_n22[:, :, 0] = np.einsum("anij,ni,nj->na", around_an44, row_slopes, col_weights) / self.spacing_px
        slope_n22[:, :, 1] = np.einsum("anij,ni,nj->na", around_an44, row_weights, col_slopes) / self.spacing_px
        slope_n22 *= (inside_n2 == points_n2)[:, None, :]
        return moved_n2, slope_n22 + np.eye(2)


def _weights(
    place_n: NDArray[np.float64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The first of the four control points of places along an axis, their weights (n, 4), and the weights' slopes.

    Args:
        place_n: In distances of control points from the crop's corner.
        most: The last control point that can be the first of four.
    """
    first_n = np.clip(np.floor(place_n), 0, most)
    t = place_n - first_n
    weights = (1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3
    slopes = -((1 - t) ** 2), 3 * t**2 - 4 * t, -3 * t**2 + 2 * t + 1, t**2
    return first_n.astype(np.int64), np.stack(weights, 1) / 6, np.stack(slopes, 1) / 2


def _taken(ids_hw: NDArray[np.int32], places_ahw: NDArray[np.float64]) -> NDArray[np.int32]:
    """The object of the pixel of a window in which each place (axis, row, column) lies; 0 beyond the window."""
    rows_hw, cols_hw = np.floor(places_ahw).astype(np.int64)
    height, width = ids_hw.shape
    inside_hw = (rows_hw >= 0) & (cols_hw >= 0) & (rows_hw < height) & (cols_hw < width)
    taken_hw = np.zeros(rows_hw.shape, np.int32)
    taken_hw[inside_hw] = ids_hw[rows_hw[inside_hw], cols_hw[inside_hw]]
    return taken_hw


def _spline(count: int, spacing_px: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The first of the four control points of each pixel centre along an axis, and their weights (pixel, 4)."""
    first_n, weights_n4, _ = _weights(np.asarray((np.arange(count) + 0.5) / spacing_px, np.float64), count)
    return first_n, weights_n4


@compiled
def _displace(
    controls_ark: NDArray[np.float64],
    first_n: NDArray[np.int64],
    weights_n4: NDArray[np.float64],
    places_ahw: NDArray[np.float64],
) -> None:
    """Add the field to places (axis, row, column)."""
    side = len(first_n)
    line_k = np.empty(controls_ark.shape[2])
    for axis in range(2):
        for row in range(side):
            line_k[:] = 0
            for i in range(4):
                line_k += weights_n4[row, i] * controls_ark[axis, first_n[row] + i]
            for col in range(side):
                for i in range(4):
                    places_ahw[axis, row, col] += weights_n4[col, i] * line_k[first_n[col] + i]


@compiled
def _resample(
    image_chw: NDArray[np.float32],
    valid_hw: NDArray[np.bool_],
    labels_khw: NDArray[np.uint8],
    places_ahw: NDArray[np.float64],
    out_chw: NDArray[np.float32],
    out_valid_hw: NDArray[np.bool_],
    out_labels_khw: NDArray[np.uint8],
) -> None:
    """Fill the last three arrays where the place of a pixel, counted from the window's corner, is valid."""
    height, width = valid_hw.shape
    for row in range(out_valid_hw.shape[0]):
        for col in range(out_valid_hw.shape[1]):
            y, x = places_ahw[0, row, col], places_ahw[1, row, col]
            if y < 0 or x < 0 or y >= height or x >= width:
                continue
            # Unsigned, since numba would look whether each index counts from the end: half of the time.
            at_row, at_col = np.uint64(y), np.uint64(x)
            if not valid_hw[at_row, at_col]:
                continue
            out_valid_hw[row, col] = True
            for k in range(len(labels_khw)):
                out_labels_khw[k, row, col] = labels_khw[k, at_row, at_col]
            # The four pixels whose centres surround the place; at the window's edge they are two, or one, twice.
            # Those without data weigh nothing; the place's own is one of them, and weighs a quarter at least.
            top, left = int(y + 0.5) - 1, int(x + 0.5) - 1
            below, beside = y - 0.5 - top, x - 0.5 - left
            row0, row1 = np.uint64(max(top, 0)), np.uint64(min(top + 1, height - 1))
            col0, col1 = np.uint64(max(left, 0)), np.uint64(min(left + 1, width - 1))
            w00 = np.float32((1 - below) * (1 - beside) * valid_hw[row0, col0])
            w01 = np.float32((1 - below) * beside * valid_hw[row0, col1])
            w10 = np.float32(below * (1 - beside) * valid_hw[row1, col0])
            w11 = np.float32(below * beside * valid_hw[row1, col1])
            total = w00 + w01 + w10 + w11
            for c in range(len(image_chw)):
                out_chw[c, row, col] = (
                    w00 * image_chw[c, row0, col0]
                    + w01 * image_chw[c, row0, col1]
                    + w10 * image_chw[c, row1, col0]
                    + w11 * image_chw[c, row1, col1]
                ) / total
