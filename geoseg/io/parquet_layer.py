"""GeoParquet 1.1, written: one layer in Hilbert order, with boxes by which readers skip what lies elsewhere."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import shapely
from numpy.typing import NDArray

from geoseg.grid import parse_crs
from geoseg.io.hilbert import HilbertSort, hilbert_keys
from geoseg.io.layer_stream import bounds_of, record_batches, stream_schema
from geoseg.io.layers import OBJECTS, Batches, Source, Table
from geoseg.io.vector_file import replacing
from geoseg.labels import LabelSet

_GEOMETRY = "geometry"
_BBOX = "bbox"
_SIDES = ("xmin", "ymin", "xmax", "ymax")

_GROUP_ROWS = 50_000
"""Rows of a row group, of which a reader takes all or none."""


def write_geoparquet(
    path: Path, batches: Batches, labels: LabelSet, crs: str, source: Source, table: Table = OBJECTS
) -> int:
    """Write features as GeoParquet 1.1: in the order of a Hilbert curve, zstd, row groups with the boxes of rows.

    What is sorted lies on disk beside the file meanwhile, about once its size before compression.

    Args:
        path: File to write, in a folder that exists; one that is there is replaced.
        batches: Features in `crs`.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run, which the file's metadata holds under the key `geoseg`.
        table: What the features are.

    Returns:
        How many features were written.

    Raises:
        OSError: The folder is missing or read-only, or its disk is full.
    """
    bounds = bounds_of(batches)
    schema = stream_schema(table, _GEOMETRY)
    schema = schema.append(pa.field(_BBOX, pa.struct([pa.field(side, pa.float64()) for side in _SIDES])))
    count = 0
    with replacing(path) as written, TemporaryDirectory(dir=written.parent) as spill:
        rows = HilbertSort(Path(spill), schema)
        for features, batch in record_batches(batches(), labels, source, table, _GEOMETRY):
            count += len(features)
            boxes = shapely.bounds(features.geometry)
            columns = [*batch.columns, _struct(boxes)]
            middles = (boxes[:, :2] + boxes[:, 2:]) / 2
            rows.add(hilbert_keys(middles, bounds), pa.RecordBatch.from_arrays(columns, schema=schema))
        metadata = {"geo": json.dumps(_geo(crs, bounds, table)), "geoseg": json.dumps(source.to_json())}
        plain = pa.schema([pa.field(field.name, field.type) for field in schema]).with_metadata(metadata)
        with pyarrow.parquet.ParquetWriter(written, plain, compression="zstd") as writer:
            waiting: list[pa.Table] = []
            for part in rows.sorted():
                waiting.append(part.cast(plain))
                if sum(map(len, waiting)) >= _GROUP_ROWS:
                    together = pa.concat_tables(waiting)
                    whole = len(together) // _GROUP_ROWS * _GROUP_ROWS
                    writer.write_table(together.slice(0, whole), _GROUP_ROWS)
                    waiting = [together.slice(whole)]
            left = pa.concat_tables([plain.empty_table(), *waiting])
            if len(left):
                writer.write_table(left, _GROUP_ROWS)
    return count


def _struct(boxes: NDArray[np.float64]) -> pa.StructArray:
    return pa.StructArray.from_arrays([pa.array(side) for side in boxes.T], list(_SIDES))


def _geo(crs: str, bounds: NDArray[np.float64], table: Table) -> dict[str, Any]:
    """What makes it GeoParquet (https://geoparquet.org/releases/v1.1.0)."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": [table.geometry_type],
        "crs": parse_crs(crs).to_json_dict(),
        "edges": "planar",
        **({"orientation": "counterclockwise"} if table.geometry_type == "Polygon" else {}),
        "covering": {"bbox": {side: [_BBOX, side] for side in _SIDES}},
    }
    if not np.isnan(bounds).any():
        column["bbox"] = bounds.tolist()
    return {"version": "1.1.0", "primary_column": _GEOMETRY, "columns": {_GEOMETRY: column}}
