"""Windows of a raster, wherever they are read: the pixels of a scene and the classes that label it.

What a scene means was decided once (`geoseg.io.scene`); a `SceneRef` carries it to the readers.
"""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import NodataShadowWarning, RasterioIOError
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import SceneError
from geoseg.grid import Grid, Window
from geoseg.io.drivers import open_raster
from geoseg.io.resample import Axis, resample

MaskRule = Literal["all", "dataset", "any-band", "every-band"]
Stretch = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class SceneRef:
    """The address of a scene and all that was decided about reading it.

    Attributes:
        path: Absolute path.
        fingerprint: sha256 of the file's size, head and tail: another file under the same name is noticed.
        bands: 1-based band numbers in the model's order.
        band_rule: How they were chosen, in words.
        dtype: The file's data type.
        source_height: Rows in the file.
        source_width: Columns in the file.
        native_resolution_m: Ground (height, width) of a pixel of the file in metres.
        grid: The pixels that `SceneReader.read` gives.
        scale_yx: File pixels per grid pixel along rows and columns.
        flip_yx: Whether the grid runs against the file's rows and columns (south-up and mirrored files).
        mask_rule: Which pixels hold data: all, those of the file's mask or alpha, or those where any or every
            band differs from the nodata value.
        alpha_band: Band whose zeros are no data besides those of the rule (GDAL's mask forgets alpha where there
            is a nodata value), or None.
        stretch: Per band, the values that become the ends of `value_range`, or None.
        value_range: Least and greatest value that the model knows.
    """

    path: str
    fingerprint: str
    bands: tuple[int, ...]
    band_rule: str
    dtype: str
    source_height: int
    source_width: int
    native_resolution_m: tuple[float, float]
    grid: Grid
    scale_yx: tuple[float, float]
    flip_yx: tuple[bool, bool]
    mask_rule: MaskRule
    alpha_band: int | None
    stretch: Stretch | None
    value_range: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, for plan.json and its hash."""
        return {**asdict(self), "grid": self.grid.to_json()}

    @property
    def every_value_is_legal(self) -> bool:
        """Whether the data type holds no value outside the model's range."""
        if np.dtype(self.dtype).kind not in "ui":
            return False
        limits = np.iinfo(self.dtype)
        return self.value_range[0] <= limits.min and self.value_range[1] >= limits.max

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Rows and columns of the grid, over those of the file."""
        return Axis(self.source_height, self.scale_yx[0]), Axis(self.source_width, self.scale_yx[1])


class SceneReader:
    """Windows of a scene, in the model's own numbers. Not thread-safe: one reader for each thread."""

    def __init__(self, ref: SceneRef) -> None:
        self.ref = ref
        self.grid = ref.grid
        self._dataset = open_raster(ref.path)

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The pixels of a window.

        Args:
            window: Within the grid.

        Returns:
            image_chw, float32, in the model's numbers (after the stretch, before normalization), zero where
            there is no data; and valid_hw, True where there is.

        Raises:
            SceneError: The file cannot be read there, or holds values outside the model's range.
        """
        row_axis, col_axis = self.ref.axes
        rows = row_axis.taps(window.row, window.row_stop)
        cols = col_axis.taps(window.col, window.col_stop)
        source = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        image_chw, valid_hw = self._read_source(source)
        return resample(image_chw, valid_hw, rows, cols)

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """valid_hw of a window; reads no pixels where the file keeps a mask."""
        if np.issubdtype(np.dtype(self.ref.dtype), np.floating):
            return self.read(window)[1]  # any value may be NaN, whatever the mask says
        if self.ref.mask_rule == "all":
            return np.ones(window.shape, np.bool_)
        if self.ref.mask_rule == "dataset" and self.ref.scale_yx == (1.0, 1.0):
            return self._oriented(self._mask(self._flipped(window)))
        return self.read(window)[1]

    def thumbnail(self, longest_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The whole scene at most `longest_px` long, (image_chw, valid_hw), from overviews where it has them.

        For pictures and statistics only: these pixels are GDAL's nearest ones.
        """
        height, width = self.ref.source_height, self.ref.source_width
        factor = max(1.0, max(height, width) / longest_px)
        shape = max(1, round(height / factor)), max(1, round(width / factor))
        return self._pixels(RasterioWindow(0, 0, width, height), shape)

    def _read_source(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        return self._pixels(self._flipped(window), window.shape)

    def _pixels(
        self, window: RasterioWindow, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        ref = self.ref
        with _damage_named(ref.path, window):
            raw_chw = self._dataset.read(list(ref.bands), window=window, out_shape=(len(ref.bands), *shape))
        valid_hw = self._mask(window, shape)
        raw_chw, valid_hw = self._oriented(raw_chw), self._oriented(valid_hw)
        if np.issubdtype(raw_chw.dtype, np.floating):
            valid_hw = valid_hw & np.isfinite(raw_chw).all(axis=0)
        image_chw = np.where(valid_hw, raw_chw, 0).astype(np.float32)
        low, high = ref.value_range
        if ref.stretch is None:
            self._check_range(image_chw, valid_hw)
        else:
            for band_hw, (stretch_low, stretch_high) in zip(image_chw, ref.stretch, strict=True):
                fraction_hw = (band_hw - np.float32(stretch_low)) / np.float32(stretch_high - stretch_low)
                band_hw[:] = np.float32(low) + np.clip(fraction_hw, 0, 1) * np.float32(high - low)
            image_chw[:, ~valid_hw] = 0
        return image_chw, valid_hw

    def _mask(self, window: RasterioWindow, shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        shape = shape or (int(window.height), int(window.width))
        with _damage_named(self.ref.path, window), warnings.catch_warnings():
            # The alpha band that GDAL forgets beside a nodata value is read below.
            warnings.simplefilter("ignore", NodataShadowWarning)
            valid_hw = self._mask_by_rule(window, shape)
            if self.ref.alpha_band is not None:
                valid_hw &= self._dataset.read(self.ref.alpha_band, window=window, out_shape=shape) > 0
        return valid_hw

    def _mask_by_rule(self, window: RasterioWindow, shape: tuple[int, int]) -> NDArray[np.bool_]:
        match self.ref.mask_rule:
            case "all":
                return np.ones(shape, np.bool_)
            case "dataset":
                return np.asarray(self._dataset.dataset_mask(window=window, out_shape=shape) > 0)
            case "any-band" | "every-band" as rule:
                bands = list(self.ref.bands)
                masks_chw = self._dataset.read_masks(bands, window=window, out_shape=(len(bands), *shape)) > 0
                return np.asarray(masks_chw.any(axis=0) if rule == "any-band" else masks_chw.all(axis=0))

    def _check_range(self, image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_]) -> None:
        if self.ref.every_value_is_legal:
            return
        low, high = self.ref.value_range
        values = image_chw[:, valid_hw]
        if values.size and (values.min() < low or values.max() > high):
            raise SceneError(
                f"{self.ref.path} holds values from {values.min():g} to {values.max():g}, the model expects "
                f"{low:g} to {high:g}: name the values to map onto that range with --stretch LO,HI or 2%,98%"
            )

    def _flipped(self, window: Window) -> RasterioWindow:
        """A window of the oriented source as a window of the file."""
        row, col = window.row, window.col
        if self.ref.flip_yx[0]:
            row = self.ref.source_height - window.row_stop
        if self.ref.flip_yx[1]:
            col = self.ref.source_width - window.col_stop
        return RasterioWindow(col, row, window.width, window.height)

    def _oriented(self, values: NDArray[Any]) -> NDArray[Any]:
        if self.ref.flip_yx[0]:
            values = values[..., ::-1, :]
        if self.ref.flip_yx[1]:
            values = values[..., ::-1]
        return values


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
        with open_raster(scene.path) as image:
            corners = [(0, 0), (image.width, 0), (0, image.height), (image.width, image.height)]
            apart = [math.dist(~image.transform @ (self._dataset.transform @ corner), corner) for corner in corners]
        if max(apart) > 0.5:
            raise SceneError(
                f"labels must lie on the pixels of their scene: {path} lies {max(apart):.1f} px away from "
                f"{scene.path}; check both geotransforms"
            )

    def read(self, window: Window) -> NDArray[np.int32]:
        """ids_hw of a window of the scene's grid: the file's numbers, -1 where it holds no data."""
        row_axis, col_axis = self._scene.axes
        rows, cols = (
            row_axis.nearest(window.row, window.row_stop),
            col_axis.nearest(window.col, window.col_stop),
        )
        row, col = int(rows[0]), int(cols[0])
        height, width = int(rows[-1]) + 1 - row, int(cols[-1]) + 1 - col
        flip_y, flip_x = self._scene.flip_yx
        source = RasterioWindow(
            self._scene.source_width - col - width if flip_x else col,
            self._scene.source_height - row - height if flip_y else row,
            width,
            height,
        )
        with _damage_named(self._dataset.name, source):
            ids_hw = self._dataset.read(1, window=source).astype(np.int32)
            ids_hw[self._dataset.read_masks(1, window=source) == 0] = -1
        ids_hw = ids_hw[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
        return np.ascontiguousarray(ids_hw[np.ix_(rows - row, cols - col)])


@contextmanager
def _damage_named(path: str, window: RasterioWindow) -> Iterator[None]:
    """Say in words where a file cannot be read."""
    try:
        yield
    except RasterioIOError as error:
        raise SceneError(
            f"{path} cannot be read in rows {window.row_off} to {window.row_off + window.height}, "
            f"columns {window.col_off} to {window.col_off + window.width}: "
            "the file is cut short or damaged; copy or download it again"
        ) from error
