"""The classes as COGs where what is covered lies far apart: one for each group of blocks, and an index of them.

Beside each lies the style that QGIS draws it in.
"""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from geoseg.grid import Grid, Window
from geoseg.groups import Group
from geoseg.io.cog import write_class_cog
from geoseg.io.place import Place, file_sha256, made_here, name_within, write_whole
from geoseg.io.qgis_styles import classes_style
from geoseg.io.raster_index import IndexedRaster
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet

WHOLE_RASTER = "classes.tif"
"""The one COG of a grid that is written as a whole; like the next, a path within the RUN folder."""

RASTER_INDEX = "classes/index.gpkg"
"""Where the COG of each group lies."""


def group_raster(number: int) -> str:
    """The COG of a group, from 0, as a path within the RUN folder."""
    return f"classes/{number}.tif"


def raster_windows(run: RunFolder, grid: Grid, names: Collection[str]) -> dict[str, Window]:
    """What of the grid each class raster holds.

    Args:
        run: The RUN folder.
        grid: The mosaic's grid.
        names: The rasters, as paths within the folder.
    """
    ledger = run.ledger("cog")
    return {
        name: grid.window if name == WHOLE_RASTER else Window(*ledger.record(PurePosixPath(name).stem)["window"])
        for name in names
    }


def raster_style(name: str) -> str:
    """The style beside a COG: where QGIS looks for it."""
    return f"{name.removesuffix('.tif')}.qml"


def write_raster_style(run: RunFolder, name: str, labels: LabelSet) -> Place:
    """Write the style beside a COG; returns its path.

    Args:
        run: The RUN folder.
        name: The COG, as a path within it.
        labels: Names and colours of the classes.
    """
    path = run.path / raster_style(name)
    write_whole(path, classes_style(labels).encode())
    return path


@dataclass(frozen=True, slots=True)
class WriteGroups:
    """Write the COGs of groups of blocks; a unit is the number of a group, and the group.

    Attributes:
        run: The RUN folder.
        grid: The mosaic's grid.
        labels: Names and colours of the classes.
        run_id: The run's plan hash.
        depends: Hash of all that the rasters depend on.
    """

    run: RunFolder
    grid: Grid
    labels: LabelSet
    run_id: str
    depends: str

    def open(self) -> Callable[[tuple[int, Group]], dict[str, Any]]:
        """Nothing to prepare."""
        mosaic, ledger = self.run.mosaic, self.run.ledger("cog")

        def write(numbered: tuple[int, Group]) -> dict[str, Any]:
            number, group = numbered
            name = group_raster(number)
            box = group.box
            with made_here((self.run.path / name).parent) as folder:
                path = folder / PurePosixPath(name).name
                valid_px = write_class_cog(path, mosaic, self.grid, self.labels, self.run_id, box, group.windows)
                sha256 = file_sha256(path)
            style = write_raster_style(self.run, name, self.labels)
            ledger.commit(
                str(number),
                {
                    "depends": self.depends,
                    "files": {name: sha256, raster_style(name): file_sha256(style)},
                    "window": [box.row, box.col, box.height, box.width],
                    "valid_px": valid_px,
                },
            )
            return {"valid_px": valid_px}

        return write


def group_outputs(run: RunFolder, count: int) -> list[dict[str, Any]]:
    """What the record says of the COGs of so many groups, and of their styles, all of which are written."""
    ledger = run.ledger("cog")
    files = (file for number in range(count) for file in ledger.record(str(number))["files"].items())
    kinds = {".tif": "cog", ".qml": "qml"}
    return [
        {"path": name, "format": kinds[PurePosixPath(name).suffix], "features": None, "sha256": sha256}
        for name, sha256 in files
    ]


def indexed_groups(run: RunFolder, count: int) -> list[IndexedRaster]:
    """The COGs of so many groups, all of which are written, for the index beside them."""
    records = ((number, run.ledger("cog").record(str(number))) for number in range(count))
    return [
        IndexedRaster(group_raster(number).rpartition("/")[2], Window(*record["window"]), record["valid_px"])
        for number, record in records
    ]


def keep_rasters(run: RunFolder, names: Collection[str]) -> None:
    """Remove the class rasters, styles and index that an earlier layout or mosaic had, with their markers.

    Args:
        run: The RUN folder.
        names: The rasters and the index that may stay, as paths within it; a raster's style stays with it.
    """
    kept = {*names, *map(raster_style, names)}
    for stage in ("cog", "index"):
        ledger = run.ledger(stage)
        for key, marker in ledger.records():
            written = {*marker.get("files", ()), *(output["path"] for output in marker.get("outputs", ()))}
            if not written <= kept:
                ledger.forget(key)
    folder = run.path / "classes"
    whole = (run.path / WHOLE_RASTER, run.path / raster_style(WHOLE_RASTER))
    for path in (*whole, *folder.glob("*.tif"), *folder.glob("*.qml"), *folder.glob("index.gpkg")):
        if name_within(path, run.path) not in kept:
            path.unlink(missing_ok=True)
    # What else lies there (a viewer's notes beside a raster, say) is not ours.
    if isinstance(folder, Path):
        with suppress(OSError):
            folder.rmdir()
