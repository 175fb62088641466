"""The rings of many polygons as flat arrays, so that numpy can work on all their vertices at once."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Rings:
    """The rings of polygons, without the vertex that closes each ring.

    Attributes:
        xy: float64 (vertex, 2).
        size: int64 (ring,); vertices of each ring.
        count: int64 (polygon,); rings of each polygon, the exterior first.
    """

    xy: NDArray[np.float64]
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

    def polygons(self) -> NDArray[np.object_]:
        """The polygons (n,) again."""
        if len(self.count) == 0:
            return np.empty(0, object)
        closed_xy = np.insert(self.xy, self.start + self.size, self.xy[self.start], axis=0)
        offsets = (_offsets(self.size + 1), _offsets(self.count))
        polygons: NDArray[np.object_] = shapely.from_ragged_array(shapely.GeometryType.POLYGON, closed_xy, offsets)
        return polygons

    def to_arrays(self, dtype: type[np.number[Any]] = np.float64) -> dict[str, NDArray[Any]]:
        """The arrays by name, coordinates as `dtype`."""
        return {"ring_xy": self.xy.astype(dtype), "ring_size": self.size, "ring_count": self.count}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Self:
        """What `to_arrays` gave."""
        return cls(arrays["ring_xy"].astype(np.float64), arrays["ring_size"], arrays["ring_count"])

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

    def keep(self, wanted: NDArray[np.bool_]) -> "Rings":
        """The rings with only those vertices for which `wanted` (vertex,) is true."""
        size = np.diff(_offsets(wanted)[_offsets(self.size)])
        return Rings(self.xy[wanted], size, self.count)

    def insert_after(self, vertex: NDArray[np.int64], xy: NDArray[np.float64]) -> "Rings":
        """The rings with points xy (point, 2) added, each after a vertex; `vertex` (point,) does not fall."""
        ring_of_vertex = np.repeat(np.arange(len(self.size)), self.size)
        added = np.bincount(ring_of_vertex[vertex], minlength=len(self.size))
        return Rings(np.insert(self.xy, vertex + 1, xy, axis=0), self.size + added, self.count)


def _offsets(sizes: NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.int64]:
    """Where each of consecutive runs starts, and the end of the last."""
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))
