"""What a scene means, decided once (`geoseg.io.scene`): it travels to wherever windows are read."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from geoseg.grid import Grid
from geoseg.io.resample import Axis
from geoseg.io.slant import Slant
from geoseg.io.stamp import Stamp
from geoseg.io.warp import Warp

MaskRule = Literal["all", "dataset", "any-band", "every-band"]
Stretch = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class SceneRef:
    """The address of a scene and all that was decided about reading it.

    The order of a pixel's way: the file's own rows and columns, turned where `flip_yx` says so, reduced or
    refined along them by `scale_yx`, and laid by `warp` on a grid that does not follow them: a north-up one where
    the file is rotated or sheared, one that is aligned otherwise, or one in another CRS.

    Attributes:
        path: Absolute path, or address without its query.
        fingerprint: sha256 of the file's size, head and tail, or of what a server says of it: another file under
            the same name is noticed.
        bands: 1-based band numbers in the model's order.
        band_rule: How they were chosen, in words.
        dtype: The file's data type.
        source_height: Rows in the file.
        source_width: Columns in the file.
        native_resolution_m: Ground (height, width) of a pixel of the file in metres.
        grid: The pixels that `SceneReader.read` gives.
        scale_yx: File pixels per grid pixel along rows and columns; with `warp`, per pixel of the reduced file
            that the grid is sampled from, at least 1.
        warp: How the grid lies over the file where its rows and columns run otherwise, or None.
        flip_yx: Whether the grid runs against the file's rows and columns (south-up and mirrored files).
        mask_rule: Which pixels hold data: all, those of the file's mask or alpha, or those where any or every
            band differs from the nodata value.
        alpha_band: Band whose zeros are no data besides those of the rule (GDAL's mask forgets alpha where there
            is a nodata value), or None.
        stretch: Per band, the values that become the ends of `value_range`, or None.
        value_range: Least and greatest value that the model knows.
        trust_vrt: Whether a file named .vrt may be one.
        notes: What the user should know about how the file is read, a sentence each.
        block_shape: (height, width) of the file's own blocks, which are decoded whole.
        block_bytes: What is decoded of one of them, with its mask.
        telling_overview: How many times coarser the overview is that tells windows without data, or 0.
        stamps: The files that it is read from, with masks and a VRT's sources, as they were when this was decided.
        address: Where it is opened, if that is not `path`: an address with its query, which may hold a signature,
            and is kept out of all that is written or said.
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
    warp: Slant | Warp | None
    flip_yx: tuple[bool, bool]
    mask_rule: MaskRule
    alpha_band: int | None
    stretch: Stretch | None
    value_range: tuple[float, float]
    trust_vrt: bool = False
    notes: tuple[str, ...] = ()
    stamps: tuple[Stamp, ...] = ()
    block_shape: tuple[int, int] = (1, 1)
    block_bytes: int = 0
    telling_overview: int = 0
    address: str = field(default="", repr=False)

    @property
    def opened_at(self) -> str:
        """Where it is opened; never to be shown."""
        return self.address or self.path

    def to_json(self) -> dict[str, Any]:
        """A JSON object, for plan.json and its hash; what is only said about it is left out."""
        warp = None if self.warp is None else self.warp.to_json()
        content = {**asdict(self), "grid": self.grid.to_json(), "warp": warp}
        for said in ("notes", "stamps", "address", "block_shape", "block_bytes", "telling_overview"):
            del content[said]
        return content

    @property
    def every_value_is_legal(self) -> bool:
        """Whether the data type holds no value outside the model's range."""
        if np.dtype(self.dtype).kind not in "ui":
            return False
        limits = np.iinfo(self.dtype)
        return self.value_range[0] <= limits.min and self.value_range[1] >= limits.max

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Rows and columns of the grid, or of what a warped grid is sampled from, over those of the file."""
        return Axis(self.source_height, self.scale_yx[0]), Axis(self.source_width, self.scale_yx[1])
