"""What `geoseg inspect` says of a raster."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioIOError
from rasterio.io import DatasetReader
from rasterio.windows import Window

from geoseg.catalog import load_model
from geoseg.errors import GeosegError, SceneError
from geoseg.grid import Grid, parse_crs
from geoseg.io.addresses import shown
from geoseg.io.drivers import open_raster
from geoseg.io.scene import SceneOptions, describe_scene
from geoseg.io.stamp import Stamp
from geoseg.mapping import resolution_warning

_OVERVIEW_PX = 1024
"""Longest side of the decimated image that the nodata share is counted on."""

_WHOLE_PX = 2**28
"""A raster of more pixels that has no overviews is not decimated, which would decode all of it, but sampled."""

_SAMPLES = 16
_SAMPLE_PX = 64
"""Samples along each axis, and the side of each."""


def scene_content(path: str, model_name: str, *, trust_vrt: bool = False) -> dict[str, Any]:
    """All that is said of a raster, as JSON.

    Args:
        path: The raster.
        model_name: The model that it is to fit.
        trust_vrt: Whether a file named .vrt may be one; see `geoseg.io.scene.SceneOptions`.

    Raises:
        SceneError: It cannot be opened.
    """
    with open_raster(path, trust_vrt=trust_vrt) as dataset:
        resolution_m = _ground_resolution(dataset)
        crs = None if dataset.crs is None else _crs(dataset)
        content = {
            "kind": "scene",
            "path": shown(path),
            "driver": dataset.driver,
            "bytes": Stamp.of(path).size,
            "height": dataset.height,
            "width": dataset.width,
            "bands": [
                {"number": number, "dtype": dtype, "color": color.name, "nodata": _finite(nodata)}
                for number, (dtype, color, nodata) in enumerate(
                    zip(dataset.dtypes, dataset.colorinterp, dataset.nodatavals, strict=True), 1
                )
            ],
            "crs": crs,
            "crs_name": None if crs is None else _crs_name(crs),
            "transform": list(dataset.transform)[:6],
            "placed_by": _placed_by(dataset),
            "ground_resolution_m": resolution_m,
            "nodata_share": _nodata_share(dataset),
            "overviews": dataset.overviews(1),
            "block_px": list(dataset.block_shapes[0]),
            "compression": None if dataset.compression is None else dataset.compression.value,
        }
    return {**content, "fit": _fit(path, model_name, SceneOptions(trust_vrt=trust_vrt))}


def scene_lines(scene: dict[str, Any]) -> Iterator[tuple[str, object]]:
    """The same for people, as labels and words."""
    rows, cols = scene["block_px"]
    yield "scene", f"{scene['path']} ({scene['driver']}, {scene['bytes']} bytes)"
    yield "size", f"{scene['height']} x {scene['width']} px"
    for band in scene["bands"]:
        nodata = "" if band["nodata"] is None else f", nodata {band['nodata']}"
        yield "band", f"{band['number']} {band['color']}, {band['dtype']}{nodata}"
    code = scene["crs"] if (scene["crs"] or "").startswith("EPSG:") else "no authority code"
    yield "crs", "none" if scene["crs"] is None else f"{scene['crs_name']} ({code})"
    yield "placed", f"by {scene['placed_by']}"
    if scene["ground_resolution_m"] is not None:
        yield "ground", f"{' x '.join(format(side, '.3g') for side in scene['ground_resolution_m'])} m a pixel"
    share = scene["nodata_share"]
    yield "nodata", "not readable: the file is cut short or damaged" if share is None else f"about {share:.1%}"
    overviews = ", ".join(map(str, scene["overviews"])) or "none"
    yield "stored", f"in blocks of {rows} x {cols} px, compression {scene['compression'] or 'none'}"
    yield "reduced", f"overviews: {overviews}"
    fit = scene["fit"]
    if not fit["fits"]:
        yield "fits", f"not {fit['model']}: {fit['reason']}"
        return
    yield "fits", f"{fit['model']}: bands {', '.join(map(str, fit['bands']))} ({fit['band_rule']})"
    yield "grid", f"{fit['grid']['height']} x {fit['grid']['width']} px of {fit['grid_resolution_m']:.3g} m"
    for warning in fit["warnings"]:
        yield "warning", warning


def _fit(path: str, model_name: str, options: SceneOptions) -> dict[str, Any]:
    """How the model would read the scene, or why it cannot."""
    try:
        imagery = load_model(model_name).imagery
        scene = describe_scene(path, imagery, options)
    except GeosegError as error:
        return {"model": model_name, "fits": False, "reason": str(error)}
    resolution_m = max(scene.grid.ground_resolution_m())
    doubt = resolution_warning(resolution_m, imagery.ground_resolution_m)
    return {
        "model": model_name,
        "fits": True,
        "reason": None,
        "bands": list(scene.bands),
        "band_rule": scene.band_rule,
        "grid": scene.grid.to_json(),
        "grid_resolution_m": resolution_m,
        "warnings": [*scene.notes, *([] if doubt is None else [doubt])],
    }


def _nodata_share(dataset: DatasetReader) -> float | None:
    """Share of the pixels without data, estimated; None where they cannot be read."""
    height, width = dataset.height, dataset.width
    try:
        if dataset.overviews(1) or height * width <= _WHOLE_PX:
            factor = max(1.0, max(height, width) / _OVERVIEW_PX)
            shape = max(1, round(height / factor)), max(1, round(width / factor))
            valid = _valid(dataset, Window(0, 0, width, height), shape).ravel()
        else:
            side = min(_SAMPLE_PX, height), min(_SAMPLE_PX, width)
            rows = np.linspace(0, height - side[0], _SAMPLES).astype(int)
            cols = np.linspace(0, width - side[1], _SAMPLES).astype(int)
            windows = [Window(int(col), int(row), side[1], side[0]) for row in rows for col in cols]
            valid = np.concatenate([_valid(dataset, window, side).ravel() for window in windows])
    except RasterioIOError:
        return None
    return float(1 - valid.mean())


def _valid(dataset: DatasetReader, window: Window, shape: tuple[int, int]) -> NDArray[np.bool_]:
    valid_hw = np.asarray(dataset.dataset_mask(window=window, out_shape=shape) > 0)
    # GDAL's mask knows an alpha band only where it is the last of two or four.
    for number, color in enumerate(dataset.colorinterp, 1):
        if color is ColorInterp.alpha:
            valid_hw &= dataset.read(number, window=window, out_shape=shape) > 0
    if np.dtype(dataset.dtypes[0]).kind == "f":
        valid_hw &= np.isfinite(dataset.read(1, window=window, out_shape=shape))
    return valid_hw


def _ground_resolution(dataset: DatasetReader) -> list[float] | None:
    """Ground (height, width) of a pixel in metres, or None where the file does not place it."""
    if dataset.crs is None or dataset.transform.is_identity or dataset.transform.determinant == 0:
        return None
    try:
        grid = Grid(_crs(dataset), dataset.transform, dataset.height, dataset.width)
        return list(grid.ground_resolution_m())
    except SceneError:
        return None


def _crs(dataset: DatasetReader) -> str:
    epsg = dataset.crs.to_epsg(confidence_threshold=100)
    return f"EPSG:{epsg}" if epsg is not None else str(dataset.crs.to_wkt())


def _crs_name(crs: str) -> str:
    try:
        return parse_crs(crs).name
    except SceneError:
        return "not understood"


def _placed_by(dataset: DatasetReader) -> str:
    if not dataset.transform.is_identity:
        return "a geotransform" if dataset.crs is not None else "a geotransform without a CRS"
    if dataset.gcps[0]:
        return "ground control points"
    return "nothing" if dataset.rpcs is None else "RPCs"


def _finite(value: float | None) -> float | str | None:
    """A nodata value as JSON takes it: NaN and infinity in words."""
    return value if value is None or np.isfinite(value) else str(value)
