"""Scenes: what a user's raster means to a model, decided once.

Bands, ground resolution, stretch and which pixels hold data are settled by `describe_scene`, before any work;
the small `SceneRef` that it gives then travels to wherever windows are read.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.imagery import Imagery
from geoseg.io.addresses import is_remote, place_of, shown
from geoseg.io.bands import alpha_band, block_bytes, check_dtype, choose_bands, mask_rule
from geoseg.io.drivers import open_raster
from geoseg.io.emptiness import telling_overview
from geoseg.io.identity import identify
from geoseg.io.placing import Placed, place, warp_notes
from geoseg.io.raster import SceneReader
from geoseg.io.scene_ref import SceneRef
from geoseg.io.slant import Slant, is_slanted
from geoseg.io.source_grid import source_grid
from geoseg.io.stamp import Stamp
from geoseg.io.warp import transformer

KEEP_RATIO = 1.25
"""A scene keeps its own pixels while its ground resolution is within this factor of the model's."""

UPSAMPLE_LIMIT = 4.0
"""Coarser scenes than this times the target are refused: there is nothing in them to see."""

_THUMBNAIL_PX = 1024
"""Longest side of the picture that a scene is judged by."""

_BORDER_POINTS = 33
"""Points along each side of a grid that are asked for their place on earth."""

Resolution = Literal["model", "native", "finest"] | float


