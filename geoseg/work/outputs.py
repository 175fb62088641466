"""What a user takes away: class rasters, layers and the picture, each written by a worker.

So neither GDAL's nor the drawing's memory adds to the driver's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from geoseg.grid import Window
from geoseg.groups import Group
from geoseg.io.cog import write_class_cog
from geoseg.io.layers import Batches, Source, write_geojson, write_geopackage
from geoseg.io.ledger import file_sha256
from geoseg.io.raster_index import write_index
from geoseg.io.region import Region
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet
from geoseg.report.picture import RegionPicture
from geoseg.report.preview import most_covered, write_preview
from geoseg.work.class_rasters import RASTER_INDEX, WHOLE_RASTER, group_raster, indexed_groups
from geoseg.work.features import features_of

OutputKind = Literal["cog", "index", "geojson", "gpkg", "preview"]
"""The COG of the whole grid, the index of those of groups, the layers in a format, the picture."""


@dataclass(frozen=True, slots=True)
class WriteOutputs:
    """Write outputs of a finished mosaic, each with its marker; a unit is the kind of an output.

    Attributes:
        run: The RUN folder.
        region: The scenes on their grid.
        labels: Names and colours of the classes.
        source: What layers say of the run.
        layers: Id of the class and name of each layer.
        shapes: Hash of what the features depend on.
        covered: Windows of the blocks that hold data.
        groups: Those far apart, each with a COG of its own; none where the grid has one.
        stage: The stage in the ledger.
        key: The marker there.
        depends: What the marker says that the output depends on.
    """

    run: RunFolder
    region: Region
    labels: LabelSet
    source: Source
    layers: tuple[tuple[int, str], ...]
    shapes: str
    covered: tuple[Window, ...]
    groups: tuple[Group, ...]
    stage: str
    key: str
    depends: dict[str, Any]

    def open(self) -> Callable[[OutputKind], dict[str, Any]]:
        """Nothing to prepare."""

        def write(kind: OutputKind) -> dict[str, Any]:
            outputs = self._write(kind)
            self.run.ledger(self.stage).commit(self.key, {"depends": self.depends, "outputs": outputs})
            return {}

        return write

    def _write(self, kind: OutputKind) -> list[dict[str, Any]]:
        match kind:
            case "cog":
                path, run_id = self.run.path / WHOLE_RASTER, self.source.run
                grid = self.region.grid
                write_class_cog(path, self.run.mosaic, grid, self.labels, run_id, grid.window, self.covered)
                return [self._output(path, "cog", None)]
            case "index":
                path = self.run.path / RASTER_INDEX
                path.parent.mkdir(exist_ok=True)
                write_index(path, indexed_groups(self.run, len(self.groups)), self.region.grid, self.source.run)
                return [self._output(path, "gpkg-index", None)]
            case "geojson":
                return self._write_geojson()
            case "gpkg":
                self.run.layers.mkdir(exist_ok=True)
                path = self.run.layers / "geoseg.gpkg"
                counts = write_geopackage(path, self._features(), self.labels, self.region.grid.crs, self.source)
                return [self._output(path, kind, sum(counts.values()))]
            case "preview":
                path = self.run.path / "preview.png"
                rows = most_covered(self.groups, [group_raster(number) for number in range(len(self.groups))])
                picture, features = RegionPicture(self.region), self._features()
                write_preview(path, picture, self.region.grid, rows, self.run.mosaic, features, self.labels)
                return [self._output(path, "png", None)]

    def _write_geojson(self) -> list[dict[str, Any]]:
        self.run.layers.mkdir(exist_ok=True)
        outputs = []
        for layer, batches in self._features().items():
            path = self.run.layers / f"{layer}.geojson"
            count = write_geojson(path, batches, self.labels, self.region.grid.crs, self.source)
            outputs.append(self._output(path, "geojson", count))
        return outputs

    def _features(self) -> dict[str, Batches]:
        """The features of each layer that is written."""
        return {layer: partial(features_of, self.run, self.shapes, class_id) for class_id, layer in self.layers}

    def _output(self, path: Path, kind: str, features: int | None) -> dict[str, Any]:
        """What the record says of a file that is written: its kind, how many features, its sha256."""
        name = path.relative_to(self.run.path).as_posix()
        return {"path": name, "format": kind, "features": features, "sha256": file_sha256(path)}
