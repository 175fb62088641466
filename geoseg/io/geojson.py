"""GeoJSON (RFC 7946), as one document and as a line for each feature."""

import json
from collections.abc import Iterator
from pathlib import Path

from geoseg.errors import GeosegError
from geoseg.io.antimeridian import crosses, cut
from geoseg.io.layer_stream import bounds_of, write_layer
from geoseg.io.layers import OBJECTS, Batches, Rows, Source, Table
from geoseg.io.vector_file import not_written, replacing
from geoseg.labels import LabelSet

# The last bytes of every GeoJSON document of GDAL's.
_END = b"\n]\n}\n"

_MOST_ID = 2**53
"""Readers that keep all numbers as 64-bit floats, as JavaScript does, take greater ones for others (RFC 8259,
section 6)."""

_READ_BYTES = 2**20

_WGS84 = "EPSG:4326"

# GDAL takes the column that becomes the member `id` out of the properties, so it gets a copy.
_ID = {"ID_FIELD": "feature_id", "ID_TYPE": "Integer"}


def write_geojson(
    path: Path, batches: Batches, labels: LabelSet, crs: str, source: Source, table: Table = OBJECTS
) -> int:
    """Write features as a GeoJSON FeatureCollection in the sense of RFC 7946.

    Coordinates are WGS 84 longitude and latitude with 7 decimals (about 1 cm), polygons across the
    antimeridian are cut there. An object's id is the member `id` of its Feature and a property too, since
    many readers show properties only.

    Args:
        path: File to write, in a folder that exists; one that is there is replaced.
        batches: Features in `crs`.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run, which becomes the foreign member `geoseg` (RFC 7946, section 6.1).
        table: What the features are.

    Returns:
        How many features were written.

    Raises:
        GeosegError: An id is greater than JSON numbers are kept exactly.
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    cut_here, placed = _placed(path, batches, crs)
    with replacing(path) as written:
        count = write_layer(
            written,
            path.stem,
            placed,
            labels,
            None if cut_here else crs,
            source,
            table=table,
            geometry_type="Unknown" if cut_here else None,
            id_column=_ID["ID_FIELD"],
            driver="GeoJSON",
            layer_options={
                # GDAL would cut again, at what only touches the meridian; a layer of no CRS gets no member `crs`.
                "RFC7946": "NO" if cut_here else "YES",
                "WRITE_BBOX": "YES",
                "COORDINATE_PRECISION": "7",
                **_ID,
                "NATIVE_DATA": json.dumps({"type": "FeatureCollection", "geoseg": source.to_json()}),
                "NATIVE_MEDIA_TYPE": "application/vnd.geo+json",
            },
        )
        # GDAL does not report a disk that fills up when it closes the file.
        with written.open("rb") as file:
            file.seek(max(0, written.stat().st_size - len(_END)))
            whole = file.read() == _END
        if not whole:
            raise not_written(path, "the end of the file is missing")
    return count


def write_geojsonseq(
    path: Path, batches: Batches, labels: LabelSet, crs: str, source: Source, table: Table = OBJECTS
) -> int:
    r"""Write features as GeoJSON Features, one a line, which can be read and added to as a stream.

    Lines end with a line feed and begin with no record separator (newline-delimited GeoJSON): QGIS opens that,
    and so do programs that read lines; only readers that insist on RFC 8142 miss the separators. Features are
    those of `write_geojson`. There is no room for what the file says of itself: each feature names its run, and a
    layer without features is a file without a byte.

    Args:
        path: File to write, in a folder that exists; one that is there is replaced.
        batches: Features in `crs`.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run.
        table: What the features are.

    Returns:
        How many features were written.

    Raises:
        GeosegError: An id is greater than JSON numbers are kept exactly.
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    cut_here, placed = _placed(path, batches, crs)
    with replacing(path) as written:
        count = write_layer(
            written,
            path.stem,
            placed,
            labels,
            _WGS84 if cut_here else crs,
            source,
            table=table,
            geometry_type="Unknown" if cut_here else None,
            id_column=_ID["ID_FIELD"],
            driver="GeoJSONSeq",
            layer_options={"RS": "NO", "COORDINATE_PRECISION": "7", **_ID},
        )
        # Nor here; and a file may end at the end of a line that is not the last.
        with written.open("rb") as file:
            lines = sum(part.count(b"\n") for part in iter(lambda: file.read(_READ_BYTES), b""))
        if lines != count:
            raise not_written(path, f"it has {lines} of {count} lines")
    return count


def _placed(path: Path, batches: Batches, crs: str) -> tuple[bool, Batches]:
    """Whether features are to be cut at the antimeridian, and the features, then in longitude and latitude."""
    cut_here = crosses(bounds_of(batches), crs)

    def placed() -> Iterator[Rows]:
        for features in batches():
            if len(features) and features.id.max() > _MOST_ID:
                raise GeosegError(
                    f"{path}: expected ids up to 2^53, which all readers of JSON keep, got {features.id.max()}: "
                    "write gpkg, fgb or parquet"
                )
            yield features.with_geometry(cut(features.geometry, crs)) if cut_here else features

    return cut_here, placed
