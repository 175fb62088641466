"""The files of a run as assets of its Item."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from geoseg.grid import Grid, Window
from geoseg.io.mosaic import NO_OFFSET, OFFSET_STEPS, PROBABILITY_SCALE
from geoseg.io.region import NO_SCENE
from geoseg.labels import NODATA_CLASS, LabelSet
from geoseg.plan import RunPlan
from geoseg.stac.fields import classes_of, multihash, placing

_LONLAT = "OGC:CRS84"
_WEB_MERCATOR = "EPSG:3857"

_RESOLUTION_DIGITS = 6


def assets_of(
    plan: RunPlan, outputs: Sequence[Mapping[str, Any]], windows: Mapping[str, Window], sizes: Mapping[str, int]
) -> dict[str, dict[str, Any]]:
    """Assets by key, with addresses as seen from `stac/`; not the project for QGIS, nor the page.

    That one names where the scenes lie as seen from RUN, so that its bytes are not those of the same run elsewhere.
    The page is written later, and tells of times.

    Args:
        plan: The run.
        outputs: What was written, as run.json has it.
        windows: Of class rasters that hold a part of the grid, by path: which.
        sizes: Bytes of each file, by path.
    """
    return dict(
        _asset(plan, output, windows, sizes) for output in outputs if output["format"] not in ("qgs", "html")
    )


def _asset(
    plan: RunPlan, output: Mapping[str, Any], windows: Mapping[str, Window], sizes: Mapping[str, int]
) -> tuple[str, dict[str, Any]]:
    path = str(output["path"])
    key, content = _content(plan, str(output["format"]), PurePosixPath(path), windows.get(path))
    asset = {"href": f"../{path}", **content}
    if output["sha256"] is not None:
        asset["file:checksum"] = multihash(output["sha256"])
    if path in sizes:
        asset["file:size"] = sizes[path]
    if output["features"] is not None:
        asset["geoseg:features"] = output["features"]
    return key, asset


def _content(plan: RunPlan, kind: str, path: PurePosixPath, window: Window | None) -> tuple[str, dict[str, Any]]:
    """Key of an asset, and what it says of its file besides where it lies and which bytes it has."""
    grid = plan.region.grid
    match kind:
        case "zarr":
            return "mosaic", {
                "title": "Classes and confidence with overviews",
                "type": "application/vnd.zarr; version=3",
                "roles": ["data"],
                **_raster(grid),
                "bands": _mosaic_bands(plan),
            }
        case "cog":
            part = grid if window is None else grid.part(window)
            whole = path.parent == PurePosixPath()
            return path.stem if whole else f"{path.parent}-{path.stem}", {
                "title": "Class of every pixel" if whole else f"Class of every pixel, part {path.stem}",
                "type": "image/tiff; application=geotiff; profile=cloud-optimized",
                "roles": ["data"],
                **_raster(part),
                **_class_values(plan.labels),
                "bands": [{"name": "classes", "description": "class"}],
            }
        case "gpkg-index":
            return f"{path.parent}-{path.stem}", {
                "title": "Where each of the class rasters lies",
                "type": "application/geopackage+sqlite3",
                "roles": ["metadata"],
            }
        case "png":
            return path.stem, {
                "title": "Image, classes and outlines",
                "type": "image/png",
                "roles": ["thumbnail"],
            }
        case _:
            media_type, role, title, place = _layer(kind)
            return path.name, {
                "title": f"{title} ({path.stem})",
                "type": media_type,
                "roles": [role],
                **({} if place is None else {"proj:code": place}),
            }


def _layer(kind: str) -> tuple[str, str, str, str | None]:
    """Media type, role, title, and the CRS where it is not the grid's, of a file that is no raster."""
    crs = None
    match kind:
        case "gpkg":
            words = "application/geopackage+sqlite3", "data", "Objects as GeoPackage"
        case "geojson":
            words, crs = ("application/geo+json", "data", "Objects as GeoJSON"), _LONLAT
        case "geojsonseq":
            words, crs = ("application/geo+json-seq", "data", "Objects as a GeoJSON text sequence"), _LONLAT
        case "fgb":
            words = "application/vnd.flatgeobuf", "data", "Objects as FlatGeobuf"
        case "parquet":
            words = "application/vnd.apache.parquet", "data", "Objects as GeoParquet"
        case "pmtiles":
            words, crs = ("application/vnd.pmtiles", "visual", "Objects as vector tiles"), _WEB_MERCATOR
        case "qml":
            words = "text/xml", "metadata", "Style for QGIS"
        case _:
            raise ValueError(f"an output of format {kind!r} has no media type yet")
    return *words, crs


def _raster(grid: Grid) -> dict[str, Any]:
    """Where the pixels of a raster lie."""
    return {
        **placing(grid.crs),
        "proj:shape": [grid.height, grid.width],
        "proj:transform": [float(value) for value in tuple(grid.transform)[:6]],
        "raster:sampling": "area",
        "raster:spatial_resolution": round(max(grid.ground_resolution_m()), _RESOLUTION_DIGITS),
    }


def _class_values(labels: LabelSet) -> dict[str, Any]:
    return {
        "data_type": "uint8",
        "nodata": NODATA_CLASS,
        "classification:classes": classes_of(labels, nodata=True),
    }


def _mosaic_bands(plan: RunPlan) -> list[dict[str, Any]]:
    """The arrays of the mosaic; that of all probabilities has one for each class."""
    scaled = {"data_type": "uint8", "nodata": NODATA_CLASS, "raster:scale": 1 / PROBABILITY_SCALE}
    bands = [
        {"name": "classes", "description": "class", **_class_values(plan.labels)},
        {"name": "confidence", "description": "probability of the class", **scaled},
    ]
    if plan.probability:
        bands += [
            {"name": f"probability/{name}", "description": f"probability of {name}", **scaled}
            for name in plan.labels.names
        ]
    if plan.panoptic is not None:
        centre = "how much a pixel is the centre of an object"
        way = {"data_type": "int16", "nodata": NO_OFFSET, "raster:scale": 1 / OFFSET_STEPS, "unit": "pixel"}
        bands += [
            {"name": "heat", "description": centre, **scaled},
            {"name": "offset/0", "description": "rows from a pixel to the centre of its object", **way},
            {"name": "offset/1", "description": "columns from a pixel to the centre of its object", **way},
            {"name": "instances", "description": "id of the object", "data_type": "uint64", "nodata": 0},
        ]
    if plan.several:
        described = "index of the scene in geoseg:scenes that the pixel comes from"
        bands.append({"name": "scene", "description": described, "data_type": "uint16", "nodata": NO_SCENE})
    return bands
