"""A layer as a stream of Arrow batches, and the one way in which GDAL writes it."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.errors import GeosegError
from geoseg.grid import parse_crs
from geoseg.io.layers import OBJECTS, Batches, Rows, Source, Table
from geoseg.labels import LabelSet

BATCH = 4096
"""Features in a batch of a stream; the last has fewer."""

_GEOMETRY = "geom"

RowsT = TypeVar("RowsT", bound=Rows)


def stream_schema(table: Table, geometry: str, *more: pa.Field) -> pa.Schema:
    """The columns of a layer with its geometry, as WKB, at the end.

    Args:
        table: What its features are.
        geometry: Name of the geometry's column.
        more: Columns before all others.
    """
    wkb = pa.field(geometry, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    return pa.schema([*more, *table.schema, wkb])


def record_batches(
    batches: Iterable[RowsT], labels: LabelSet, source: Source, table: Table = OBJECTS, geometry: str = _GEOMETRY
) -> Iterator[tuple[RowsT, pa.RecordBatch]]:
    """Features and the same as they are written, in batches of `BATCH`, however they come.

    Args:
        batches: Features, in order.
        labels: What names the classes.
        source: What names the scenes and the run.
        table: What the features are.
        geometry: Name of the geometry's column.
    """
    schema = stream_schema(table, geometry)
    for features in _of_one_size(batches):
        columns = [
            *features.values(labels, source),
            pa.array(shapely.to_wkb(features.geometry, byte_order=1), pa.binary()),
        ]
        yield features, pa.RecordBatch.from_arrays(columns, schema=schema)


def write_layer(
    path: Path,
    layer: str,
    batches: Batches,
    labels: LabelSet,
    crs: str | None,
    source: Source,
    *,
    driver: str,
    layer_options: Mapping[str, str],
    table: Table = OBJECTS,
    id_column: str | None = None,
    dataset_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    geometry_type: str | None = None,
) -> int:
    """Have GDAL write one layer.

    Args:
        path: File to write or, of a format with several layers, to add to.
        layer: Its name.
        batches: Features in `crs`.
        labels: What names the classes.
        crs: Authority code or WKT; None to say none.
        source: The run.
        driver: GDAL's name of the format.
        layer_options: Of the driver.
        table: What the features are.
        id_column: A copy of the column `id` by this name, for drivers that take it away.
        dataset_options: Of the driver.
        metadata: What the layer says of itself, where the driver has room for it.
        geometry_type: What the layer declares to hold; by default what its table says.

    Returns:
        How many features were written.

    Raises:
        GeosegError: This GDAL has no such driver.
        DataSourceError: GDAL cannot write; within `replacing` it becomes a StoppedError.
    """
    if driver not in pyogrio.list_drivers(write=True):
        raise GeosegError(
            f"expected a GDAL that writes {driver}, pyogrio {pyogrio.__version__} has one that does not: install "
            "pyogrio from PyPI, or write another format"
        )
    schema = stream_schema(table, _GEOMETRY, *([] if id_column is None else [pa.field(id_column, pa.int64())]))
    count = 0
    broken: list[BaseException] = []

    def tables() -> Iterator[pa.RecordBatch]:
        nonlocal count
        # Of what goes wrong in here GDAL says only that there is no further batch.
        try:
            for features, batch in record_batches(batches(), labels, source, table):
                count += len(features)
                columns = batch.columns if id_column is None else [batch.column("id"), *batch.columns]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        except BaseException as error:
            broken.append(error)
            raise

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        try:
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(schema, tables()),
                str(path),
                layer=layer,
                driver=driver,
                geometry_name=_GEOMETRY,
                geometry_type=table.geometry_type if geometry_type is None else geometry_type,
                crs=None if crs is None else parse_crs(crs).to_wkt(),
                dataset_options=dict(dataset_options or {}),
                layer_options=dict(layer_options),
                layer_metadata=None if metadata is None else dict(metadata),
            )
        except RuntimeError:
            if broken:
                raise broken[0] from None
            raise
    return count


def bounds_of(batches: Batches) -> NDArray[np.float64]:
    """Left, bottom, right, top of all features (4,); NaN of none."""
    bounds = [shapely.total_bounds(features.geometry) for features in batches() if len(features)]
    if not bounds:
        return np.full(4, np.nan)
    every = np.array(bounds)
    return np.concatenate((every[:, :2].min(axis=0), every[:, 2:].max(axis=0)))


def _of_one_size(batches: Iterable[RowsT]) -> Iterator[RowsT]:
    """The same features in batches of a fixed size, upon which the bytes of some formats depend."""
    left: RowsT | None = None
    for features in batches:
        every = features if left is None else type(features).concatenate((left, features))
        whole = len(every) // BATCH * BATCH
        yield from (every.at(np.arange(start, start + BATCH)) for start in range(0, whole, BATCH))
        left = every.at(np.arange(whole, len(every)))
    if left is not None and len(left):
        yield left
