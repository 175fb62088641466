"""Layers of features, written so that GIS tools open them: GeoJSON (RFC 7946) and GeoPackage 1.3.

Both are written whole beside their target and then moved over it, and the same features give the same bytes.
Features come in batches, so that memory does not grow with their number.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from numpy.typing import NDArray

from geoseg.grid import parse_crs
from geoseg.io.antimeridian import crosses, cut
from geoseg.io.vector_file import GEOPACKAGE_OPTIONS, gdal_options, not_written, replacing
from geoseg.labels import LabelSet

_GEOMETRY = "geom"

_BATCH = 4096
"""Features that GDAL gets at once."""

# The last bytes of every GeoJSON file of GDAL's.
_GEOJSON_END = b"\n]\n}\n"


_COLUMNS = ("id", "class_id", "confidence", "area_m2", "geometry", "scene")


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of one or more layers, a row each.

    Attributes:
        id: int64 (n,); the object's id. JavaScript reads numbers above 2^53 with an error, that is, on grids
            of more than 9 x 10^15 pixels.
        class_id: uint8 (n,).
        confidence: float64 (n,); mean probability of the object's class over its pixels, 0 to 1.
        area_m2: float64 (n,); ground area of the geometry.
        geometry: shapely polygons (n,) in the grid's CRS, exteriors counter-clockwise.
        scene: int64 (n,); index of the scene that most of the object's pixels come from.
    """

    id: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    geometry: NDArray[np.object_]
    scene: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.id)

    def at(self, index: NDArray[np.bool_] | NDArray[np.int64]) -> "Features":
        """The features at an index (m,), or where a mask (n,) is true."""
        return Features(*(getattr(self, name)[index] for name in _COLUMNS))

    @classmethod
    def concatenate(cls, parts: Sequence["Features"]) -> "Features":
        """The features of all parts, at least one, one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS))


Batches = Callable[[], Iterable[Features]]
"""Features of a layer, in order and a batch at a time; each call gives all of them again."""


@dataclass(frozen=True, slots=True)
class Source:
    """The run that layers come from, as it is written into them.

    Attributes:
        run: The run's id (its plan hash).
        missing_blocks: How many blocks of its mosaic failed, and are nodata.
        scenes: Name and date (ISO 8601, or None) of each scene, by index; where there are none, features name none.
    """

    run: str
    missing_blocks: int = 0
    scenes: tuple[tuple[str, str | None], ...] = ()

    @property
    def status(self) -> str:
        """Complete or incomplete."""
        return "incomplete" if self.missing_blocks else "complete"

    def to_json(self) -> dict[str, str | int]:
        """A JSON object."""
        return {"run": self.run, "status": self.status, "missing_blocks": self.missing_blocks}


def write_geojson(path: Path, batches: Batches, labels: LabelSet, crs: str, source: Source) -> int:
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

    Returns:
        How many features were written.

    Raises:
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    cut_here = crosses(_bounds(batches), crs)

    def placed() -> Iterator[Features]:
        for features in batches():
            yield replace(features, geometry=cut(features.geometry, crs)) if cut_here else features

    with replacing(path) as written:
        count = _write(
            written,
            path.stem,
            placed,
            labels,
            None if cut_here else crs,
            source,
            geometry_type="Unknown" if cut_here else "Polygon",
            # GDAL takes the column that becomes the member `id` out of the properties, so it gets a copy.
            id_column="feature_id",
            driver="GeoJSON",
            layer_options={
                # GDAL would cut again, at what only touches the meridian; a layer of no CRS gets no member `crs`.
                "RFC7946": "NO" if cut_here else "YES",
                "WRITE_BBOX": "YES",
                "COORDINATE_PRECISION": "7",
                "ID_FIELD": "feature_id",
                "ID_TYPE": "Integer",
                "NATIVE_DATA": json.dumps({"type": "FeatureCollection", "geoseg": source.to_json()}),
                "NATIVE_MEDIA_TYPE": "application/vnd.geo+json",
            },
        )
        # GDAL does not report a disk that fills up when it closes the file.
        with written.open("rb") as file:
            file.seek(max(0, written.stat().st_size - len(_GEOJSON_END)))
            whole = file.read() == _GEOJSON_END
        if not whole:
            raise not_written(path, "the end of the file is missing")
    return count


def write_geopackage(
    path: Path, layers: Mapping[str, Batches], labels: LabelSet, crs: str, source: Source
) -> dict[str, int]:
    """Write layers into one GeoPackage, version 1.3, with a spatial index each.

    Version 1.3, since older QGIS warns of the later ones.

    Args:
        path: File to write, ending in `.gpkg`, in a folder that exists; one that is there is replaced.
        layers: Features in `crs` by layer name.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run, which becomes each layer's metadata (gpkg_metadata) and, in words, its description.

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
            counts[name] = _write(
                written,
                name,
                batches,
                labels,
                crs,
                source,
                driver="GPKG",
                dataset_options={"VERSION": "1.3"},
                layer_options={
                    "SPATIAL_INDEX": "YES",
                    "GEOMETRY_NAME": _GEOMETRY,
                    "FID": "fid",
                    "DESCRIPTION": _in_words(source),
                },
                metadata={f"geoseg_{key}": str(value) for key, value in source.to_json().items()},
            )
        for name, count in counts.items():
            # Nor does it report that it could not write the spatial index, the last thing it does.
            info = pyogrio.read_info(written, layer=name)
            if info["features"] != count or not info["capabilities"]["fast_spatial_filter"]:
                raise not_written(path, f"layer {name} is not whole")
    return counts


