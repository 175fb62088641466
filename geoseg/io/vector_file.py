"""Files of features, whichever: whole or not at all, and the same bytes for the same features."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.errors import StoppedError

GEOPACKAGE_OPTIONS: Mapping[str, str] = {
    # What a GeoPackage says about when it was written; any fixed date does.
    "OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z",
    # Bytes of a spatial index that GDAL holds before it writes to the file.
    "OGR_GPKG_MAX_RAM_USAGE_RTREE": str(32 * 2**20),
}
"""GDAL's configuration while a GeoPackage is written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, moved over `path` when the block ends well and removed when it does not.

    A folder of its own keeps the file's name and ending, from which GDAL takes driver and layer names, and
    holds what SQLite lays beside the file.
    """
    with TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as folder:
        written = Path(folder) / path.name
        try:
            yield written
        except (DataSourceError, DataLayerError) as error:
            raise not_written(path, str(error)) from error
        written.replace(path)


@contextmanager
def gdal_options(options: Mapping[str, str]) -> Iterator[None]:
    """Set some of GDAL's configuration options for a while."""
    before = {name: pyogrio.get_gdal_config_option(name) for name in options}
    pyogrio.set_gdal_config_options(dict(options))
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def not_written(path: Path, reason: str) -> StoppedError:
    """What to raise where GDAL did not write the whole of a file."""
    return StoppedError(
        f"expected to write {path} whole, got: {reason}; make room or choose another folder, then run the same "
        "command again"
    )