@dataclass(frozen=True, slots=True)
class PercentStretch:
    """A stretch asked for as percentiles, still to be measured on the scene."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SceneOptions:
    """What the user may say about how a scene is read.

    Attributes:
        bands: 1-based band numbers in the model's order, or None to go by colour interpretation.
        stretch: Values that become the ends of the model's range, (low, high), or percentiles, or None.
        resolution: "model", "native", "finest" (the same for one scene) or metres.
        crs: CRS of the grid, or None for the file's own.
        align: Whether the grid's edges lie on whole multiples of its pixel.
        assume_crs: CRS for a file that has none.
        rotated: Where a rotated or sheared scene is read: on a north-up grid, or on its own rows and columns,
            where its labels lie.
        trust_vrt: Whether a file named .vrt may be one. GDAL must have been loaded with the driver for it
            (`geoseg.io.gdal_environment`).
        ground_resolution_m: Length of a pixel's sides, for training on pictures that have no place on earth (no
            CRS, no ground control points); a world file beside one, in units that nothing names, is not used then.
            A raster that has a place keeps it. None refuses what has no place, as mapping must.
    """

    bands: tuple[int, ...] | None = None
    stretch: tuple[float, float] | PercentStretch | None = None
    resolution: Resolution = "model"
    crs: str | None = None
    align: bool = False
    assume_crs: str | None = None
    rotated: Literal["north-up", "own-pixels"] = "north-up"
    trust_vrt: bool = False
    ground_resolution_m: float | None = None


def describe_scene(path: str, imagery: Imagery, options: SceneOptions | None = None) -> SceneRef:
    """Decide how a scene is read for a model.

    Args:
        path: A raster file, or the address of one.
        imagery: What the model expects.
        options: What the user says about it.

    Raises:
        SceneError: The file cannot be opened, has no place on earth, lacks bands, holds values that the model
            does not know, or is too coarse.
    """
    options = options or SceneOptions()
    return settle(look_at(path, imagery, options), imagery, options)


def settle(look: "Look", imagery: Imagery, options: SceneOptions) -> SceneRef:
    """Decide how a scene is read that stands alone, on a grid of its own.

    Raises:
        SceneError: It holds values that the model does not know, has no place on earth, or is too coarse.
    """
    scale_yx = scale_for(
        look.ref.path, look.ref.native_resolution_m, imagery.ground_resolution_m, options.resolution
    )
    placed = place(
        look.source,
        scale_yx,
        crs=options.crs,
        align=options.align,
        keep_slant=options.rotated == "own-pixels",
    )
    ref = look.placed(placed)
    refuse_data_off_the_earth(ref)
    return with_stretch(ref, options.stretch)


@dataclass(frozen=True, slots=True)
class Look:
    """A scene before it is known where its pixels are put.

    Attributes:
        ref: The scene on its own rows and columns, without a stretch.
        source: The file's own pixels.
        date: When it was taken, as its TIFF tag says: ISO 8601 without a time zone; None where it says nothing.
    """

    ref: SceneRef
    source: Grid
    date: str | None

    def placed(self, placed: Placed) -> SceneRef:
        """The scene on a grid."""
        return replace(
            self.ref,
            grid=placed.grid,
            scale_yx=placed.scale_yx,
            warp=placed.warp,
            flip_yx=placed.flip_yx,
            notes=(*self.ref.notes, *_placing_notes(self.source, placed)),
        )


def look_at(path: str, imagery: Imagery, options: SceneOptions) -> Look:
    """What a file's header says of it as a scene for a model.

    Raises:
        SceneError: The file cannot be opened, has no place on earth, or lacks bands or the data type.
    """
    with open_raster(path, trust_vrt=options.trust_vrt) as dataset:
        name = shown(path)
        source = source_grid(name, dataset, options.assume_crs, options.ground_resolution_m)
        bands, band_rule = choose_bands(name, dataset, imagery, options.bands)
        dtype = check_dtype(name, dataset, bands, imagery, stretched=options.stretch is not None)
        own = place(source, (1.0, 1.0), crs=None, align=False, keep_slant=True)
        rule, alpha = mask_rule(dataset, bands), alpha_band(dataset, bands)
        by_nodata = rule == "any-band" and alpha is None
        ref = SceneRef(
            path=place_of(path)[0],
            address=place_of(path)[1],
            fingerprint=_fingerprint(path, dataset),
            bands=bands,
            band_rule=band_rule,
            dtype=dtype,
            source_height=dataset.height,
            source_width=dataset.width,
            native_resolution_m=source.ground_resolution_m(),
            grid=own.grid,
            scale_yx=own.scale_yx,
            warp=own.warp,
            flip_yx=own.flip_yx,
            mask_rule=rule,
            alpha_band=alpha,
            stretch=None if options.stretch is None else ((0.0, 1.0),) * len(bands),
            value_range=imagery.value_range,
            trust_vrt=options.trust_vrt,
            notes=_notes(dataset, bands, options, source),
            stamps=_stamps(path, dataset),
            block_shape=dataset.block_shapes[bands[0] - 1],
            block_bytes=block_bytes(dataset, bands),
            telling_overview=telling_overview(dataset, bands) if by_nodata else 0,
        )
        return Look(ref, source, _date(dataset))


def refuse_data_off_the_earth(ref: SceneRef) -> None:
    """Refuse a scene some of whose pixels with data have no place on earth; its empty corners need none.

    Raises:
        SceneError: There are such pixels.
    """
    grid = ref.grid
    if not grid.has_place:
        return
    crs = parse_crs(grid.crs)
    to_lonlat = transformer(grid.crs, (crs.geodetic_crs or CRS.from_epsg(4326)).to_wkt())

    def off_earth(rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.bool_]:
        t = grid.transform
        lonlat = to_lonlat.transform(t.a * cols + t.b * rows + t.c, t.d * cols + t.e * rows + t.f)
        return ~np.isfinite(np.asarray(lonlat)).all(axis=0)

    along = np.linspace(0, 1, _BORDER_POINTS)
    zero, one = np.zeros_like(along), np.ones_like(along)
    border_rows = np.concatenate((zero, one, along, along)) * grid.height
    border_cols = np.concatenate((along, along, zero, one)) * grid.width
    if not off_earth(border_rows, border_cols).any():
        return
    reader = SceneReader(replace(ref, value_range=(-math.inf, math.inf)))
    try:
        _, valid_hw = reader.thumbnail(_THUMBNAIL_PX)
    finally:
        reader.close()
    rows, cols = np.nonzero(valid_hw)
    height, width = valid_hw.shape
    if off_earth((rows + 0.5) * grid.height / height, (cols + 0.5) * grid.width / width).any():
        raise SceneError(
            f"{ref.path} has pixels with data that have no place on earth in {crs.name}: its CRS or geotransform "
            "is wrong, or it reaches beyond the CRS; correct them, or mask those pixels, for example with gdalwarp"
        )


def _date(dataset: DatasetReader) -> str | None:
    """When the scene was taken, from the TIFF tag DateTime ("YYYY:MM:DD HH:MM:SS"), which knows no time zone."""
    tag = dataset.tags().get("TIFFTAG_DATETIME", "")
    try:
        return datetime.strptime(tag.strip(), "%Y:%m:%d %H:%M:%S").isoformat()  # noqa: DTZ007  # it has none
    except ValueError:
        return None


def _notes(dataset: DatasetReader, bands: tuple[int, ...], options: SceneOptions, source: Grid) -> tuple[str, ...]:
    """What is not as one might expect of the file."""
    notes = []
    assume_crs, told_m = options.assume_crs, options.ground_resolution_m
    if told_m is not None and source.has_place:
        notes.append(f"the file has a place on earth: the ground resolution of {told_m:g} m is not used")
    if not source.has_place and not dataset.transform.is_identity:
        notes.append("the file has a geotransform without a CRS: it is not used, the ground resolution is as told")
    if assume_crs is not None and dataset.crs is not None:
        notes.append(f"the file has a CRS of its own, {dataset.crs.to_string()[:60]}: --assume-crs is not used")
    tags = {(dataset.scales[band - 1], dataset.offsets[band - 1]) for band in bands} - {(1.0, 0.0)}
    if tags:
        scale, offset = min(tags)
        notes.append(
            f"the file's tags ask for x {scale:g} + {offset:g}; they are not applied, since a model knows the "
            "numbers as they are stored (--stretch is in stored numbers too)"
        )
    return tuple(notes)


def _placing_notes(source: Grid, placed: Placed) -> tuple[str, ...]:
    """What is not as one might expect of where its pixels are put."""
    notes = warp_notes(placed)
    if isinstance(placed.warp, Slant) and not is_slanted(source.transform, source.height, source.width):
        notes.append("the scene's pixels are resampled (bilinear), since they do not lie on those of the grid")
    elif isinstance(placed.warp, Slant):
        t = source.transform
        angle = math.degrees(math.atan2(t.d, t.a))
        notes.append(
            f"the scene's rows run {angle:.3g} degrees off the grid's: its pixels are resampled (bilinear) onto "
            "a north-up grid"
        )
    return tuple(notes)


def scale_for(
    path: str, native_yx: tuple[float, float], model_m: float, resolution: Resolution
) -> tuple[float, float]:
    """File pixels per grid pixel, along rows and columns."""
    match resolution:
        case "native" | "finest":
            return 1.0, 1.0
        case "model":
            if all(1 / KEEP_RATIO <= native / model_m <= KEEP_RATIO for native in native_yx):
                return 1.0, 1.0
            target = model_m
        case metres:
            target = metres
    if max(native_yx) > UPSAMPLE_LIMIT * target:
        raise SceneError(
            f"{path} has a ground resolution of {max(native_yx):.3g} m, too coarse for {target:g} m (at most "
            f"{UPSAMPLE_LIMIT:g} times finer pixels are made up): use a model for such imagery, "
            "or --resolution native to take its pixels as they are"
        )
    scale_y, scale_x = (1.0 if abs(target / native - 1) < 1e-6 else target / native for native in native_yx)
    return scale_y, scale_x


def with_stretch(ref: SceneRef, asked: tuple[float, float] | PercentStretch | None) -> SceneRef:
    """The scene with its stretch measured; without one, a sample of its values checked where that can fail."""
    if asked is None:
        if ref.every_value_is_legal:
            return ref
        reader = SceneReader(ref)
        try:
            reader.thumbnail(_THUMBNAIL_PX)
        finally:
            reader.close()
        return ref
    if not isinstance(asked, PercentStretch):
        if not asked[0] < asked[1]:
            raise SceneError(f"--stretch expects LO below HI, got {asked[0]:g},{asked[1]:g}")
        return replace(ref, stretch=(asked,) * len(ref.bands))
    reader = SceneReader(replace(ref, stretch=None, value_range=(-math.inf, math.inf)))
    try:
        image_chw, valid_hw = reader.thumbnail(_THUMBNAIL_PX)
    finally:
        reader.close()
    if not valid_hw.any():
        # Nothing to measure and nothing to stretch: a scene without data maps to empty layers.
        return replace(ref, stretch=(ref.value_range,) * len(ref.bands))
    limits = np.percentile(image_chw[:, valid_hw], [asked.low, asked.high], axis=1)
    pairs = []
    for number, (low, high) in zip(ref.bands, limits.T, strict=True):
        if not low < high:
            raise SceneError(
                f"band {number} of {ref.path} holds {low:g} at both {asked.low:g}% and {asked.high:g}%: "
                "there is nothing to stretch; name the values with --stretch LO,HI"
            )
        pairs.append((float(low), float(high)))
    return replace(ref, stretch=tuple(pairs))


def _sources(path: str, dataset: DatasetReader) -> list[Path]:
    """The files that a VRT is made of."""
    if dataset.driver != "VRT":
        return []
    return sorted(Path(file) for file in dataset.files if not Path(file).samefile(path))


def _stamps(path: str, dataset: DatasetReader) -> tuple[Stamp, ...]:
    """All files that are read, as they are now; of an address that one alone, since nothing beside it is."""
    if is_remote(path):
        return (Stamp.of(path),)
    return tuple(Stamp.of(str(Path(file).resolve())) for file in dataset.files)


def _fingerprint(path: str, dataset: DatasetReader) -> str:
    """sha256 over size, first and last 64 KiB of each file: cheap for any size, and a rewritten one does not pass.

    Of a remote file over what its server says of it.
    """
    if is_remote(path):
        return identify(path).fingerprint
    span = 65536
    digest = hashlib.sha256()
    for file in [Path(path), *_sources(path, dataset)]:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(0)
            digest.update(f"{size}:".encode() + stream.read(span))
            stream.seek(max(0, size - span))
            digest.update(stream.read(span))
    return digest.hexdigest()
