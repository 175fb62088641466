"""GeoPackage 1.3: all layers in one file, each with a spatial index and its style in QGIS."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType

import pyogrio

from geoseg.io.layer_stream import write_layer
from geoseg.io.layers import OBJECTS, Batches, Source, Table
from geoseg.io.qgis_styles import layer_style
from geoseg.io.vector_file import GEOPACKAGE_OPTIONS, gdal_options, not_written, replacing
from geoseg.labels import LabelSet

_GEOMETRY = "geom"

_STYLES = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  f_table_catalog TEXT(256),
  f_table_schema TEXT(256),
  f_table_name TEXT(256),
  f_geometry_column TEXT(256),
  styleName TEXT(30),
  styleQML TEXT,
  styleSLD TEXT,
  useAsDefault BOOLEAN,
  description TEXT,
  owner TEXT(30),
  ui TEXT(30),
  update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""
"""The table in which QGIS looks for styles, as it makes it itself."""


def write_geopackage(
    path: Path,
    layers: Mapping[str, Batches],
    labels: LabelSet,
    crs: str,
    source: Source,
    tables: Mapping[str, Table] = MappingProxyType({}),
    styles: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, int]:
    """Write layers into one GeoPackage, version 1.3, with a spatial index and a default style each.

    Version 1.3, since older QGIS warns of the later ones.

    Args:
        path: File to write, ending in `.gpkg`, in a folder that exists; one that is there is replaced.
        layers: Features in `crs` by layer name.
        labels: What names and colours the classes.
        crs: Authority code or WKT.
        source: The run, which becomes each layer's metadata (gpkg_metadata) and, in words, its description.
        tables: What the features of layers are that are no objects, by layer name.
        styles: The styles (QML) of layers that are no objects, by layer name.

    Returns:
        How many features each layer has.

    Raises:
        ValueError: There is no layer.
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    if not layers:
        raise ValueError("expected at least one layer")
    counts: dict[str, int] = {}
    with replacing(path) as written, gdal_options(GEOPACKAGE_OPTIONS):
        for name, batches in layers.items():
            counts[name] = write_layer(
                written,
                name,
                batches,
                labels,
                crs,
                source,
                driver="GPKG",
                table=tables.get(name, OBJECTS),
                dataset_options={"VERSION": "1.3"},
                layer_options={
                    "SPATIAL_INDEX": "YES",
                    "GEOMETRY_NAME": _GEOMETRY,
                    "FID": "fid",
                    "DESCRIPTION": source.in_words,
                },
                metadata={f"geoseg_{key}": str(value) for key, value in source.to_json().items()},
            )
        for name, count in counts.items():
            # GDAL does not report that it could not write the spatial index, the last thing it does.
            info = pyogrio.read_info(written, layer=name)
            if info["features"] != count or not info["capabilities"]["fast_spatial_filter"]:
                raise not_written(path, f"layer {name} is not whole")
        try:
            of_layer = {label.layer: layer_style(label) for label in labels.classes if label.layer is not None}
            of_layer |= styles
            add_styles(written, {name: of_layer[name] for name in layers if name in of_layer}, _GEOMETRY)
        except sqlite3.OperationalError as error:
            raise not_written(path, str(error)) from error
    return counts


def add_styles(path: Path, styles: Mapping[str, str], geometry: str) -> None:
    """Write default styles into a GeoPackage that has none, and register their table as one without geometries.

    Args:
        path: The file.
        styles: QML by the name of a layer.
        geometry: Name of the layers' geometry columns.

    Raises:
        sqlite3.OperationalError: They could not be written.
    """
    now = GEOPACKAGE_OPTIONS["OGR_CURRENT_DATE"]
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(_STYLES)
        database.executemany(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,"
            " styleQML, styleSLD, useAsDefault, description, owner, ui, update_time)"
            " VALUES ('', '', ?, ?, 'geoseg', ?, '', 1, '', '', NULL, ?)",
            [(name, geometry, qml, now) for name, qml in styles.items()],
        )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, last_change, srs_id)"
            " VALUES ('layer_styles', 'attributes', 'layer_styles', '', ?, 0)",
            (now,),
        )
