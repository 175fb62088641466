"""The scene and its classes as pictures that lie upright on a web map, see-through where there is no data."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.io.mosaic import Mosaic
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.report.map_frame import MapFrame
from geoseg.report.picture import Picture, displayed

_QUALITY = 82
"""Of WebP, for the scene: about half a byte a pixel."""

_WIDER = 2
"""A picture of classes is made from an overview of up to so many times its pixels along a side."""


def scene_picture(picture: Picture, part: Grid, window: Window, frame: MapFrame) -> bytes | None:
    """What the scene looks like, as WebP; None where it cannot be read.

    Args:
        picture: Gives the scene.
        part: The grid of the window.
        window: What of the whole grid is shown.
        frame: Where the picture lies.
    """
    try:
        image_chw, valid_hw = picture(window, max(frame.height, frame.width))
    except SceneError:
        # A damaged scene still has a result where it could be read, and the run says which blocks failed.
        return None
    image_hwc = displayed(image_chw, valid_hw)
    shown_hwc = np.zeros((frame.height, frame.width, 4), np.uint8)
    for rows, at in frame.strips(part):
        at_small = _scaled(at, part, valid_hw.shape)
        inside_hw, nearest = _nearest(at_small, valid_hw.shape)
        shown_hwc[rows, :, 3] = np.where(inside_hw & valid_hw[nearest], 255, 0)
        for band in range(3):
            # Pixels are known at their middles.
            shown_hwc[rows, :, band] = ndimage.map_coordinates(
                image_hwc[..., band], at_small - 0.5, order=1, mode="nearest"
            )
    return _webp(shown_hwc, quality=_QUALITY, method=4)


@dataclass(frozen=True, slots=True)
class ClassPicture:
    """What the classes look like.

    Attributes:
        webp: The picture.
        shares: Of the pixels with data, which share is of each class, by class id; counted in an overview.
    """

    webp: bytes
    shares: tuple[float, ...]


def class_picture(mosaic: Mosaic, labels: LabelSet, part: Grid, window: Window, frame: MapFrame) -> ClassPicture:
    """The classes in their colours, from the finest overview that is not much larger than the picture.

    Args:
        mosaic: Holds them.
        labels: Their colours.
        part: The grid of the window.
        window: What of the whole grid is shown.
        frame: Where the picture lies.
    """
    levels = len(mosaic.level_shapes())
    most_px = _WIDER * max(frame.height, frame.width)
    small = [level for level in range(levels) if max(window.shape) >> level <= most_px]
    level = small[0] if small else levels - 1
    row, col = window.row >> level, window.col >> level
    row_stop, col_stop = ((window.row_stop - 1) >> level) + 1, ((window.col_stop - 1) >> level) + 1
    classes_hw = mosaic.read(level, "classes", Window(row, col, row_stop - row, col_stop - col))
    counts = np.bincount(classes_hw.ravel(), minlength=NODATA_CLASS + 1)[: len(labels)]
    colors = np.zeros((NODATA_CLASS + 1, 4), np.uint8)
    colors[: len(labels)] = [(*label.rgb, 255) for label in labels.classes]
    shown_hwc = np.zeros((frame.height, frame.width, 4), np.uint8)
    for rows, at in frame.strips(part):
        # A pixel of the overview is 2^level of the grid's, counted from the grid's corner, not the window's.
        at_level = np.stack(
            [(at[0] + window.row) / 2**level - row, (at[1] + window.col) / 2**level - col],
        )
        within_hw = (at[0] >= 0) & (at[0] < part.height) & (at[1] >= 0) & (at[1] < part.width)
        inside_hw, nearest = _nearest(at_level, classes_hw.shape)
        shown_hwc[rows] = colors[np.where(inside_hw & within_hw, classes_hw[nearest], NODATA_CLASS)]
    shares = counts / max(1, counts.sum())
    return ClassPicture(_webp(shown_hwc, lossless=True, method=4), tuple(shares.tolist()))


def _scaled(at: NDArray[np.float64], part: Grid, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Places on a grid (2, row, column) as places on a small picture of it."""
    return at * np.array([shape[0] / part.height, shape[1] / part.width])[:, None, None]


def _nearest(
    at: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.bool_], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Which places (2, row, column) lie within an array (row, column), and the index of the pixel for each."""
    whole = np.floor(at).astype(np.int64)
    inside_hw = (whole[0] >= 0) & (whole[0] < shape[0]) & (whole[1] >= 0) & (whole[1] < shape[1])
    return inside_hw, (np.clip(whole[0], 0, shape[0] - 1), np.clip(whole[1], 0, shape[1] - 1))


def _webp(shown_hwc: NDArray[np.uint8], **options: Any) -> bytes:  # noqa: ANN401  # Pillow's own
    file = io.BytesIO()
    # Colours below what is not seen cost bytes.
    shown_hwc[shown_hwc[..., 3] == 0] = 0
    Image.fromarray(shown_hwc, "RGBA").save(file, "WEBP", **options)
    return file.getvalue()
