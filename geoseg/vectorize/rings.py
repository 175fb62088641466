"""The rings of many polygons as flat arrays, so that numpy can work on all their vertices at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """The rings of polygons, without the vertex that closes each ring.

    Attributes:
        xy: int32 or float64 (vertex, 2); whole numbers where they are corners of pixels.
        size: int64 (ring,); vertices of each ring.
        count: int64 (polygon,); rings of each polygon, the exterior first.
    """

    xy: NDArray[Any]
    size: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, polygons: NDArray[np.object_]) -> Self:
        """The rings of polygons (n,), none of them empty."""
        if len(polygons) == 0:
            return cls(np.empty((0, 2)), np.empty(0, np.int64), np.empty(0, np.int64))
        _, xy, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(polygons, include_z=False)
        open_xy = np.delete(xy, ring_offsets[1:] - 1, axis=0)
        return cls(open_xy, np.diff(ring_offsets) - 1, np.diff(polygon_offsets))

    @classmethod
    def concatenate(cls, several: Sequence["Rings"]) -> Self:
        """The polygons of all of them; there is at least one."""
        return cls(
            np.concatenate([one.xy for one in several]),
            np.concatenate([one.size for one in several]),
            np.concatenate([one.count for one in several]),
        )

    def polygons(self) -> NDArray[np.object_]:
        """The polygons (n,) again."""
        if len(self.count) == 0:
            return np.empty(0, object)
        # numba takes a second to load, and most commands join no rings.
        from geoseg.vectorize.linking import close_rings  # noqa: PLC0415

        offsets = (_offsets(self.size + 1), _offsets(self.count))
        closed_xy = close_rings(self.xy, self.size)
        polygons: NDArray[np.object_] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, closed_xy, offsets)
        return polygons

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by name."""
        return {"ring_xy": self.xy, "ring_size": self.size, "ring_count": self.count}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        return cls(arrays["ring_xy"], arrays["ring_size"], arrays["ring_count"])

    @property
    def start(self) -> NDArray[np.int64]:
        """int64 (ring,); the first vertex of each ring."""
        return _offsets(self.size)[:-1]

    @property
    def following(self) -> NDArray[np.int64]:
        """int64 (vertex,); the vertex after each vertex, around its ring."""
        following = np.arange(1, len(self.xy) + 1)
        following[self.start + self.size - 1] = self.start
        return following

    def take(self, ring: NDArray[np.int64]) -> "Rings":
        """Some rings (m,) by number, in that order, each a polygon of its own."""
        from geoseg.vectorize.linking import copy_rings  # noqa: PLC0415  # as above

        xy = copy_rings(self.xy, self.start, self.size, ring)
        return Rings(xy, self.size[ring], np.ones(len(ring), np.int64))

    def at(self, polygon: NDArray[np.int64] | NDArray[np.bool_]) -> "Rings":
        """The polygons at an index (m,), or where a mask (n,) is true."""
        if polygon.dtype == np.bool_:
            polygon = np.flatnonzero(polygon)
        first, count = _offsets(self.count)[polygon], self.count[polygon]
        nth = np.arange(int(count.sum())) - np.repeat(_offsets(count)[:-1], count)
        taken = self.take(np.repeat(first, count) + nth)
        return Rings(taken.xy, taken.size, count)

    def insert_after(self, vertex: NDArray[np.int64], xy: NDArray[np.float64]) -> "Rings":
        """The rings with points xy (point, 2) added, each after a vertex; `vertex` (point,) does not fall."""
        ring_of_vertex = np.repeat(np.arange(len(self.size)), self.size)
        added = np.bincount(ring_of_vertex[vertex], minlength=len(self.size))
        return Rings(np.insert(self.xy, vertex + 1, xy, axis=0), self.size + added, self.count)


def _offsets(sizes: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where each of consecutive runs starts, and the end of the last."""
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
