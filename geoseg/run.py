"""A run on disk, to read from: what became of it, its mosaic and its layers."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal, get_args, overload

import zarr
from affine import Affine
from pydantic import ValidationError

from geoseg.errors import RunFolderError
from geoseg.grid import Grid
from geoseg.io.bucket import BucketPath
from geoseg.io.place import PlaceT_co, below, parse_place
from geoseg.io.record import FailedBlock, LeftOutScene, RunRecord, Status
from geoseg.io.run_folder import RunFolder

ArrayName = Literal["classes", "confidence", "probability", "scene"]
"""The arrays of a mosaic."""


@dataclass(frozen=True, slots=True)
class Run(Generic[PlaceT_co]):
    """What a RUN folder holds, as of when it was opened.

    Attributes:
        path: The folder.
        record: The content of its run.json.
    """

    path: PlaceT_co
    record: RunRecord = field(repr=False)

    @property
    def status(self) -> Status:
        """complete, incomplete (blocks failed, see `failed_blocks`), stopped or running."""
        return self.record.status

    @property
    def failed_blocks(self) -> tuple[FailedBlock, ...]:
        """Blocks that are nodata because they failed; mapping the same again tries just those."""
        return self.record.blocks.quarantined

    @property
    def scenes_left_out(self) -> tuple[LeftOutScene, ...]:
        """Scenes that were handed in and are no part of the map: copies, and with `skip_bad` bad ones."""
        return self.record.scenes_left_out

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is doubtful about the run, such as a ground resolution that the model does not know."""
        return self.record.warnings

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by class id, which is a pixel's value in `array("classes")`."""
        return self.record.classes

    @property
    def grid(self) -> Grid:
        """CRS, transform and size of the mosaic at full resolution."""
        grid = self.record.grid
        return Grid(grid.crs, Affine(*grid.transform), grid.height, grid.width)

    @property
    def layers(self) -> dict[str, PlaceT_co]:
        """GeoJSON file (longitude, latitude) of each layer that is written, by the layer's name."""
        files = (output.path for output in self.record.outputs if output.format == "geojson")
        return {PurePosixPath(file).stem: below(self.path, file) for file in files}

    @property
    def geopackage(self) -> PlaceT_co:
        """All layers in one file, in the CRS of the grid."""
        return below(self.path, "layers/geoseg.gpkg")

    @property
    def class_raster(self) -> PlaceT_co:
        """The classes as a Cloud Optimized GeoTIFF with a colour table.

        Raises:
            RunFolderError: The grid is so large and so empty that each group of blocks has a raster of its own.
        """
        index = self.class_index
        if index is not None:
            raise RunFolderError(
                f"{self.path} has {len(self.class_rasters)} class raster(s), since its data lies far apart: read "
                f"class_rasters instead, or class_index, which says where each lies ({index})"
            )
        return below(self.path, "classes.tif")

    @property
    def class_rasters(self) -> tuple[PlaceT_co, ...]:
        """The classes as Cloud Optimized GeoTIFFs: one of the whole grid, or one for each group of blocks.

        Groups are made where the grid is large and its data lies far apart; what no raster holds has no data.
        """
        return tuple(below(self.path, output.path) for output in self.record.outputs if output.format == "cog")

    @property
    def class_index(self) -> PlaceT_co | None:
        """A GeoPackage of where each of several class rasters lies; None where one holds the whole grid."""
        files = [output.path for output in self.record.outputs if output.format == "gpkg-index"]
        return below(self.path, files[0]) if files else None

    @property
    def preview(self) -> PlaceT_co:
        """A picture of image, classes and outlines."""
        return below(self.path, "preview.png")

    @property
    def report(self) -> PlaceT_co:
        """A page of all this for any browser, which needs no network."""
        return below(self.path, "report.html")

    @property
    def qgis_project(self) -> PlaceT_co:
        """A project that opens scenes, classes and layers in QGIS."""
        return below(self.path, "map.qgs")

    def array(self, name: ArrayName = "classes", level: int = 0) -> zarr.Array[Any]:
        """An array of the mosaic, opened for reading: index it, and only the chunks needed are read.

        Args:
            name: "classes": class id of each pixel, (row, column). "confidence": probability of that class x
                254, (row, column). "probability": probability of each class x 254, (class, row, column), if
                the run kept it. All are uint8, and 255 where there is no data. "scene", of a run over several:
                which of the attribute `scenes` each pixel comes from, uint16 (row, column), 65535 for none.
            level: 0 is full resolution; each further one is half the size (not of "probability" and "scene").

        Raises:
            RunFolderError: The mosaic has no such array.
        """
        mosaic = RunFolder(self.path).mosaic
        if name not in get_args(ArrayName) or not mosaic.has(level, name):
            raise RunFolderError(
                f"{mosaic.path} has no array {name!r} at level {level}: expected classes, confidence, (of a run "
                "with probability) probability or (over several scenes) scene, and a level that is there"
            )
        return mosaic.open(level, name, "r")


@overload
def open_run(path: Path) -> Run[Path]: ...
@overload
def open_run(path: BucketPath) -> Run[BucketPath]: ...
@overload
def open_run(path: str | os.PathLike[str] | BucketPath) -> Run[Any]: ...
def open_run(path: str | os.PathLike[str] | BucketPath) -> Run[Any]:
    """Open what `geoseg map` or `map_scenes` wrote; nothing is locked or changed.

    Args:
        path: The RUN folder; also s3://, gs:// or az://BUCKET/FOLDER.

    Raises:
        RunFolderError: There is no run, or its run.json cannot be read.
    """
    run = RunFolder(parse_place(path))
    try:
        record = run.record()
        if record is None:
            raise RunFolderError(f"expected a RUN folder with run.json, got {run.path}")
        return Run(run.path, RunRecord.model_validate(record))
    except OSError as error:
        raise RunFolderError(f"{run.run_file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunFolderError(
            f"{run.run_file} is no record of this version of geoseg ({place or 'content'}: {first['msg']}): map "
            "the scene again with the same command"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunFolderError(f"{run.run_file} is damaged ({error}): map the scene again") from error
