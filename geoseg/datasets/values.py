"""From categories, as labels name them, to the labels that are written."""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS

_NAMED = 20
"""Categories that a message names."""


def value_of(category: str, values: Mapping[str, int], ignored: Collection[str], where: str) -> int:
    """The label of a category.

    Args:
        category: As the labels name it.
        values: From category to label.
        ignored: Categories that are `NODATA_CLASS` where `values` does not hold them.
        where: The labels, for the message.

    Raises:
        ConfigError: It has none.
    """
    if category in values:
        return values[category]
    if category in ignored:
        return NODATA_CLASS
    some = ", ".join(sorted(values)[:_NAMED]) + (", ..." if len(values) > _NAMED else "")
    raise ConfigError(
        f"{where} names the category {category[:80]!r}, which stands for no class: expected one of {some}; add "
        "it to the classes, or to what is ignored"
    )


def labelled_in(values: Mapping[str, int], classes: int) -> list[int]:
    """The class ids that categories stand for; of the other classes such labels say nothing."""
    return sorted({value for value in values.values() if value < classes})


def planes_of(labels_hw: NDArray[np.uint8], values: Mapping[str, int], classes: int) -> NDArray[np.uint8]:
    """Whether each class is there (class, row, column), from labels that name one class for each pixel.

    Args:
        labels_hw: Coded labels (row, column). What is neither a class nor `NODATA_CLASS` is none of the classes.
        values: From category to label.
        classes: How many classes there are.
    """
    planes_chw = np.full((classes, *labels_hw.shape), NODATA_CLASS, np.uint8)
    for class_id in labelled_in(values, classes):
        planes_chw[class_id] = labels_hw == class_id
        planes_chw[class_id][labels_hw == NODATA_CLASS] = NODATA_CLASS
    return planes_chw
