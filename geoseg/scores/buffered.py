"""Roads within a distance of one another: completeness, correctness and quality."""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.scores.areas import share


@dataclass(frozen=True, slots=True, eq=False)
class LineSplit:
    """Lines split by whether others lie near them.

    Attributes:
        near: LineStrings or MultiLineStrings (n,), what of each line lies near; may be empty.
        far: The rest of each (n,).
    """

    near: NDArray[np.object_]
    far: NDArray[np.object_]

    @property
    def near_m(self) -> float:
        """Length near the others."""
        return float(shapely.length(self.near).sum())

    @property
    def far_m(self) -> float:
        """Length away from them."""
        return float(shapely.length(self.far).sum())


def split_by_distance(lines: NDArray[np.object_], others: NDArray[np.object_], within_m: float) -> LineSplit:
    """Split lines by a buffer around others.

    Args:
        lines: LineStrings (n,) in a plane in metres.
        others: Likewise (m,).
        within_m: The width of the buffer, to each side; round at ends.
    """
    buffers = shapely.buffer(others, within_m, quad_segs=16)
    whose, found = shapely.STRtree(buffers).query(lines, predicate="intersects")
    near, far = np.empty(len(lines), object), np.empty(len(lines), object)
    found = found[np.argsort(whose, kind="stable")]
    ends = np.cumsum(np.bincount(whose, minlength=len(lines)))
    for i, line in enumerate(lines):
        around = shapely.union_all(buffers[found[ends[i - 1] if i else 0 : ends[i]]])
        near[i], far[i] = shapely.intersection(line, around), shapely.difference(line, around)
    return LineSplit(near, far)


def buffered_figures(
    true: NDArray[np.object_], mapped: NDArray[np.object_], within_m: float
) -> tuple[dict[str, float | int | None], LineSplit, LineSplit]:
    """Completeness, correctness and quality (Wiedemann et al. 1998, Empirical evaluation of road extraction).

    Completeness is the share of the reference's length that lies within a buffer around the map, correctness that
    of the map within a buffer around the reference; quality is the map's matched length over its whole length and
    the reference's missed one.

    Args:
        true: LineStrings (n,) of the reference in a plane in metres.
        mapped: LineStrings (m,) of the map.
        within_m: Width of the buffers, to each side.

    Returns:
        The figures by name, None where undefined; the reference split, and the map.
    """
    of_true = split_by_distance(true, mapped, within_m)
    of_mapped = split_by_distance(mapped, true, within_m)
    mapped_m, true_m = of_mapped.near_m + of_mapped.far_m, of_true.near_m + of_true.far_m
    figures: dict[str, float | int | None] = {
        "completeness": share(of_true.near_m, true_m),
        "correctness": share(of_mapped.near_m, mapped_m),
        "quality": share(of_mapped.near_m, mapped_m + of_true.far_m),
        "reference_m": true_m,
        "mapped_m": mapped_m,
    }
    return figures, of_true, of_mapped
