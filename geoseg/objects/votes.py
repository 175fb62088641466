"""Which scene an object comes from: each of its pixels votes for the scene that gave it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_SCENES = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """How many pixels of objects come from which scene; rows sorted by id, then scene.

    Attributes:
        id: int64 (n,); the object.
        scene: int64 (n,); index of the scene.
        pixels: int64 (n,).
    """

    id: NDArray[np.int64]
    scene: NDArray[np.int64]
    pixels: NDArray[np.int64]

    @classmethod
    def count(
        cls, labels_hw: NDArray[np.int32], object_id: NDArray[np.int64], scene_hw: NDArray[np.uint16]
    ) -> Self:
        """The votes within a block.

        Args:
            labels_hw: Objects of the block (row, column), 0 for background.
            object_id: (n,); the id of label k + 1 at k.
            scene_hw: Index of the scene that gave each pixel (row, column).
        """
        kept_hw = labels_hw > 0
        ballots = labels_hw[kept_hw].astype(np.int64) * _SCENES + scene_hw[kept_hw]
        each, pixels = np.unique(ballots, return_counts=True)
        return cls._sorted(object_id[each // _SCENES - 1], each % _SCENES, pixels)

    @classmethod
    def together(cls, parts: Sequence["Votes"]) -> Self:
        """The votes of all blocks, at least one; an object may be counted in many."""
        return cls._sorted(
            np.concatenate([part.id for part in parts]),
            np.concatenate([part.scene for part in parts]),
            np.concatenate([part.pixels for part in parts]),
        )

    @classmethod
    def _sorted(cls, ids: NDArray[np.int64], scene: NDArray[np.int64], pixels: NDArray[np.int64]) -> Self:
        order = np.lexsort((scene, ids))
        ids, scene, pixels = ids[order], scene[order], pixels[order].astype(np.int64)
        first = np.flatnonzero(np.diff(ids, prepend=-1) | np.diff(scene, prepend=-1))
        sums = np.add.reduceat(pixels, first) if len(first) else pixels
        return cls(ids[first], scene[first], sums)

    def take(self, ids: NDArray[np.int64]) -> "Votes":
        """Those of some objects, by their ids (m,)."""
        mine = np.isin(self.id, ids)
        return Votes(self.id[mine], self.scene[mine], self.pixels[mine])

    def winners(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """The scene with most votes of each object, int64 (n,); among equals the first.

        Raises:
            ValueError: Nothing was counted of an object.
        """
        order = np.lexsort((self.scene, -self.pixels, self.id))
        objects, first = np.unique(self.id[order], return_index=True)
        at = np.searchsorted(objects, ids)
        if len(ids) and (not len(objects) or (objects[np.minimum(at, len(objects) - 1)] != ids).any()):
            raise ValueError("an object has no votes")
        return self.scene[order][first[at]]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {"vote_id": self.id, "vote_scene": self.scene, "vote_pixels": self.pixels}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        return cls(arrays["vote_id"], arrays["vote_scene"], arrays["vote_pixels"])
