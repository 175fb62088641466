"""A run in the browser: its page from a server on this machine, which has all objects of a large run as tiles."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from geoseg.errors import GeosegError, RunFolderError
from geoseg.export import export
from geoseg.io.pmtiles import check_pmtiles
from geoseg.io.run_folder import RunFolder
from geoseg.report.page import Tiles, report_page
from geoseg.report.page_parts import page_parts
from geoseg.report.server import LoopbackServer, Resource
from geoseg.run import Run, open_run

_TILES = "layers.pmtiles"
"""Where the page finds its layers."""

_MEDIA_TYPES = {
    ".fgb": "application/vnd.flatgeobuf",
    ".geojson": "application/geo+json",
    ".geojsonl": "application/geo+json-seq",
    ".gpkg": "application/geopackage+sqlite3",
    ".json": "application/json",
    ".parquet": "application/vnd.apache.parquet",
    ".pmtiles": "application/vnd.pmtiles",
    ".png": "image/png",
    ".tif": "image/tiff",
}
"""Of the run's files, which the page links to; others are bytes."""


@dataclass(frozen=True, slots=True)
class View:
    """A run that is served.

    Attributes:
        server: Answers requests while `serve_forever` runs.
        drawn_from: Where the page has its layers from, in words.
    """

    server: LoopbackServer
    drawn_from: str


@contextmanager
def viewing(path: Path, port: int = 0) -> Iterator[View]:
    """A server for a run, which listens until the block ends.

    A page holds the objects of a small run; those of a larger one come as vector tiles: the run's own, or if it has
    none, such as are written into a temporary folder first.

    Args:
        path: The RUN folder; nothing in it is changed.
        port: To listen on; 0 for any that is free.

    Raises:
        RunFolderError: There is no finished run, or what it left is missing or damaged.
        GeosegError: Its objects want tiles, and tippecanoe, which makes them, is not installed; or the port is
            taken.
        StoppedError: Tiles were to be made, and the disk is full.
    """
    run, opened = RunFolder(path), open_run(path)
    if opened.status in ("running", "stopped"):
        raise RunFolderError(
            f"expected a finished run, {path} is {opened.status}: repeat its geoseg map command, which goes on "
            "where it stopped, then look at it"
        )
    with TemporaryDirectory(prefix="geoseg-view-") as folder:
        tiles, drawn_from = _tiles(run, opened, Path(folder))
        layers = tuple(str(layer["name"]) for layer in page_parts(run).map["layers"] if layer["count"])
        page = report_page(run, opened.record, None if tiles is None else Tiles(_TILES, layers))
        resources = _files(opened)
        resources["/"] = Resource(page.text.encode(), "text/html; charset=utf-8", page.policy)
        if tiles is not None:
            resources[f"/{_TILES}"] = Resource(tiles, _MEDIA_TYPES[".pmtiles"])
        with LoopbackServer(resources, port) as server:
            yield View(server, drawn_from)


def _tiles(run: RunFolder[Path], opened: Run[Path], folder: Path) -> tuple[Path | None, str]:
    """An archive of tiles, or None where the page holds every object; and which it is, in words.

    Raises:
        GeosegError: There is none, and none can be made.
    """
    for output in opened.record.outputs:
        own = run.path / output.path
        if output.format == "pmtiles" and own.is_file():
            return own, f"the tiles of {own}"
    layers = page_parts(run).map["layers"]
    if all(layer["listed"] == layer["count"] for layer in layers):
        return None, "the page, which holds all objects"
    try:
        check_pmtiles()
    except GeosegError as error:
        count = sum(layer["count"] for layer in layers)
        raise GeosegError(
            f"{run.path} has {count} objects, which want tiles: {error}; {run.report_file} shows the largest"
        ) from error
    written = folder / _TILES
    export(run, written, "pmtiles")
    return written, "tiles made for it"


def _files(run: Run[Path]) -> dict[str, Resource]:
    """The run's own files, by the paths that the page has for them; none that lies elsewhere."""
    home = run.path.resolve()
    resources = {}
    for output in run.record.outputs:
        file = (home / output.path).resolve()
        if output.format != "html" and file.is_relative_to(home) and file.is_file():
            media_type = _MEDIA_TYPES.get(file.suffix, "application/octet-stream")
            resources[f"/{output.path}"] = Resource(file, media_type)
    return resources
