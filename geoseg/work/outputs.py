"""What a user takes away: class rasters, layers, the picture and the project, each written by a worker.

So neither GDAL's nor the drawing's memory adds to the driver's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal

from geoseg.grid import Window
from geoseg.groups import Group, box_of
from geoseg.io.cog import write_class_cog
from geoseg.io.layers import Batches, Source
from geoseg.io.place import Place, file_sha256, made_here, write_whole
from geoseg.io.qgis_project import LayerPlace, Project
from geoseg.io.raster_index import write_index
from geoseg.io.region import Region
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet, Network
from geoseg.layering import LayerFormat
from geoseg.report.picture import RegionPicture
from geoseg.report.preview import most_covered, write_preview
from geoseg.work.class_rasters import (
    RASTER_INDEX,
    WHOLE_RASTER,
    group_raster,
    indexed_groups,
    write_raster_style,
)
from geoseg.work.features import features_of
from geoseg.work.layer_files import ALL_IN_ONE, ENDINGS, LayerSet, write_layers
from geoseg.work.network import lines_of, nodes_of

OutputKind = Literal["cog", "index", "preview", "project"] | LayerFormat
"""The COG of the whole grid, the index of those of groups, the picture, QGIS's project, the layers in a format."""

_OPENED: tuple[LayerFormat, ...] = ("gpkg", "fgb", "geojson", "geojsonseq")
"""What the project opens the layers from, if it is there, the quickest first; not every QGIS opens the others."""


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
        network: Names of the layers of the network, and the hash of what it depends on, where there is one.
        covered: Windows of the blocks that hold data.
        groups: Those far apart, each with a COG of its own; none where the grid has one.
        formats: What the layers are written as, of which the project opens one.
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
    network: tuple[Network, str] | None
    covered: tuple[Window, ...]
    groups: tuple[Group, ...]
    formats: tuple[LayerFormat, ...]
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
                run_id, grid = self.source.run, self.region.grid
                with made_here(self.run.path) as folder:
                    path = folder / WHOLE_RASTER
                    write_class_cog(path, self.run.mosaic, grid, self.labels, run_id, grid.window, self.covered)
                    written = _output(WHOLE_RASTER, path, "cog")
                style = write_raster_style(self.run, WHOLE_RASTER, self.labels)
                return [written, _output(style.name, style, "qml")]
            case "index":
                groups = indexed_groups(self.run, len(self.groups))
                with made_here((self.run.path / RASTER_INDEX).parent) as folder:
                    path = folder / PurePosixPath(RASTER_INDEX).name
                    write_index(path, groups, self.region.grid, self.source.run)
                    return [_output(RASTER_INDEX, path, "gpkg-index")]
            case "preview":
                rows = most_covered(self.groups, [group_raster(number) for number in range(len(self.groups))])
                picture, features = RegionPicture(self.region), self._features()
                with made_here(self.run.path) as folder:
                    path = folder / "preview.png"
                    write_preview(path, picture, self.region.grid, rows, self.run.mosaic, features, self.labels)
                    return [_output(path.name, path, "png")]
            case "project":
                project = self.run.path / "map.qgs"
                write_whole(project, self._project().text(self.run.path).encode())
                return [_output(project.name, project, "qgs")]
            case _:
                layers = LayerSet(self._features() | self._network(), self.labels, self.region.grid, self.source)
                with made_here(self.run.layers) as folder:
                    files = write_layers(kind, folder, layers)
                    within = self.run.layers.name
                    return [_output(f"{within}/{one.path.name}", one.path, one.kind, one.features) for one in files]

    def _project(self) -> Project:
        """What the project of QGIS shows."""
        grid = self.region.grid
        opened = [kind for kind in _OPENED if kind in self.formats]
        names = [name for _, name in self.layers] + ([] if self.network is None else [*self.network[0].layers])
        layers = {name: self._place(opened[0], name) for name in names if opened}
        rasters = [group_raster(number) for number in range(len(self.groups))]
        if (self.run.path / WHOLE_RASTER).exists():  # of a large grid without any data there is no raster at all
            rasters.append(WHOLE_RASTER)
        shown = box_of(self.covered) if self.covered else grid.window
        return Project(self.region, self.labels, rasters, layers, self.source, shown)

    def _place(self, kind: LayerFormat, layer: str) -> LayerPlace:
        """Where QGIS finds a layer in a format."""
        crs = "EPSG:4326" if kind in {"geojson", "geojsonseq"} else self.region.grid.crs
        if kind in ALL_IN_ONE:
            return LayerPlace(f"layers/geoseg{ENDINGS[kind]}|layername={layer}", crs)
        return LayerPlace(f"layers/{layer}{ENDINGS[kind]}", crs)

    def _features(self) -> dict[str, Batches]:
        """The features of each layer that is written."""
        return {layer: partial(features_of, self.run, self.shapes, class_id) for class_id, layer in self.layers}

    def _network(self) -> dict[str, Batches]:
        """The lines and nodes of the network, where there is one."""
        if self.network is None:
            return {}
        names, depends = self.network
        return {
            names.lines: partial(lines_of, self.run, depends),
            names.nodes: partial(nodes_of, self.run, depends),
        }


def _output(name: str, file: Place, kind: str, features: int | None = None) -> dict[str, Any]:
    """What the record says of a file that is written, by its path in RUN: kind, how many features, sha256."""
    return {"path": name, "format": kind, "features": features, "sha256": file_sha256(file)}
