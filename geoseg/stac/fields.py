"""What both Items are made of: extensions, classes, checksums, names of coordinate systems."""

from typing import Any

from geoseg.grid import parse_crs
from geoseg.labels import NODATA_CLASS, LabelSet

STAC_VERSION = "1.1.0"


def extension(name: str, version: str) -> str:
    """The address of an extension's schema, by which Items name it."""
    return f"https://stac-extensions.github.io/{name}/v{version}/schema.json"


CLASSIFICATION = extension("classification", "2.0.0")
FILE = extension("file", "2.1.0")
MLM = extension("mlm", "1.6.0")
PROCESSING = extension("processing", "1.1.0")
PROJECTION = extension("projection", "2.0.0")
RASTER = extension("raster", "2.0.0")

ITEM_TYPE = "application/geo+json"
"""The media type of an Item."""


def classes_of(labels: LabelSet, *, nodata: bool) -> list[dict[str, Any]]:
    """Classes as the classification extension has them.

    Args:
        labels: The classes.
        nodata: Whether the value of pixels without data comes last.
    """
    classes: list[dict[str, Any]] = [
        {"value": value, "name": label.name, "description": label.name, "color_hint": label.color[1:].upper()}
        for value, label in enumerate(labels.classes)
    ]
    if nodata:
        classes.append({"value": NODATA_CLASS, "name": "nodata", "description": "no data", "nodata": True})
    return classes


def multihash(sha256: str) -> str:
    """A sha256 in hexadecimal as a multihash: its kind (0x12) and length (0x20) come first."""
    return f"1220{sha256}"


def placing(crs: str) -> dict[str, Any]:
    """`proj:code` of a CRS, or where no authority has one for it, `proj:wkt2`.

    Args:
        crs: Authority code or WKT.
    """
    parsed = parse_crs(crs)
    authority = parsed.to_authority(min_confidence=100)
    if authority:
        return {"proj:code": ":".join(authority)}
    return {"proj:code": None, "proj:wkt2": parsed.to_wkt("WKT2_2019")}
