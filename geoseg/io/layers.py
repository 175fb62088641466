"""Layers of features, written so that GIS tools open them: GeoJSON (RFC 7946) and GeoPackage 1.3.

Both are written whole beside their target and then moved over it, and the same features give the same bytes.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import StoppedError
from geoseg.grid import parse_crs
from geoseg.io.antimeridian import crosses, cut
from geoseg.labels import LabelSet

# What a GeoPackage says about when it was written; any fixed date does.
_WRITTEN = "2000-01-01T00:00:00.000Z"

# The last bytes of every GeoJSON file of GDAL's.
_GEOJSON_END = b"\n]\n}\n"


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
    """

    id: NDArray[np.int64]
    class_id: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    area_m2: NDArray[np.float64]
    geometry: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.id)

    def where(self, wanted: NDArray[np.bool_]) -> "Features":
        """The features for which `wanted` (n,) is true."""
        return Features(
            self.id[wanted],
            self.class_id[wanted],
            self.confidence[wanted],
            self.area_m2[wanted],
            self.geometry[wanted],
        )


@dataclass(frozen=True, slots=True)
class Source:
    """The run that layers come from, as it is written into them.

    Attributes:
        run: The run's id (its plan hash).
        missing_blocks: How many blocks of its mosaic failed, and are nodata.
    """

    run: str
    missing_blocks: int = 0

    @property
    def status(self) -> str:
        """Complete or incomplete."""
        return "incomplete" if self.missing_blocks else "complete"

    def to_json(self) -> dict[str, str | int]:
        """A JSON object."""
        return {"run": self.run, "status": self.status, "missing_blocks": self.missing_blocks}


def write_geojson(path: Path, features: Features, labels: LabelSet, crs: str, source: Source) -> None:
    """Write features as a GeoJSON FeatureCollection in the sense of RFC 7946.

    Coordinates are WGS 84 longitude and latitude with 7 decimals (about 1 cm), polygons across the
    antimeridian are cut there. An object's id is the member `id` of its Feature and a property too, since
    many readers show properties only.

    Args:
        path: File to write, in a folder that exists; one that is there is replaced.
        features: Features in `crs`.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run, which becomes the foreign member `geoseg` (RFC 7946, section 6.1).

    Raises:
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    placed, cut_here = features, crosses(features.geometry, crs)
    if cut_here:
        placed = replace(features, geometry=cut(features.geometry, crs))
    with _replacing(path) as written:
        _write(
            written,
            path.stem,
            placed,
            labels,
            None if cut_here else crs,
            geometry_type="Unknown" if cut_here else "Polygon",
            # GDAL takes the column that becomes the member `id` out of the properties, so it gets a copy.
            extra={"feature_id": features.id},
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
            raise _not_written(path, "the end of the file is missing")


def write_geopackage(
    path: Path, layers: Mapping[str, Features], labels: LabelSet, crs: str, source: Source
) -> None:
    """Write layers into one GeoPackage, version 1.3, with a spatial index each.

    Version 1.3, since older QGIS warns of the later ones.

    Args:
        path: File to write, ending in `.gpkg`, in a folder that exists; one that is there is replaced.
        layers: Features in `crs` by layer name.
        labels: What names the classes.
        crs: Authority code or WKT.
        source: The run, which becomes each layer's metadata (gpkg_metadata) and, in words, its description.

    Raises:
        ValueError: There is no layer.
        StoppedError: GDAL could not write the whole file.
        OSError: The folder is missing or read-only.
    """
    if not layers:
        raise ValueError("expected at least one layer")
    with _replacing(path) as written, _gdal_option("OGR_CURRENT_DATE", _WRITTEN):
        for name, features in layers.items():
            _write(
                written,
                name,
                features,
                labels,
                crs,
                extra={},
                driver="GPKG",
                dataset_options={"VERSION": "1.3"},
                layer_options={
                    "SPATIAL_INDEX": "YES",
                    "GEOMETRY_NAME": "geom",
                    "FID": "fid",
                    "DESCRIPTION": _in_words(source),
                },
                metadata={f"geoseg_{key}": str(value) for key, value in source.to_json().items()},
            )
        for name, features in layers.items():
            # Nor does it report that it could not write the spatial index, the last thing it does.
            info = pyogrio.read_info(written, layer=name)
            if info["features"] != len(features) or not info["capabilities"]["fast_spatial_filter"]:
                raise _not_written(path, f"layer {name} is not whole")


def _write(
    path: Path,
    layer: str,
    features: Features,
    labels: LabelSet,
    crs: str | None,
    *,
    extra: Mapping[str, NDArray[np.int64]],
    driver: str,
    layer_options: Mapping[str, str],
    dataset_options: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
    geometry_type: str = "Polygon",
) -> None:
    """Write one layer, with the columns that all formats have and extra ones."""
    columns: dict[str, NDArray[np.generic]] = {
        **extra,
        "id": features.id,
        "class": np.array(labels.names, object)[features.class_id],
        "confidence": np.round(features.confidence, 4),
        "area_m2": np.round(features.area_m2, 2),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        pyogrio.raw.write(
            str(path),
            shapely.to_wkb(features.geometry, byte_order=1),
            list(columns.values()),
            list(columns),
            layer=layer,
            driver=driver,
            geometry_type=geometry_type,
            crs=None if crs is None else parse_crs(crs).to_wkt(),
            promote_to_multi=False,
            dataset_options=dict(dataset_options or {}),
            layer_options=dict(layer_options),
            layer_metadata=None if metadata is None else dict(metadata),
        )


def _in_words(source: Source) -> str:
    missing = (
        f", INCOMPLETE: {source.missing_blocks} block(s) failed and are missing" if source.missing_blocks else ""
    )
    return f"geoseg run {source.run[:12]}{missing}"


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path to write to, moved over `path` when the block ends well and removed when it does not.

    A folder of its own keeps the file's name and ending, from which GDAL takes driver and layer names, and
    holds what SQLite lays beside the file.
    """
    with TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as folder:
        written = Path(folder) / path.name
        try:
            yield written
        except (DataSourceError, DataLayerError) as error:
            raise _not_written(path, str(error)) from error
        written.replace(path)


@contextmanager
def _gdal_option(name: str, value: str) -> Iterator[None]:
    """Set one of GDAL's configuration options for a while."""
    before = pyogrio.get_gdal_config_option(name)
    pyogrio.set_gdal_config_options({name: value})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({name: before})


def _not_written(path: Path, reason: str) -> StoppedError:
    return StoppedError(
        f"expected to write {path} whole, got: {reason}; make room or choose another folder, then run the same "
        "command again"
    )
