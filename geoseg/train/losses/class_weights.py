"""Weights of classes from how often they are labelled."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError


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
