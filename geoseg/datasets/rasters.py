"""Label rasters on an image's own pixels: values or colours, each for a category."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader

from geoseg.datasets.values import planes_of, value_of
from geoseg.errors import ConfigError, SceneError
from geoseg.io.drivers import open_raster
from geoseg.io.formats import strictly
from geoseg.labels import NODATA_CLASS

MOST_PX = 2**28
"""Pixels of a chip: its labels are drawn whole."""

_UPRIGHT = frozenset({"", "0", "1"})
"""EXIF orientations of a picture whose first row is on top (0 is what those write who do not know)."""

_HEX = re.compile(r"#([0-9a-fA-F]{6})")
_DECIMAL = re.compile(r"(\d{1,3}) *, *(\d{1,3}) *, *(\d{1,3})")


def image_shape(path: Path) -> tuple[int, int]:
    """(height, width) of a chip in pixels, as they are stored; reads its header alone.

    Raises:
        SceneError: It is no raster that is read, holds more than 2^28 px, or is a picture that lies on its side:
            viewers turn it as its EXIF says, so its labels may lie on other pixels than those stored.
    """
    with open_raster(str(path)) as dataset:
        orientation = dataset.tags().get("EXIF_Orientation", "")
        shape = int(dataset.height), int(dataset.width)
    if shape[0] * shape[1] > MOST_PX:
        raise SceneError(f"{path} has {shape[0]} x {shape[1]} px: expected a chip of at most 2^28; cut it in parts")
    if orientation.strip() not in _UPRIGHT:
        raise SceneError(
            f"{path} is to be turned when shown (EXIF orientation {orientation}): expected an upright picture; "
            "turn its pixels, for example with mogrify -auto-orient, and check its labels"
        )
    return shape


def colour_code(text: str) -> int | None:
    """65536 R + 256 G + B of a colour written "#rrggbb" or "r,g,b"; None if it is none."""
    if found := _HEX.fullmatch(text.strip()):
        return int(found[1], 16)
    if found := _DECIMAL.fullmatch(text.strip()):
        red, green, blue = map(int, found.groups())
        return None if max(red, green, blue) > 255 else red << 16 | green << 8 | blue
    return None


def recode(codes_hw: NDArray[Any], known: Mapping[int, int], name: str, where: str) -> NDArray[np.uint8]:
    """Labels (row, column) of whole numbers (row, column).

    Args:
        codes_hw: What the raster holds, any integer type.
        known: From number to label.
        name: How a number without a label is written in the message: "{}", or "#{:06x}" for colours.
        where: The raster, for the message.

    Raises:
        ConfigError: A number has no label.
    """
    codes = np.array(sorted(known), np.int64)
    labels = np.array([known[int(code)] for code in codes], np.uint8)
    if not len(codes):
        raise ConfigError(f"{where}: expected categories that stand for classes, got none")
    index_hw = np.minimum(np.searchsorted(codes, codes_hw), len(codes) - 1)
    strange_hw = codes[index_hw] != codes_hw
    if strange_hw.any():
        strange = name.format(int(codes_hw[strange_hw][0]))
        some = ", ".join(name.format(int(code)) for code in codes[:20]) + (", ..." if len(codes) > 20 else "")
        raise ConfigError(
            f"{where} holds {strange}, which stands for no class: expected one of {some}; add it to the classes, "
            "or to what is ignored"
        )
    return labels[index_hw]


@dataclass(frozen=True, slots=True)
class RasterChip:
    """An image with a raster of labels: values of one band, indices of a palette, or colours.

    Where categories are written as colours, an indexed raster is read through its palette. Pixels of an alpha band
    that are not opaque, and those of a GeoTIFF's nodata value, are ignored; the transparency of a palette is not
    looked at, since it says how a picture is shown.

    Attributes:
        image: The image file.
        labels: The label raster.
        ignored: Categories that are ignored where no class is given to them, as text.
    """

    image: Path
    labels: Path
    ignored: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        """The label raster."""
        return str(self.labels)

    def categories(self) -> frozenset[str]:
        """Which categories it holds: numbers, or colours as "#rrggbb" where it has colour bands.

        Raises:
            SceneError: As for `draw`.
        """
        with open_raster(str(self.labels)) as dataset:
            bands, opaque_hw = self._read(dataset)
        if len(bands) == 1:
            return frozenset(str(value) for value in np.unique(bands[0][opaque_hw]))
        return frozenset(f"#{code:06x}" for code in np.unique(_packed(bands)[opaque_hw]))

    def draw(self, values: Mapping[str, int], rest: int) -> NDArray[np.uint8]:  # noqa: ARG002  # all is annotated
        """Coded labels (row, column); see `geoseg.datasets.chips.Chip`.

        Raises:
            ConfigError: A value or colour stands for no class.
            SceneError: The raster cannot be read, is of another size than the image, was packed with loss (JPEG),
                or holds neither whole numbers nor colours.
        """
        return self._labels(values)

    def planes(self, values: Mapping[str, int], classes: int) -> NDArray[np.uint8]:
        """Whether each class is there (class, row, column); see `geoseg.datasets.chips.Chip`.

        Raises:
            ConfigError: As for `draw`.
            SceneError: Likewise.
        """
        return planes_of(self._labels(values), values, classes)

    def _labels(self, values: Mapping[str, int]) -> NDArray[np.uint8]:
        shape = image_shape(self.image)
        by_colour = {text for text in values if colour_code(text) is not None}
        if by_colour and len(by_colour) < len(values):
            strange = min(set(values) - by_colour)
            raise ConfigError(
                f"{self.labels}: expected a colour as #rrggbb or r,g,b like the others, got {strange!r}"
            )
        with open_raster(str(self.labels)) as dataset:
            if (dataset.height, dataset.width) != shape:
                raise SceneError(
                    f"{self.labels} has {dataset.height} x {dataset.width} px, its image {self.image} "
                    f"{shape[0]} x {shape[1]}: expected a label for each pixel; resize it by nearest neighbour"
                )
            bands, opaque_hw = self._read(dataset)
            palette = dataset.colormap(1) if dataset.colorinterp[0] is ColorInterp.palette else None
        codes_hw, name = (self._colours(bands, palette), "#{:06x}") if by_colour else (self._numbers(bands), "{}")
        known = {self._code(text): NODATA_CLASS for text in self.ignored if self._is_code(text, bool(by_colour))}
        known |= {self._code(text): value_of(text, values, self.ignored, self.where) for text in values}
        # What is not opaque may hold anything: any known code stands in for it.
        codes_hw = np.where(opaque_hw, codes_hw, next(iter(known), 0))
        labels_hw = recode(codes_hw, known, name, self.where)
        labels_hw[~opaque_hw] = NODATA_CLASS
        return labels_hw

    def _read(self, dataset: DatasetReader) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (band, row, column) of values or colours, and which pixels (row, column) are not left out."""
        if dataset.driver == "JPEG":
            raise SceneError(f"{self.labels} is a JPEG, which blurs labels: expected PNG or TIFF; export them anew")
        if dataset.height * dataset.width > MOST_PX:
            raise SceneError(f"{self.labels} has {dataset.height} x {dataset.width} px: expected at most 2^28")
        alpha = [number for number, kind in enumerate(dataset.colorinterp, 1) if kind is ColorInterp.alpha]
        numbers = [number for number in dataset.indexes if number not in alpha]
        if len(numbers) not in {1, 3} or any(np.dtype(dtype).kind not in "ui" for dtype in dataset.dtypes):
            raise SceneError(
                f"{self.labels} has {dataset.count} band(s) of {', '.join(sorted(set(dataset.dtypes)))}: expected "
                "one band of whole numbers, or red, green and blue"
            )
        try:
            with strictly(dataset.driver):
                bands = dataset.read(numbers)
                opaque_hw = np.ones(bands.shape[1:], np.bool_)
                for number in alpha:
                    opaque_hw &= dataset.read(number) == np.iinfo(dataset.dtypes[number - 1]).max
        except RasterioIOError as error:
            raise SceneError(f"{self.labels} cannot be read ({error}): is it damaged? Copy it again") from error
        if dataset.driver == "GTiff" and len(numbers) == 1 and dataset.nodata is not None:
            opaque_hw &= bands[0] != dataset.nodata
        return bands, opaque_hw

    def _numbers(self, bands: NDArray[Any]) -> NDArray[Any]:
        if len(bands) == 3 and not ((bands[0] == bands[1]) & (bands[1] == bands[2])).all():
            raise ConfigError(
                f"{self.labels} holds colours: expected categories written as colours, #rrggbb or r,g,b; give each "
                "class its colour"
            )
        return bands[0]

    def _colours(
        self, bands: NDArray[Any], palette: Mapping[int, tuple[int, int, int, int]] | None
    ) -> NDArray[np.int64]:
        if len(bands) == 3 and bands.dtype == np.uint8:
            return _packed(bands)
        if palette is None or bands.dtype != np.uint8:
            raise ConfigError(
                f"{self.labels} holds {'numbers' if len(bands) == 1 else f'colours of {bands.dtype}'}: expected "
                "colours of bytes or of a palette, as the categories are written; give each class its number"
            )
        table = np.zeros(256, np.int64)
        for index, (red, green, blue, _) in palette.items():
            table[index] = red << 16 | green << 8 | blue
        return table[bands[0]]

    def _is_code(self, text: str, by_colour: bool) -> bool:
        return (colour_code(text) is not None) == by_colour

    def _code(self, text: str) -> int:
        code = colour_code(text)
        if code is not None:
            return code
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError(
                f"{self.labels}: expected a category written as a number or colour (#rrggbb or r,g,b), got {text!r}"
            ) from error


def _packed(bands: NDArray[Any]) -> NDArray[np.int64]:
    red, green, blue = bands.astype(np.int64)
    return red << 16 | green << 8 | blue
