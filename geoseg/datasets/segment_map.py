"""PNGs of segment numbers, as COCO's panoptic format has them, read and checked against what describes them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError

from geoseg.datasets.rasters import MOST_PX
from geoseg.errors import SceneError
from geoseg.io.drivers import open_raster

VOID = 0
"""The number of pixels that belong to no segment."""

NUMBERS = 2**24
"""Numbers that three bytes tell apart, void among them."""


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """A PNG, a pixel of which is of the segment R + 256 G + 65536 B (https://cocodataset.org/#format-data, 3).

    Attributes:
        path: The PNG.
        numbers: Those of the segments that it is said to hold; each is there, and no other but `VOID`.
        size: (height, width) that it is said to have, in pixels; None where that is not said.
    """

    path: Path
    numbers: tuple[int, ...]
    size: tuple[int | None, int | None] = (None, None)

    def read(self) -> NDArray[np.int64]:
        """The segment of each pixel, int64 (row, column).

        Raises:
            SceneError: The PNG cannot be read, is cut short, is no picture of red, green and blue bytes, has
                another size, lacks a segment or holds one that nothing describes.
        """
        with open_raster(str(self.path)) as dataset:
            if (dataset.driver, dataset.count, *dataset.dtypes) != ("PNG", 3, "uint8", "uint8", "uint8"):
                raise SceneError(f"{self.path}: expected a PNG of red, green and blue bytes, got another raster")
            found = dataset.height, dataset.width
            expected = tuple(said or side for said, side in zip(self.size, found, strict=True))
            if found != expected:
                raise SceneError(
                    f"{self.path} has {found[0]} x {found[1]} px, its JSON says {expected[0]} x {expected[1]} "
                    "(height x width): expected the same; is it the right PNG?"
                )
            if found[0] * found[1] > MOST_PX:
                raise SceneError(
                    f"{self.path} has {found[0]} x {found[1]} px: expected at most 2^28; cut it in parts"
                )
            try:
                rgb_chw = dataset.read()
            except RasterioIOError as error:
                raise SceneError(f"{self.path} cannot be read ({error}): is it damaged? Copy it again") from error
        ids_hw = rgb_chw[2].astype(np.int64)
        for band in (1, 0):
            ids_hw <<= 8
            ids_hw |= rgb_chw[band]
        self._check(ids_hw)
        return ids_hw

    def _check(self, ids_hw: NDArray[np.int64]) -> None:
        count = 1 + max(int(ids_hw.max()), *self.numbers, VOID)
        is_there, is_said = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        is_there[ids_hw.reshape(-1)] = True
        is_said[np.array(self.numbers, np.int64)] = True
        is_there[VOID] = is_said[VOID] = False
        strange, missing = np.flatnonzero(is_there & ~is_said), np.flatnonzero(is_said & ~is_there)
        if len(strange):
            raise SceneError(
                f"{self.path} holds the segment {strange[0]}: expected those of segments_info; is it the right PNG?"
            )
        if len(missing):
            raise SceneError(
                f"{self.path} does not hold the segment {missing[0]} of its segments_info: expected a pixel of "
                "each; is it the right PNG?"
            )
