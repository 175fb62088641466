"""What a coded label says: the classes that a pixel may be of.

A data set that labels buildings alone says of a pixel without one that it is something else, not what. So a coded
label stands for a set of candidates: a class id for that class alone, a further value for "none of the classes that
this data set labels", and `NODATA_CLASS` for all of them (nothing is known).
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.labels import NODATA_CLASS


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The meaning of coded labels, the same for all data sets of a run.

    Attributes:
        allowed_vk: Boolean (value, class), 256 values: which classes a pixel with that label may be of. One for
            class ids, several for the rest of a partly labelled data set, all where nothing is known.
        rests: For each set of labelled classes that leaves others, the value of "none of these"; where it leaves
            one, that is its id.
    """

    allowed_vk: NDArray[np.bool_]
    rests: tuple[tuple[frozenset[int], int], ...]

    @classmethod
    def of(cls, classes: int, labelled: Collection[frozenset[int]] = ()) -> Self:
        """The coding of a run.

        Args:
            classes: How many classes the model tells apart.
            labelled: The classes that each data set labels.

        Raises:
            ConfigError: There are more classes and partly labelled kinds of data set than a byte holds.
        """
        everything = frozenset(range(classes))
        one_left = {some: min(everything - some) for some in labelled if len(everything - some) == 1}
        partial = sorted({some for some in labelled if len(everything - some) > 1}, key=sorted)
        if classes + len(partial) > NODATA_CLASS:
            raise ConfigError(
                f"expected at most {NODATA_CLASS} classes and kinds of partly labelled data, got {classes} and "
                f"{len(partial)}"
            )
        allowed_vk = np.ones((256, classes), np.bool_)
        allowed_vk[:classes] = np.eye(classes, dtype=np.bool_)
        rests = tuple((some, classes + number) for number, some in enumerate(partial))
        for some, value in rests:
            allowed_vk[value, sorted(some)] = False
        return cls(allowed_vk, (*rests, *one_left.items()))

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(self.allowed_vk.shape[1])

    def rest(self, labelled: frozenset[int]) -> int:
        """The label of a pixel that is of none of the classes that its data set labels.

        Where all classes are labelled there is no such pixel; then it is `NODATA_CLASS`.
        """
        return dict(self.rests).get(labelled, NODATA_CLASS)
