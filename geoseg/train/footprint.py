"""Where a scene holds data: its footprint, as a polygon."""

from typing import Protocol

import numpy as np
import shapely
import shapely.geometry
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from shapely.affinity import affine_transform

from geoseg.errors import SceneError
from geoseg.grid import Grid
from geoseg.io.raster import SceneReader
from geoseg.io.regions import Region, region_on_grid
from geoseg.io.scene_ref import SceneRef
from geoseg.io.warp import transformer

_LONGEST_PX = 1024
"""Size of the picture that tells where a scene holds data."""

LONLAT = "OGC:CRS84"


class Placed(Protocol):
    """What has a footprint."""

    @property
    def ref(self) -> SceneRef:
        """How the scene is read."""
        ...

    @property
    def pixels(self) -> shapely.Geometry:
        """The region of it that counts, in pixel coordinates."""
        ...

    @property
    def reader(self) -> SceneReader:
        """Of its pixels."""
        ...


def footprint(scene: Placed) -> tuple[shapely.Geometry, float]:
    """The part of a scene's region that holds data.

    Args:
        scene: An open scene.

    Returns:
        A geometry in pixel coordinates (x = column, y = row), and the greatest distance in pixels that its inner
        borders are off, 0 where all of the scene holds data: data is told from a picture of at most 1,024 px.
    """
    ref, valid_hw = scene.ref, data_picture(scene)
    if valid_hw is None:
        return scene.pixels, 0.0
    scale_x, scale_y = ref.grid.width / valid_hw.shape[1], ref.grid.height / valid_hw.shape[0]
    return shapely.intersection(scene.pixels, _outline(valid_hw, Affine.scale(scale_x, scale_y))), max(
        scale_x, scale_y
    )


def data_picture(scene: Placed) -> NDArray[np.bool_] | None:
    """Where a scene holds data (row, column), in a picture of at most 1,024 px; None where all of it does.

    What cannot be read of a damaged file is shown without data.
    """
    ref = scene.ref
    if ref.mask_rule == "all" and ref.alpha_band is None and np.dtype(ref.dtype).kind in "ui":
        return None
    _, valid_hw = scene.reader.thumbnail(_LONGEST_PX)
    return None if valid_hw.all() else valid_hw


def _outline(valid_hw: NDArray[np.bool_], transform: Affine) -> shapely.Geometry:
    found = shapes(valid_hw.astype(np.uint8), mask=valid_hw, transform=transform)
    return shapely.union_all([shapely.geometry.shape(geometry) for geometry, _ in found])


def on_ground(pixels: shapely.Geometry, grid: Grid) -> Region:
    """A geometry in a grid's pixel coordinates, on the ground."""
    t = grid.transform
    return Region(grid.crs, affine_transform(pixels, [t.a, t.b, t.d, t.e, t.c, t.f]))


def in_pixels(region: Region, grid: Grid) -> shapely.Geometry:
    """The part of a region on a grid, in pixel coordinates; empty where it has no place in the grid's CRS."""
    try:
        return region_on_grid(region, grid)
    except SceneError:
        return shapely.Polygon()


def lonlat_box(region: Region) -> shapely.Geometry:
    """A box in longitude and latitude around a region; all of the earth where none can be told."""
    world = shapely.box(-180, -90, 180, 90)
    if region.geometry.is_empty:
        return shapely.Polygon()
    bounds = transformer(region.crs, LONLAT).transform_bounds(*region.geometry.bounds)
    left, bottom, right, top = bounds
    if not np.isfinite(bounds).all() or left >= right or bottom >= top:
        return world
    return shapely.box(left, bottom, right, top)
