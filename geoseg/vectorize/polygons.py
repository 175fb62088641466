"""Polygons of labelled pixels, in integer pixel coordinates: x = column, y = row, at pixel corners."""

from array import array
from itertools import chain

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.vectorize.rings import Rings


def trace(
    values_hw: NDArray[np.int32], mask_hw: NDArray[np.bool_], window: Window
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Trace the outline of each 4-connected component of equal value.

    The outlines are those of `rasterio.features.shapes` (GDAL's polygonize) with connectivity 4. They are
    always valid: where an outline meets itself at a corner, it falls into a shell and holes.

    Args:
        values_hw: int32 (row, column).
        mask_hw: Pixels to trace, boolean (row, column).
        window: The pixels' place on the grid.

    Returns:
        The value of each component, int64 (n,), and its polygon in the grid's pixel coordinates, (n,).
    """
    values: list[int] = []
    ring_counts: list[int] = []
    ring_sizes: list[int] = []
    # Flat, at 16 bytes a vertex: a tuple of two floats takes eight times that.
    coordinates = array("d")
    shapes = rasterio.features.shapes(
        values_hw, mask=mask_hw, connectivity=4, transform=Affine.translation(window.col, window.row)
    )
    for geometry, value in shapes:
        rings = geometry["coordinates"]
        values.append(int(value))
        ring_counts.append(len(rings))
        for ring in rings:
            # The last point of a ring repeats the first.
            ring_sizes.append(len(ring) - 1)
            coordinates.extend(chain.from_iterable(ring[:-1]))
    xy = np.array(coordinates).reshape(-1, 2)
    rings = Rings(xy, np.array(ring_sizes, np.int64), np.array(ring_counts, np.int64))
    return np.array(values, np.int64), rings.polygons()


def dissolve(
    polygons: NDArray[np.object_], object_id: NDArray[np.int64], *, exact: bool
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Join the pieces of each object.

    Objects of one piece pass through untouched. The others are united: they have integer coordinates and meet
    along rows and columns, so that this is exact.

    Args:
        polygons: Pieces (m,) in pixel coordinates, in any order.
        object_id: int64 (m,); pieces with the same id share edges and are one object.
        exact: Whether all edges run along rows and columns. Then vertices that the borders of blocks left in the
            middle of straight lines go, and the result is the polygon that tracing the whole raster gives, up to
            where its rings start and which way they run.

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
    if exact:
        dissolved[several] = straighten(dissolved[several])
    return ids, dissolved


def straighten(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Remove the vertices in the middle of straight lines.

    Args:
        polygons: Polygons (n,) whose edges all run along rows and columns.

    Returns:
        The same polygons (n,) with a vertex at every corner and nowhere else.
    """
    rings = Rings.of(polygons)
    step = rings.xy[rings.following] - rings.xy
    # An edge turns where the one before runs along the other axis. `following` is a permutation, so that
    # writing through it gives each vertex the edge that arrives there.
    is_row = step[:, 1] == 0
    arrives_in_row = np.empty_like(is_row)
    arrives_in_row[rings.following] = is_row
    return rings.keep(is_row != arrives_in_row).polygons()
