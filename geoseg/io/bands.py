"""Which bands of a file a model reads, of what type, and how it is told which pixels hold data."""

import numpy as np
from rasterio.enums import ColorInterp, Interleaving, MaskFlags
from rasterio.io import DatasetReader

from geoseg.errors import SceneError
from geoseg.imagery import Imagery
from geoseg.io.scene_ref import MaskRule


def choose_bands(
    path: str, dataset: DatasetReader, imagery: Imagery, asked: tuple[int, ...] | None
) -> tuple[tuple[int, ...], str]:
    """The bands that are read, from 1, and by what rule they were chosen.

    Args:
        path: As the user named it.
        dataset: The file.
        imagery: What the model expects.
        asked: As `--bands`.

    Raises:
        SceneError: There are too few, or other ones.
    """
    wanted = ", ".join(imagery.bands)
    if asked is not None:
        if len(asked) != len(imagery.bands):
            raise SceneError(f"the model expects {len(imagery.bands)} bands ({wanted}), --bands names {len(asked)}")
        missing = [band for band in asked if not 1 <= band <= dataset.count]
        if missing:
            raise SceneError(f"--bands names band {missing[0]}, {path} has bands 1 to {dataset.count}")
        bands, rule = asked, "as asked"
    else:
        by_color = {color.name: number for number, color in reversed(list(enumerate(dataset.colorinterp, 1)))}
        usable = [number for number, color in enumerate(dataset.colorinterp, 1) if color is not ColorInterp.alpha]
        if all(name in by_color for name in imagery.bands):
            bands, rule = tuple(by_color[name] for name in imagery.bands), "by colour interpretation"
        elif len(usable) >= len(imagery.bands):
            bands, rule = tuple(usable[: len(imagery.bands)]), "by order"
        else:
            bands, rule = tuple(usable), "too few"
    if any(dataset.colorinterp[band - 1] is ColorInterp.palette for band in bands):
        raise SceneError(
            f"{path} holds palette indices, the model expects intensities ({wanted}): expand it first, "
            "for example with gdal_translate -expand rgb"
        )
    if len(bands) < len(imagery.bands):
        raise SceneError(
            f"the model expects {len(imagery.bands)} bands ({wanted}), {path} has {len(bands)}: "
            "choose another model, or repeat a band, for example --bands 1,1,1 (bands: in a data entry)"
        )
    return bands, rule


def check_dtype(
    path: str, dataset: DatasetReader, bands: tuple[int, ...], imagery: Imagery, *, stretched: bool
) -> str:
    """The type of the file's numbers.

    Args:
        path: As the user named it.
        dataset: The file.
        bands: That are read.
        imagery: What the model expects.
        stretched: Whether values are mapped onto those that the model expects.

    Raises:
        SceneError: The bands have several, or one that is not the model's.
    """
    dtypes = {dataset.dtypes[band - 1] for band in bands}
    if len(dtypes) > 1:
        raise SceneError(f"expected bands of one data type, {path} has {', '.join(sorted(dtypes))}")
    dtype = str(dtypes.pop())
    if dtype.startswith("complex") or np.dtype(dtype).kind not in "uif":
        raise SceneError(f"expected real numbers, {path} holds {dtype}: take its amplitude first")
    if dtype != imagery.dtype and not stretched:
        low, high = imagery.value_range
        raise SceneError(
            f"the model expects {imagery.dtype} values from {low:g} to {high:g}, {path} holds {dtype}: "
            "name the values to map onto that range with --stretch LO,HI or 2%,98%"
        )
    return dtype


def mask_rule(dataset: DatasetReader, bands: tuple[int, ...]) -> MaskRule:
    """What says which pixels of the bands that are read hold data."""
    flags = {flag for band in bands for flag in dataset.mask_flag_enums[band - 1]}
    if MaskFlags.per_dataset in flags or MaskFlags.alpha in flags:
        return "dataset"
    if MaskFlags.nodata not in flags:
        return "all"
    # Any whole number is a legal intensity too: saturated red is (255, 0, 0), whichever of 0 and 255 is nodata.
    whole = np.dtype(dataset.dtypes[bands[0] - 1]).kind in "ui"
    return "any-band" if whole else "every-band"


def block_bytes(dataset: DatasetReader, bands: tuple[int, ...]) -> int:
    """Bytes of a block of the file in all bands that are decoded with it, and of its mask."""
    together = dataset.interleaving is Interleaving.pixel
    decoded = sum(np.dtype(dataset.dtypes[band - 1]).itemsize for band in (dataset.indexes if together else bands))
    height, width = dataset.block_shapes[bands[0] - 1]
    return int(height * width * (decoded + 1))


def alpha_band(dataset: DatasetReader, bands: tuple[int, ...]) -> int | None:
    """The band of opacity, where GDAL's own mask does not know it: it does as the last band of two or four."""
    if any(MaskFlags.alpha in dataset.mask_flag_enums[band - 1] for band in bands):
        return None
    numbers = [number for number, color in enumerate(dataset.colorinterp, 1) if color is ColorInterp.alpha]
    return numbers[0] if numbers else None
