"""Chips to look at: an image, what its labels say, what a model says, and where the two differ."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.report.picture import displayed

_CHECKS_PX = 8
_LIGHT, _DARK = 235, 205
"""What is not known is a chequered grey, which is no class's colour."""

RIGHT, WRONG = (0, 114, 178), (213, 94, 0)
"""Blue and vermilion: Okabe and Ito's, which the colour-blind tell apart."""


@dataclass(frozen=True, slots=True, eq=False)
class JudgedChip:
    """A window of a validation region with what a model made of it.

    Attributes:
        name: Where it comes from: the scene, and row and column in it.
        image_chw: float32 (band, row, column) in the raster's own numbers.
        valid_hw: Where it holds data.
        labels_hw: uint8 class ids (row, column); any value that is no class where it is not known.
        predicted_hw: uint8 class ids (row, column); any value that is no class where there is no data.
        miou: Mean IoU of the classes that are there, in truth or prediction.
    """

    name: str
    image_chw: NDArray[np.float32]
    valid_hw: NDArray[np.bool_]
    labels_hw: NDArray[np.uint8]
    predicted_hw: NDArray[np.uint8]
    miou: float

    def pictures(self, labels: LabelSet) -> tuple[NDArray[np.uint8], ...]:
        """Image, labels, prediction and what differs, each (row, column, 3)."""
        return (
            displayed(self.image_chw, self.valid_hw),
            class_colors(self.labels_hw, labels),
            class_colors(self.predicted_hw, labels),
            differences(self.labels_hw, self.predicted_hw, len(labels)),
        )


PANELS = ("image", "labels", "prediction", "right and wrong")
"""What the pictures of a chip are, in their order."""


def class_colors(ids_hw: NDArray[np.uint8], labels: LabelSet) -> NDArray[np.uint8]:
    """Class ids in the colours of their classes; a grey chequer where a value is no class.

    Args:
        ids_hw: Class ids (row, column).
        labels: The classes.

    Returns:
        Red, green and blue (row, column, 3).
    """
    colors_vc = np.zeros((256, 3), np.uint8)
    colors_vc[: len(labels)] = [label.rgb for label in labels.classes]
    shown_hwc = colors_vc[ids_hw]
    unknown_hw = ids_hw >= len(labels)
    shown_hwc[unknown_hw] = _chequer(ids_hw.shape)[unknown_hw]
    return shown_hwc


def differences(labels_hw: NDArray[np.uint8], predicted_hw: NDArray[np.uint8], classes: int) -> NDArray[np.uint8]:
    """Where a prediction is right (blue) and wrong (vermilion); a grey chequer where nothing is known.

    Args:
        labels_hw: True class ids (row, column).
        predicted_hw: Predicted ones (row, column).
        classes: How many classes there are.

    Returns:
        Red, green and blue (row, column, 3).
    """
    shown_hwc = _chequer(labels_hw.shape)
    known_hw = (labels_hw < classes) & (predicted_hw < classes)
    shown_hwc[known_hw & (labels_hw == predicted_hw)] = RIGHT
    shown_hwc[known_hw & (labels_hw != predicted_hw)] = WRONG
    return shown_hwc


def png(picture_hwc: NDArray[np.uint8], longest_px: int | None = None) -> bytes:
    """A picture as PNG, without a date or name of a program.

    Args:
        picture_hwc: Red, green and blue (row, column, 3).
        longest_px: Its longer side at most; nearest pixels are taken, so that no colour is mixed.
    """
    image = Image.fromarray(picture_hwc)
    if longest_px is not None and max(image.size) > longest_px:
        factor = longest_px / max(image.size)
        width, height = (max(1, round(side * factor)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def data_uri(content: bytes) -> str:
    """A PNG as an address that needs no file."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"


def unknown(ids_hw: NDArray[np.uint8], valid_hw: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Class ids (row, column) with `NODATA_CLASS` where an image holds no data."""
    return np.where(valid_hw, ids_hw, np.uint8(NODATA_CLASS))


def _chequer(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    rows, cols = np.indices(shape)
    grey_hw = np.where((rows // _CHECKS_PX + cols // _CHECKS_PX) % 2, _DARK, _LIGHT).astype(np.uint8)
    return np.repeat(grey_hw[..., None], 3, axis=2)
