"""In which order training sees the cells of its ground: each once in an epoch, or as often as its weight says."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Streams of random numbers of their own: (seed, index) is the sampler's, and the batches' end with 1 and 2.
_OF_EPOCHS = 3
_OF_TURNS = 4


class Walk:
    """Which cell each index sees; decided by the seed and the index alone.

    Indices 0 to `length` - 1 are the first epoch, as many more the second, and so on; each epoch is a new
    permutation (4 bytes for each index, and a few times that while it is drawn). However indices are dealt out to
    batches and workers, as long as each has one owner, those of an epoch see together what the epoch holds.

    A cell of weight w occurs floor(w) or ceil(w) times in each epoch. The cells of one weight take turns: of n of
    them an epoch holds the next round(n w), one at least, in a circle whose order the seed decides, so that all of
    them are seen within ceil(1 / w) epochs or so, and every epoch is as long.

    Attributes:
        length: Indices of an epoch.
    """

    def __init__(self, weights_n: ArrayLike, seed: int) -> None:
        """Deal out turns.

        Args:
            weights_n: Weight of each cell (n,), above 0.
            seed: Of the order.
        """
        weights_n = np.asarray(weights_n, np.float64)
        self._seed = seed
        self._circles: list[NDArray[np.int32]] = []
        for number, weight in enumerate(np.unique(weights_n)):
            members = np.flatnonzero(weights_n == weight).astype(np.int32)
            self._circles.append(np.random.default_rng([seed, number, _OF_TURNS]).permutation(members))
        self._quotas = [_quota(weights_n[circle]) for circle in self._circles]
        self.length = sum(self._quotas)
        self._latest = 0, self._order(0)

    def cell(self, index: int) -> int:
        """The number of the cell that an index sees."""
        epoch, place = divmod(index, self.length)
        kept, order_n = self._latest
        if kept != epoch:
            order_n = self._order(epoch)
            self._latest = epoch, order_n
        return int(order_n[place])

    def _order(self, epoch: int) -> NDArray[np.int32]:
        """The cells of an epoch (length,)."""
        parts = [
            circle[(epoch * quota + np.arange(quota)) % len(circle)]
            for circle, quota in zip(self._circles, self._quotas, strict=True)
        ]
        return np.random.default_rng([self._seed, epoch, _OF_EPOCHS]).permutation(np.concatenate(parts))


def epoch_length(weights_n: ArrayLike) -> int:
    """Indices of an epoch, whatever the seed.

    Args:
        weights_n: Weight of each cell (n,), above 0.
    """
    weights_n = np.asarray(weights_n, np.float64)
    return sum(_quota(weights_n[weights_n == weight]) for weight in np.unique(weights_n))


def _quota(weights_n: Sequence[float] | NDArray[np.float64]) -> int:
    """How many times cells of one weight occur in an epoch, all together."""
    return max(1, round(len(weights_n) * float(weights_n[0])))
