"""How a QGIS project finds the file of a scene, and draws it."""

import os
from pathlib import Path
from xml.etree import ElementTree as ET

from geoseg.io.addresses import is_remote, parse_address
from geoseg.io.place import Place
from geoseg.io.scene_ref import SceneRef
from geoseg.io.warp import Warp

_CUT = ("0.02", "0.98")
"""Shares of the values that are drawn black and white at most, where nobody said which values a scene has."""


def scene_source(ref: SceneRef, run: Place) -> str | None:
    """Where a project in a RUN folder finds a scene's file, or None where it cannot.

    A file below the folder that holds RUN is named from RUN on, so that both may be moved together. None is for an
    address that was signed, which is kept out of all that is written, and for names that XML cannot hold.

    Args:
        ref: The scene's file.
        run: The RUN folder.
    """
    if ref.address or not ref.path.isprintable():
        return None
    if is_remote(ref.path):
        return parse_address(ref.path).gdal_path
    if not isinstance(run, Path):
        return ref.path
    folder = run.resolve()
    if Path(ref.path).is_relative_to(folder.parent):
        relative = Path(os.path.relpath(ref.path, folder)).as_posix()
        return relative if relative.startswith("../") else f"./{relative}"
    return ref.path


def scene_crs(ref: SceneRef) -> str:
    """The CRS of a scene's own pixels: its file may lack what the user said of it."""
    return ref.warp.source_crs if isinstance(ref.warp, Warp) else ref.grid.crs


def scene_pipe(ref: SceneRef) -> ET.Element | None:
    """How a scene is drawn: the model's first three bands as colours, or its first in grey.

    Returns:
        The pipe as a project holds it, or None where QGIS's own choice has the same bands, and knows a mask.
    """
    plain = ref.dtype == "uint8" and ref.stretch is None
    if plain and ref.mask_rule == "dataset" and ref.bands[:3] == (1, 2, 3):
        return None
    bands = ref.bands[:3] if len(ref.bands) >= 3 else ref.bands[:1]
    names = ("red", "green", "blue") if len(bands) == 3 else ("gray",)
    pipe = ET.Element("pipe")
    drawn = {
        "type": "multibandcolor" if len(bands) == 3 else "singlebandgray",
        "alphaBand": str(ref.alpha_band or -1),
        "opacity": "1",
        **{f"{name}Band": str(band) for name, band in zip(names, bands, strict=True)},
    }
    renderer = ET.SubElement(pipe, "rasterrenderer", drawn)
    ET.SubElement(renderer, "rasterTransparency")
    if plain:
        return pipe
    # Where nobody said how bright a scene is, what is seen of it decides, each time that the view moves.
    measured = ref.stretch is None
    origin = ET.SubElement(renderer, "minMaxOrigin")
    for key, text in (
        ("limits", "CumulativeCut" if measured else "None"),
        ("extent", "UpdatedCanvas" if measured else "WholeRaster"),
        ("statAccuracy", "Estimated"),
        ("cumulativeCutLower", _CUT[0]),
        ("cumulativeCutUpper", _CUT[1]),
        ("stdDevFactor", "2"),
    ):
        ET.SubElement(origin, key).text = text
    limits = ref.stretch or (ref.value_range,) * len(ref.bands)
    for name, (low, high) in zip(names, limits, strict=False):
        contrast = ET.SubElement(
            renderer, "contrastEnhancement" if name == "gray" else f"{name}ContrastEnhancement"
        )
        ET.SubElement(contrast, "minValue").text = repr(float(low))
        ET.SubElement(contrast, "maxValue").text = repr(float(high))
        ET.SubElement(contrast, "algorithm").text = "StretchToMinimumMaximum"
    return pipe
