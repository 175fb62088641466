"""Polygons of a mask, or of ids, that is seen window by window: joined, they are those of the whole."""

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoseg.grid import Window
from geoseg.labels import NODATA_CLASS
from geoseg.vectorize.polygons import trace


class Pieces:
    """The 4-connected components of a mask over a grid, in pixel coordinates."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._whole: list[shapely.Geometry] = []
        self._cut: list[shapely.Geometry] = []
        self._window: list[int] = []
        self._count = 0

    def add(self, mask_hw: NDArray[np.bool_], window: Window) -> None:
        """See the mask_hw of a window; windows are disjoint."""
        self._count += 1
        if not mask_hw.any():
            return
        rings, _ = trace(np.where(mask_hw, np.uint8(0), np.uint8(NODATA_CLASS)), window)
        polygons = rings.polygons()
        left, top, right, bottom = shapely.bounds(polygons).T
        inside = (left > window.col) & (top > window.row) & (right < window.col_stop) & (bottom < window.row_stop)
        self._whole += list(polygons[inside])
        cut = list(polygons[~inside])
        self._cut += cut
        self._window += [self._count] * len(cut)

    def joined(self) -> NDArray[np.object_]:
        """The polygon of each component (n,): what meets along borders of windows is one.

        They are those of the whole raster, whatever the windows, but for where a ring begins.
        """
        found = [*self._whole, *_together(self._cut, np.array(self._window, np.int64))]
        polygons = np.empty(len(found), object)
        polygons[:] = found
        return polygons

    def pieces(self) -> NDArray[np.object_]:
        """The polygons (n,) as they were seen, cut along the borders of windows."""
        found = [*self._whole, *self._cut]
        polygons = np.empty(len(found), object)
        polygons[:] = found
        return polygons


class IdPieces:
    """The objects of a raster of ids over a grid, in pixel coordinates."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._ids: list[NDArray[np.int64]] = []
        self._polygons: list[shapely.Geometry] = []

    def add(self, ids_hw: NDArray[np.int64], window: Window) -> None:
        """See the ids_hw of a window, from 1 on where there is an object; windows are disjoint."""
        ids, number_hw = np.unique(ids_hw, return_inverse=True)
        place = Affine.translation(window.col, window.row)
        numbers_hw = number_hw.reshape(ids_hw.shape).astype(np.int32)
        found = list(shapes(numbers_hw, mask=ids_hw > 0, connectivity=4, transform=place))
        self._polygons += [shapely.geometry.shape(geometry) for geometry, _ in found]
        self._ids.append(ids[[int(number) for _, number in found]].astype(np.int64))

    def joined(self) -> NDArray[np.object_]:
        """The polygon or multipolygon of each object (n,), in the order of their ids."""
        pieces = np.empty(len(self._polygons), object)
        pieces[:] = self._polygons
        ids, object_of = np.unique(np.concatenate([np.empty(0, np.int64), *self._ids]), return_inverse=True)
        groups = np.split(pieces[np.argsort(object_of, kind="stable")], np.cumsum(np.bincount(object_of))[:-1])
        polygons = np.empty(len(ids), object)
        for i, group in enumerate(groups[: len(ids)]):
            one = shapely.union_all(group) if len(group) > 1 else group[0]
            # What a window's border cut a side into is one side again.
            polygons[i] = shapely.simplify(shapely.normalize(one), 0)
        return polygons


def _together(cut: list[shapely.Geometry], window: NDArray[np.int64]) -> list[shapely.Geometry]:
    if not cut:
        return []
    pieces = np.empty(len(cut), object)
    pieces[:] = cut
    one, other = shapely.STRtree(pieces).query(pieces, predicate="intersects")
    apart = (one < other) & (window[one] != window[other])
    one, other = one[apart], other[apart]
    # At a corner alone they are two: components are 4-connected.
    edges = shapely.length(shapely.intersection(pieces[one], pieces[other])) > 0
    one, other = one[edges], other[edges]
    links = coo_array((np.ones(len(one)), (one, other)), shape=(len(pieces), len(pieces)))
    count, component = connected_components(links, directed=False)
    order = np.argsort(component, kind="stable")
    groups = np.split(pieces[order], np.cumsum(np.bincount(component, minlength=count))[:-1])
    # What a window's border cut a side into is one side again; a normal ring begins at a corner, which stays.
    return [shapely.simplify(shapely.normalize(shapely.union_all(group)), 0) for group in groups]
