"""Polygons of classified pixels, in integer pixel coordinates: x = column, y = row, at pixel corners."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.objects.label import runs_of
from geoseg.vectorize.rings import Rings


def trace(segments_hw: NDArray[np.integer[Any]], window: Window) -> tuple[Rings, NDArray[np.int64]]:
    """Trace the outline of each 4-connected component of equal class or segment.

    The outlines are those of `rasterio.features.shapes` (GDAL's polygonize) with connectivity 4. They are
    always valid: where an outline meets itself at a corner, it falls into a shell and holes.

    Args:
        segments_hw: Classes, uint8 (row, column), 255 where nothing is to be traced; or segments, int64 (row,
            column), likewise.
        window: The pixels' place on the grid.

    Returns:
        The polygon of each component, in raster order of their first pixels, int32 in the grid's pixel coordinates;
        and the place of the first pixel in the array, row x width + column, int64 (n,).
    """
    # numba takes a second to load, and most commands trace nothing.
    from geoseg.vectorize.tracing import trace_rings  # noqa: PLC0415

    runs = runs_of(segments_hw, range(NODATA_CLASS))
    height, width = segments_hw.shape
    framed_hw = np.full((height + 2, width + 2), NODATA_CLASS, segments_hw.dtype)
    framed_hw[1:-1, 1:-1] = segments_hw
    xy, size, component = trace_rings(
        framed_hw, runs.first, runs.start, runs.stop, runs.number, window.row, window.col
    )
    rings = Rings(xy, size, np.ones(len(size), np.int64))
    ordered = rings.take(np.argsort(component, kind="stable"))
    count = np.bincount(component, minlength=runs.count)
    return Rings(ordered.xy, ordered.size, count), runs.first_places()


def dissolve(
    polygons: NDArray[np.object_], object_id: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Join the pieces of each object, with the vertices that they have.

    Objects of one piece pass through untouched. The others are united: they have integer coordinates and meet
    along rows and columns, so that this is exact.

    Args:
        polygons: Pieces (m,) in pixel coordinates, in any order.
        object_id: int64 (m,); pieces with the same id share edges and are one object.

    Returns:
        The ids in increasing order, int64 (n,), and the polygon of each, (n,).

    Raises:
        ValueError: The pieces of an object do not hang together.
    """
    ids, object_of_piece, piece_counts = np.unique(object_id, return_inverse=True, return_counts=True)
    dissolved = np.empty(len(ids), object)
    whole = piece_counts[object_of_piece] == 1
    dissolved[object_of_piece[whole]] = polygons[whole]

    several = np.flatnonzero(piece_counts > 1)
    order = np.argsort(object_of_piece[~whole], kind="stable")
    ends = np.cumsum(piece_counts[several])
    # The last group is what lies behind the last end: nothing.
    for i, group in zip(several, np.split(polygons[~whole][order], ends)[:-1], strict=True):
        dissolved[i] = shapely.union_all(group)
    torn = shapely.get_type_id(dissolved[several]) != shapely.GeometryType.POLYGON
    if torn.any():
        raise ValueError(f"the pieces of object {ids[several][torn][0]} do not share edges")
    return ids, dissolved
