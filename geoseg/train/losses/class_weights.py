"""Weights of classes from how often they are labelled."""

from collections.abc import Iterable, Sequence

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.grid import Window
from geoseg.train.candidates import Candidates
from geoseg.train.scenes import LabelledScene

_WINDOW_PX = 2048


def labelled_pixels(scenes: Iterable[LabelledScene], candidates: Candidates) -> NDArray[np.int64]:
    """How many pixels of each class the labels of scenes hold within their regions, int64 (class,).

    Labels alone are read, all of them; pixels that may be of several classes count for none.

    Args:
        scenes: Those to train on.
        candidates: The meaning of coded labels.
    """
    values_v = np.zeros(256, np.int64)
    for scene in scenes:
        for row in range(0, scene.grid.height, _WINDOW_PX):
            for col in range(0, scene.grid.width, _WINDOW_PX):
                height, width = min(_WINDOW_PX, scene.grid.height - row), min(_WINDOW_PX, scene.grid.width - col)
                if scene.pixels.intersects(shapely.box(col, row, col + width, row + height)):
                    labels_hw = scene.labels(Window(row, col, height, width))
                    values_v += np.bincount(labels_hw.ravel(), minlength=256)
    one_v = candidates.allowed_vk.sum(1) == 1
    pixels_k = np.zeros(candidates.classes, np.int64)
    np.add.at(pixels_k, candidates.allowed_vk.argmax(1)[one_v], values_v[one_v])
    return pixels_k


def inverse_frequency(pixels_k: NDArray[np.int64], names: Sequence[str]) -> NDArray[np.float64]:
    """Weights w_k = N / (K n_k): n_k labelled pixels of class k, N of all K classes together.

    The mean weight of a labelled pixel is 1, and each class weighs as much as any other in the sum.

    Args:
        pixels_k: Labelled pixels of each class (class,), of the training data or a fair sample of it.
        names: Of the classes.

    Returns:
        float64 (class,).

    Raises:
        ConfigError: A class has no pixel.
    """
    missing = [name for name, pixels in zip(names, pixels_k, strict=True) if pixels == 0]
    if missing:
        raise ConfigError(
            f"training.loss.class_weights: inverse_frequency: expected training labels of every class, there are "
            f"none of {', '.join(missing)}; add some, remove the class, or write the weights as a list"
        )
    return pixels_k.sum() / (len(pixels_k) * pixels_k.astype(np.float64))
