"""Which pixels are of things, as far as their labels say."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.labels import NODATA_CLASS
from geoseg.train.candidates import Candidates


@dataclass(frozen=True, slots=True, eq=False)
class Things:
    """What coded labels say about things: countable objects, as opposed to stuff (Kirillov et al., CVPR 2019).

    Attributes:
        ids: Ids of the classes that are things, sorted.
        is_v: Boolean (256,), by coded label: every candidate of a pixel with that label is a thing.
        is_not_v: Boolean (256,), likewise: none is. Where neither holds it is not known.
    """

    ids: tuple[int, ...]
    is_v: NDArray[np.bool_]
    is_not_v: NDArray[np.bool_]

    @classmethod
    def of(cls, candidates: Candidates, ids: Collection[int]) -> Self:
        """The things of a run.

        Args:
            candidates: The meaning of its coded labels.
            ids: Ids of the classes that are things.
        """
        thing_k = np.isin(np.arange(candidates.classes), list(ids))
        some_v = np.logical_or.reduce(candidates.allowed_vk[:, thing_k], axis=1)
        others_v = np.logical_or.reduce(candidates.allowed_vk[:, ~thing_k], axis=1)
        is_v, is_not_v = some_v & ~others_v, ~some_v
        # Of what is not labelled nothing is known, also where all classes are things.
        is_v[NODATA_CLASS] = is_not_v[NODATA_CLASS] = False
        return cls(tuple(sorted(ids)), is_v, is_not_v)
