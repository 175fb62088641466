"""Windows of a raster of labels on the grid of the scene that it labels."""

import math

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.io.damage import damage_named
from geoseg.io.drivers import open_raster
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import Slant
from geoseg.io.warp import Warp


class ClassReader:
    """Windows of a label raster that lies on a scene's own pixels, read on the scene's grid.

    Args:
        path: The label raster, one band of whole numbers.
        scene: The scene that it labels.

    Raises:
        SceneError: It does not lie on the scene's pixels, or does not hold whole numbers.
    """

    def __init__(self, path: str, scene: SceneRef) -> None:
        self._scene = scene
        self._dataset = open_raster(path)
        size = self._dataset.height, self._dataset.width
        if size != (scene.source_height, scene.source_width):
            raise SceneError(
                f"labels must lie on the pixels of their scene: {path} has {size[0]} x {size[1]} px, "
                f"{scene.path} has {scene.source_height} x {scene.source_width} px"
            )
        if self._dataset.count != 1 or np.dtype(self._dataset.dtypes[0]).kind not in "ui":
            raise SceneError(
                f"labels must be one band of whole numbers: {path} has {self._dataset.count} band(s) "
                f"of {self._dataset.dtypes[0]}"
            )
        with open_raster(scene.opened_at, trust_vrt=scene.trust_vrt) as image:
            corners = [(0, 0), (image.width, 0), (0, image.height), (image.width, image.height)]
            apart = [math.dist(~image.transform @ (self._dataset.transform @ corner), corner) for corner in corners]
        if max(apart) > 0.5:
            raise SceneError(
                f"labels must lie on the pixels of their scene: {path} lies {max(apart):.1f} px away from "
                f"{scene.path}; check both geotransforms"
            )

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def read(self, window: Window) -> NDArray[np.int32]:
        """ids_hw of a window of the scene's grid: the file's numbers, -1 where it holds no data."""
        warp = self._scene.warp
        if warp is not None:
            return self._warped(window, warp)
        row_axis, col_axis = self._scene.axes
        rows, cols = (
            row_axis.nearest(window.row, window.row_stop),
            col_axis.nearest(window.col, window.col_stop),
        )
        row, col = int(rows[0]), int(cols[0])
        height, width = int(rows[-1]) + 1 - row, int(cols[-1]) + 1 - col
        flip_y, flip_x = self._scene.flip_yx
        ids_hw = self._ids(
            RasterioWindow(
                self._scene.source_width - col - width if flip_x else col,
                self._scene.source_height - row - height if flip_y else row,
                width,
                height,
            )
        )
        ids_hw = ids_hw[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        return np.ascontiguousarray(ids_hw[np.ix_(rows - row, cols - col)])

    def _warped(self, window: Window, warp: Slant | Warp) -> NDArray[np.int32]:
        """The label that holds each pixel's centre; none beyond the file."""
        rows_hw, cols_hw = warp.places(window)
        inside_hw = warp.inside(rows_hw, cols_hw)
        found_hw = np.full(window.shape, -1, np.int32)
        if inside_hw.any():
            rows = np.minimum(rows_hw[inside_hw].astype(np.int64), warp.height - 1)
            cols = np.minimum(cols_hw[inside_hw].astype(np.int64), warp.width - 1)
            row, col = int(rows.min()), int(cols.min())
            source = RasterioWindow(col, row, int(cols.max()) + 1 - col, int(rows.max()) + 1 - row)
            found_hw[inside_hw] = self._ids(source)[rows - row, cols - col]
        return found_hw

    def _ids(self, source: RasterioWindow) -> NDArray[np.int32]:
        with damage_named(self._dataset, self._dataset.name, source):
            ids_hw: NDArray[np.int32] = self._dataset.read(1, window=source).astype(np.int32)
            ids_hw[self._dataset.read_masks(1, window=source) == 0] = -1
        return ids_hw
