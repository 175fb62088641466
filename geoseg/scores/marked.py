"""A GeoPackage of what was found, what was claimed and what was missed, for QGIS."""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.grid import parse_crs
from geoseg.io.geopackage import add_styles
from geoseg.io.qgis_styles import QGIS_VERSION, as_text
from geoseg.io.vector_file import GEOPACKAGE_OPTIONS, gdal_options, not_written, replacing

Outcome = Literal["true", "false", "missed"]

_COLORS: dict[Outcome, str] = {"true": "0,114,178", "false": "213,94,0", "missed": "240,228,66"}
"""Blue, vermilion, yellow: told apart by the colour-blind (Okabe and Ito 2008)."""

_GEOMETRY = "geom"
_FILL_ALPHA = 128


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """Objects or lines of a class with one outcome.

    Attributes:
        outcome: true: in map and reference (as the map has it); false: in the map alone; missed: in the reference.
        of_class: Name of the class.
        geometry: Polygons or lines (n,) in the plane.
        iou: float64 (n,), with the matched object, or None of what has none.
        confidence: float64 (n,), or None of what has none.
        id: int64 (n,), of the run's objects, or None.
    """

    outcome: Outcome
    of_class: str
    geometry: NDArray[np.object_]
    iou: NDArray[np.float64] | None = None
    confidence: NDArray[np.float64] | None = None
    id: NDArray[np.int64] | None = None


def write_marked(path: Path, objects: Sequence[Marks], lines: Sequence[Marks], crs: str) -> dict[str, int]:
    """Write the layers `objects` and `lines`, those that have any, styled by their outcome.

    Args:
        path: File to write, ending in `.gpkg`, in a folder that exists; one that is there is replaced.
        objects: Marked objects.
        lines: Marked lines.
        crs: Of all of them, authority code or WKT.

    Returns:
        How many features each layer has.

    Raises:
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    # A file without a layer cannot be written: one that has nothing to show says so by an empty layer.
    layers = {"objects": objects} if objects or not lines else {}
    layers |= {"lines": lines} if lines else {}
    counts = {}
    with replacing(path) as written, gdal_options(GEOPACKAGE_OPTIONS):
        for name, marks in layers.items():
            table = pa.Table.from_batches(list(_batches(marks)), _SCHEMA)
            counts[name] = table.num_rows
            pyogrio.write_arrow(
                table,
                str(written),
                layer=name,
                driver="GPKG",
                geometry_name=_GEOMETRY,
                geometry_type="MultiPolygon" if name == "objects" else "MultiLineString",
                crs=parse_crs(crs).to_wkt(),
                dataset_options={"VERSION": "1.3"},
                layer_options={"SPATIAL_INDEX": "YES", "GEOMETRY_NAME": _GEOMETRY, "FID": "fid"},
            )
        try:
            add_styles(written, {name: _style(name) for name in layers}, _GEOMETRY)
        except sqlite3.OperationalError as error:
            raise not_written(path, str(error)) from error
    return counts


_SCHEMA = pa.schema(
    [
        ("outcome", pa.string()),
        ("class", pa.string()),
        ("iou", pa.float64()),
        ("confidence", pa.float64()),
        ("id", pa.int64()),
        pa.field(_GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"}),
    ]
)


def _batches(marks: Sequence[Marks]) -> Iterator[pa.RecordBatch]:
    for one in marks:
        count = len(one.geometry)
        several = [_as_several(shape) for shape in one.geometry]
        yield pa.RecordBatch.from_arrays(
            [
                pa.array([one.outcome] * count, pa.string()),
                pa.array([one.of_class] * count, pa.string()),
                pa.nulls(count, pa.float64()) if one.iou is None else pa.array(np.round(one.iou, 4)),
                pa.nulls(count, pa.float64()) if one.confidence is None else pa.array(np.round(one.confidence, 4)),
                pa.nulls(count, pa.int64()) if one.id is None else pa.array(one.id),
                pa.array(shapely.to_wkb(several, byte_order=1), pa.binary()),
            ],
            schema=_SCHEMA,
        )


def _as_several(shape: shapely.Geometry) -> shapely.Geometry:
    match shape.geom_type:
        case "Polygon":
            return shapely.MultiPolygon([shape])
        case "LineString":
            return shapely.MultiLineString([shape])
        case _:
            return shape


def _style(layer: str) -> str:
    """QML: each outcome in its colour."""
    root = ET.Element("qgis", {"version": QGIS_VERSION, "styleCategories": "Symbology"})
    renderer = ET.SubElement(
        root,
        "renderer-v2",
        {"type": "categorizedSymbol", "attr": "outcome", "enableorderby": "0", "forceraster": "0"},
    )
    categories, symbols = ET.SubElement(renderer, "categories"), ET.SubElement(renderer, "symbols")
    for number, (outcome, color) in enumerate(_COLORS.items()):
        category = {"value": outcome, "label": outcome, "symbol": str(number), "render": "true"}
        ET.SubElement(categories, "category", category)
        kind = "fill" if layer == "objects" else "line"
        symbol = ET.SubElement(symbols, "symbol", {"type": kind, "name": str(number), "alpha": "1"})
        drawn = "SimpleFill" if kind == "fill" else "SimpleLine"
        one = ET.SubElement(symbol, "layer", {"class": drawn, "enabled": "1", "locked": "0", "pass": "0"})
        options = ET.SubElement(one, "Option", {"type": "Map"})
        values = (
            {"color": f"{color},{_FILL_ALPHA}", "outline_color": f"{color},255", "outline_width": "0.3"}
            if kind == "fill"
            else {"line_color": f"{color},255", "line_width": "0.6"}
        )
        for name, value in values.items():
            ET.SubElement(options, "Option", {"name": name, "type": "QString", "value": value})
    return as_text(root)
