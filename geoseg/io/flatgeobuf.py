"""FlatGeobuf: one layer, in the CRS of the grid, with a spatial index that is read over the web too."""

from pathlib import Path

import pyogrio
import pyogrio.raw
from pyogrio.errors import FeatureError

from geoseg.io.layer_stream import write_layer
from geoseg.io.layers import OBJECTS, Batches, Source, Table
from geoseg.io.vector_file import not_written, replacing
from geoseg.labels import LabelSet


def write_flatgeobuf(
    path: Path, batches: Batches, labels: LabelSet, crs: str, source: Source, table: Table = OBJECTS
) -> int:
    """Write features as FlatGeobuf, in the order of its spatial index.

    An empty layer has no index, since the format has none for nothing.

    Args:
        path: File to write, ending in `.fgb`, in a folder that exists; one that is there is replaced.
        batches: Features in `crs`.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run, which becomes the file's metadata and, in words, its description.
        table: What the features are.

    Returns:
        How many features were written.

    Raises:
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    with replacing(path) as written:
        count = write_layer(
            written,
            path.stem,
            batches,
            labels,
            crs,
            source,
            driver="FlatGeobuf",
            table=table,
            layer_options={"SPATIAL_INDEX": "YES", "TITLE": path.stem, "DESCRIPTION": source.in_words},
            metadata={f"geoseg_{key}": str(value) for key, value in source.to_json().items()},
        )
        if count:
            _check(path, written, count)
    return count


def _check(path: Path, written: Path, count: int) -> None:
    """GDAL does not report a disk that fills up when it closes the file.

    Raises:
        StoppedError: The index, or the last feature, is not there.
    """
    info = pyogrio.read_info(written)
    if info["features"] != count or not info["capabilities"]["fast_spatial_filter"]:
        raise not_written(path, "its index is missing")
    try:
        _, _, geometry, _ = pyogrio.raw.read(written, fids=[count - 1], columns=[])
    except FeatureError as error:
        raise not_written(path, "its last feature is missing") from error
    if geometry is None or geometry[0] is None:
        raise not_written(path, "its last feature is missing")