def _write(
    path: Path,
    layer: str,
    batches: Batches,
    labels: LabelSet,
    crs: str | None,
    source: Source,
    *,
    driver: str,
    layer_options: Mapping[str, str],
    id_column: str | None = None,
    dataset_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    geometry_type: str = "Polygon",
) -> int:
    """Write one layer, with the columns that all formats have; returns the number of its features."""
    kinds = [("id", pa.int64()), ("class", pa.string()), ("confidence", pa.float64()), ("area_m2", pa.float64())]
    if source.scenes:
        kinds += [("scene", pa.string()), ("date", pa.string())]
    if id_column is not None:
        kinds.insert(0, (id_column, pa.int64()))
    geometry = pa.field(_GEOMETRY, pa.binary(), metadata={"ARROW:extension:name": "geoarrow.wkb"})
    schema = pa.schema([pa.field(name, kind) for name, kind in kinds] + [geometry])
    count = 0
    broken: list[BaseException] = []

    def tables() -> Iterator[pa.RecordBatch]:
        # GDAL says only that there is no further batch.
        try:
            yield from converted()
        except BaseException as error:
            broken.append(error)
            raise

    def converted() -> Iterator[pa.RecordBatch]:
        nonlocal count
        names = np.array(labels.names, object)
        scenes = np.array([name for name, _ in source.scenes], object)
        dates = np.array([date for _, date in source.scenes], object)
        for features in _of_one_size(batches()):
            count += len(features)
            arrays: list[NDArray[np.generic]] = [features.id] * (id_column is not None)
            arrays += [features.id, names[features.class_id]]
            arrays += [np.round(features.confidence, 4), np.round(features.area_m2, 2)]
            if source.scenes:
                arrays += [scenes[features.scene], dates[features.scene]]
            arrays.append(np.asarray(shapely.to_wkb(features.geometry, byte_order=1), object))
            columns = [pa.array(array, field.type) for array, field in zip(arrays, schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        try:
            pyogrio.write_arrow(
                pa.RecordBatchReader.from_batches(schema, tables()),
                str(path),
                layer=layer,
                driver=driver,
                geometry_name=_GEOMETRY,
                geometry_type=geometry_type,
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


def _of_one_size(batches: Iterable[Features]) -> Iterator[Features]:
    """The same features in batches of a fixed size, upon which the pages of a GeoPackage depend."""
    left: Features | None = None
    for features in batches:
        every = features if left is None else Features.concatenate((left, features))
        whole = len(every) // _BATCH * _BATCH
        yield from (every.at(np.arange(start, start + _BATCH)) for start in range(0, whole, _BATCH))
        left = every.at(np.arange(whole, len(every)))
    if left is not None and len(left):
        yield left


def _bounds(batches: Batches) -> NDArray[np.float64]:
    """Left, bottom, right, top of all features; NaN of none."""
    bounds = [shapely.total_bounds(features.geometry) for features in batches() if len(features)]
    if not bounds:
        return np.full(4, np.nan)
    every = np.array(bounds)
    return np.concatenate((every[:, :2].min(axis=0), every[:, 2:].max(axis=0)))


def _in_words(source: Source) -> str:
    missing = (
        f", INCOMPLETE: {source.missing_blocks} block(s) failed and are missing" if source.missing_blocks else ""
    )
    return f"geoseg run {source.run[:12]}{missing}"
