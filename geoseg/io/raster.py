"""Windows of a raster, wherever they are read: the pixels of a scene and the classes that label it.

What a scene means was decided once (`geoseg.io.scene`); a `SceneRef` carries it to the readers.
"""

import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NodataShadowWarning
from rasterio.windows import Window as RasterioWindow

from geoseg.errors import SceneError
from geoseg.grid import Window
from geoseg.io.damage import DamagedError, damage_named
from geoseg.io.drivers import open_raster
from geoseg.io.emptiness import is_empty
from geoseg.io.resample import resample
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import Between, Slant, sample
from geoseg.io.warp import Warp

_READ_PX = 2**21
"""A resampled window of more source pixels than this is read in parts: a grid ten times coarser than its file
would else ask for a hundred times its own pixels at once. The parts are exactly those of the whole."""

_THUMBNAIL_BYTES = 16 * 2**20
"""A picture of a file is read in parts whose rows of blocks are at most so large: they are decoded once."""

_STRIPS = 64
"""A damaged file is seen in this many parts, and those that cannot be read are left out of the picture."""


class SceneReader:
    """Windows of a scene, in the model's own numbers. Not thread-safe: one reader for each thread."""

    def __init__(self, ref: SceneRef) -> None:
        self.ref = ref
        self.grid = ref.grid
        self._dataset = open_raster(ref.opened_at, trust_vrt=ref.trust_vrt)

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
        return self._read(window, with_pixels=True)

    def read_valid(self, window: Window) -> NDArray[np.bool_]:
        """valid_hw of a window; reads no pixels where the file keeps a mask."""
        ref = self.ref
        if ref.mask_rule == "all" and ref.alpha_band is None and ref.warp is None and not self._may_be_nan:
            return np.ones(window.shape, np.bool_)
        # Any value may be NaN, whatever the mask says.
        return self._read(window, with_pixels=self._may_be_nan)[1]

    def holds(self, window: Window) -> bool:
        """Whether a window has pixels on the grid."""
        return self.grid.window.intersection(window) is not None

    def thumbnail(self, longest_px: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The whole scene at most `longest_px` long, (image_chw, valid_hw), from overviews where it has them.

        For pictures and statistics only: these pixels are GDAL's nearest ones. Of a damaged file, what cannot
        be read is without data.

        Raises:
            SceneError: Nothing of the file can be read, or it holds values outside the model's range.
        """
        ref = self.ref
        shape = _shrunk((ref.source_height, ref.source_width), longest_px)
        try:
            with rasterio.Env(GDAL_CACHEMAX=3 * _THUMBNAIL_BYTES):
                image_chw, valid_hw = self._whole(shape)
        except DamagedError as error:
            image_chw, valid_hw = self._readable(shape, error)
        if ref.warp is None:
            return image_chw, valid_hw
        return self._upright(image_chw, valid_hw, ref.warp, longest_px)

    def _whole(self, shape: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The file at another size, as many columns at a time as GDAL can keep while it goes down their blocks."""
        ref, dataset = self.ref, self._dataset
        block_height, block_width = dataset.block_shapes[0]
        column_bytes = block_height * dataset.count * np.dtype(ref.dtype).itemsize
        striped = block_width >= ref.source_width
        parts = 1 if striped else min(shape[1], -(-ref.source_width * column_bytes // _THUMBNAIL_BYTES))
        edges = np.linspace(0, shape[1], parts + 1).round().astype(int)
        image_chw = np.empty((len(ref.bands), *shape), np.float32)
        valid_hw = np.empty(shape, np.bool_)
        scale = ref.source_width / shape[1]
        for start, stop in pairwise(edges.tolist()):
            first = shape[1] - stop if ref.flip_yx[1] else start
            window = RasterioWindow(first * scale, 0, (stop - start) * scale, ref.source_height)
            image_chw[..., start:stop], valid_hw[:, start:stop] = self._pixels(window, (shape[0], stop - start))
        return image_chw, valid_hw

    @property
    def _may_be_nan(self) -> bool:
        return np.issubdtype(np.dtype(self.ref.dtype), np.floating)

    def _read(self, window: Window, *, with_pixels: bool) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A window in parts of bounded size; without pixels, an image of no bands and the same valid_hw."""
        parts = list(self._parts(window))
        if len(parts) == 1:
            return self._part(window, with_pixels=with_pixels)
        image_chw = np.empty((len(self.ref.bands) if with_pixels else 0, *window.shape), np.float32)
        valid_hw = np.empty(window.shape, np.bool_)
        for part in parts:
            index = part.slices_in(window)
            image_chw[:, *index], valid_hw[index] = self._part(part, with_pixels=with_pixels)
        return image_chw, valid_hw

    def _parts(self, window: Window) -> Iterator[Window]:
        """A window, or halves of halves of it that ask for few source pixels each."""
        ref, (height, width) = self.ref, window.shape
        if ref.warp is not None:
            source_px = ref.warp.source_px(window)
        else:
            source_px = 0 if ref.scale_yx == (1, 1) else height * width * ref.scale_yx[0] * ref.scale_yx[1]
        if source_px <= _READ_PX or height == width == 1:
            yield window
        elif height >= width:
            half = height // 2
            yield from self._parts(Window(window.row, window.col, half, width))
            yield from self._parts(Window(window.row + half, window.col, height - half, width))
        else:
            half = width // 2
            yield from self._parts(Window(window.row, window.col, height, half))
            yield from self._parts(Window(window.row, window.col + half, height, width - half))

    def _part(self, window: Window, *, with_pixels: bool) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        warp = self.ref.warp
        if warp is None:
            return self._along_axes(window, with_pixels=with_pixels)
        rows_hw, cols_hw = warp.places(window)
        inside_hw = warp.inside(rows_hw, cols_hw)
        if not inside_hw.any():
            bands = len(self.ref.bands) if with_pixels else 0
            return np.zeros((bands, *window.shape), np.float32), inside_hw
        row_axis, col_axis = self.ref.axes
        rows = Between.of(rows_hw / row_axis.scale, inside_hw, row_axis.size)
        cols = Between.of(cols_hw / col_axis.scale, inside_hw, col_axis.size)
        reduced = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        image_chw, valid_hw = self._along_axes(reduced, with_pixels=with_pixels)
        return sample(image_chw, valid_hw, rows, cols, inside_hw)

    def _along_axes(self, window: Window, *, with_pixels: bool) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A window of the file's own rows and columns, reduced or refined by `scale_yx`."""
        row_axis, col_axis = self.ref.axes
        rows = row_axis.taps(window.row, window.row_stop)
        cols = col_axis.taps(window.col, window.col_stop)
        source = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        if with_pixels:
            image_chw, valid_hw = self._pixels(self._flipped(source), source.shape)
        else:
            image_chw = np.zeros((0, *source.shape), np.float32)
            valid_hw = self._oriented(self._mask_alone(self._flipped(source)))
        return resample(image_chw, valid_hw, rows, cols)

    def _readable(
        self, shape: tuple[int, int], damage: SceneError
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """What can be read of a damaged file, at a smaller size, strip by strip."""
        ref = self.ref
        image_chw = np.zeros((len(ref.bands), *shape), np.float32)
        valid_hw = np.zeros(shape, np.bool_)
        edges = np.linspace(0, shape[0], min(_STRIPS, shape[0]) + 1).round().astype(int)
        source_edges = (edges * ref.source_height) // shape[0]
        readable = False
        for start, stop, row, row_stop in zip(
            edges[:-1], edges[1:], source_edges[:-1], source_edges[1:], strict=True
        ):
            strip = self._flipped(Window(int(row), 0, int(row_stop - row), ref.source_width))
            try:
                image_chw[:, start:stop], valid_hw[start:stop] = self._pixels(strip, (int(stop - start), shape[1]))
                readable = True
            except DamagedError:
                continue  # the blocks that need it fail, and are named
        if not readable:
            raise damage
        return image_chw, valid_hw

    def _upright(
        self, image_chw: NDArray[np.float32], valid_hw: NDArray[np.bool_], warp: Slant | Warp, longest_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """A picture of the file, turned to its north-up grid by nearest pixels."""
        height, width = _shrunk(self.grid.window.shape, longest_px)
        small = warp.coarser((self.grid.height / height, self.grid.width / width))
        rows_hw, cols_hw = small.places(Window(0, 0, height, width))
        inside_hw = small.inside(rows_hw, cols_hw)
        shape = valid_hw.shape
        at = (
            np.clip(rows_hw * (shape[0] / warp.height), 0, shape[0] - 1).astype(np.int64),
            np.clip(cols_hw * (shape[1] / warp.width), 0, shape[1] - 1).astype(np.int64),
        )
        upright_hw = inside_hw & valid_hw[at]
        return np.where(upright_hw, image_chw[:, *at], np.float32(0)), upright_hw

    def _pixels(
        self, window: RasterioWindow, shape: tuple[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        ref = self.ref
        with damage_named(self._dataset, ref.path, window):
            raw_chw = self._dataset.read(list(ref.bands), window=window, out_shape=(len(ref.bands), *shape))
        valid_hw = self._mask(window, shape)
        raw_chw, valid_hw = self._oriented(raw_chw), self._oriented(valid_hw)
        if np.issubdtype(raw_chw.dtype, np.floating):
            valid_hw = valid_hw & np.isfinite(raw_chw).all(axis=0)
        image_chw = raw_chw.astype(np.float32)
        np.copyto(image_chw, 0, where=~valid_hw)
        low, high = ref.value_range
        if ref.stretch is None:
            self._check_range(image_chw, valid_hw)
        else:
            for band_hw, (stretch_low, stretch_high) in zip(image_chw, ref.stretch, strict=True):
                fraction_hw = (band_hw - np.float32(stretch_low)) / np.float32(stretch_high - stretch_low)
                band_hw[:] = np.float32(low) + np.clip(fraction_hw, 0, 1) * np.float32(high - low)
            np.copyto(image_chw, 0, where=~valid_hw)
        return image_chw, valid_hw

    def _mask_alone(self, window: RasterioWindow) -> NDArray[np.bool_]:
        """The mask of a window whose pixels are not wanted, so that none are decoded where an overview will do."""
        ref = self.ref
        if ref.telling_overview:
            with damage_named(self._dataset, ref.path, window):
                empty = is_empty(self._dataset, ref.bands, ref.telling_overview, window)
            if empty:
                return np.zeros((int(window.height), int(window.width)), np.bool_)
        return self._mask(window)

    def _mask(self, window: RasterioWindow, shape: tuple[int, int] | None = None) -> NDArray[np.bool_]:
        shape = shape or (int(window.height), int(window.width))
        with damage_named(self._dataset, self.ref.path, window), warnings.catch_warnings():
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


def _shrunk(shape: tuple[int, int], longest_px: int) -> tuple[int, int]:
    factor = max(1.0, max(shape) / longest_px)
    return max(1, round(shape[0] / factor)), max(1, round(shape[1] / factor))
