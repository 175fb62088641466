"""Layers as files, in any format: which files there are, what they are called, and the styles beside them."""

from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from geoseg.grid import Grid
from geoseg.io.flatgeobuf import write_flatgeobuf
from geoseg.io.geojson import write_geojson, write_geojsonseq
from geoseg.io.geopackage import write_geopackage
from geoseg.io.layers import LINES, NODES, OBJECTS, Batches, Source, Table
from geoseg.io.parquet_layer import write_geoparquet
from geoseg.io.pmtiles import write_pmtiles
from geoseg.io.qgis_styles import layer_style, line_style, node_style
from geoseg.io.vector_file import replacing
from geoseg.labels import LabelSet
from geoseg.layering import LayerFormat

ENDINGS: Mapping[LayerFormat, str] = {
    "geojson": ".geojson",
    "geojsonseq": ".geojsonl",
    "gpkg": ".gpkg",
    "fgb": ".fgb",
    "parquet": ".parquet",
    "pmtiles": ".pmtiles",
}
"""How the files of a format end."""

ALL_IN_ONE: tuple[LayerFormat, ...] = ("gpkg", "pmtiles")
"""Formats of which one file holds all layers."""

STYLED: tuple[LayerFormat, ...] = ("geojson", "geojsonseq", "fgb")
"""Formats that QGIS finds a style beside; a GeoPackage holds its own."""


@dataclass(frozen=True, slots=True)
class LayerSet:
    """Layers, and what is said of them.

    Attributes:
        features: The features of each layer by its name, in the CRS of the grid.
        labels: Names and colours of the classes.
        grid: The grid they come from.
        source: The run they come from.
    """

    features: Mapping[str, Batches]
    labels: LabelSet
    grid: Grid
    source: Source

    def some(self, names: Container[str]) -> "LayerSet":
        """Those of the layers that have one of these names, in the same order."""
        return replace(self, features={name: of for name, of in self.features.items() if name in names})

    @property
    def tables(self) -> dict[str, Table]:
        """What the features of each layer are."""
        network = self.labels.network
        of_network = {} if network is None else {network.lines: LINES, network.nodes: NODES}
        return {name: of_network.get(name, OBJECTS) for name in self.features}

    @property
    def styles(self) -> dict[str, str]:
        """How QGIS draws each layer that is one of a class or its network."""
        network, classes = self.labels.network, self.labels.classes
        every = {label.layer: layer_style(label) for label in classes}
        if network is not None:
            of = classes[network.class_id]
            every |= {network.lines: line_style(of), network.nodes: node_style(of)}
        return {name: every[name] for name in self.features if name in every}

    def style(self) -> str:
        """How QGIS draws the only layer."""
        (name,) = self.features
        return self.styles[name]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that was written.

    Attributes:
        path: Where.
        kind: Its format.
        features: How many features it has; None of a style.
    """

    path: Path
    kind: LayerFormat | Literal["qml"]
    features: int | None


def names_of(kind: LayerFormat, layers: Mapping[str, Batches]) -> dict[str, tuple[str, ...]]:
    """The files that hold layers in a format, by name, with the layers in each."""
    if kind in ALL_IN_ONE:
        return {f"geoseg{ENDINGS[kind]}": tuple(layers)}
    return {f"{layer}{ENDINGS[kind]}": (layer,) for layer in layers}


def write_layers(kind: LayerFormat, folder: Path, layers: LayerSet) -> list[WrittenFile]:
    """Write layers into a folder, a file each or all in one.

    Args:
        kind: The format.
        folder: It exists; files that are there are replaced.
        layers: At least one.
    """
    written = []
    for name, within in names_of(kind, layers.features).items():
        written += write_file(kind, folder / name, layers.some(within))
    return written


def write_file(kind: LayerFormat, path: Path, layers: LayerSet) -> list[WrittenFile]:
    """Write layers into one file, and the style beside it where QGIS looks for one.

    Args:
        kind: The format.
        path: Its folder exists; a file that is there is replaced.
        layers: At least one, and of a format that is not one of `ALL_IN_ONE` one alone.
    """
    labels, grid, source = layers.labels, layers.grid, layers.source
    if kind == "gpkg":
        return [
            _written(
                path,
                kind,
                write_geopackage(path, layers.features, labels, grid.crs, source, layers.tables, layers.styles),
            )
        ]
    if kind == "pmtiles":
        return [_written(path, kind, write_pmtiles(path, layers.features, labels, grid, source, layers.tables))]
    ((name, batches),) = layers.features.items()
    match kind:
        case "geojson":
            write = write_geojson
        case "geojsonseq":
            write = write_geojsonseq
        case "fgb":
            write = write_flatgeobuf
        case "parquet":
            write = write_geoparquet
    count = write(path, batches, labels, grid.crs, source, layers.tables[name])
    written = [_written(path, kind, {name: count})]
    style = style_file(kind, path)
    if style is not None:
        with replacing(style) as file:
            file.write_text(layers.style(), encoding="utf-8")
        written.append(WrittenFile(style, "qml", None))
    return written


def style_file(kind: LayerFormat, path: Path) -> Path | None:
    """Where the style of a file lies; None where the format needs none beside it."""
    return path.with_suffix(".qml") if kind in STYLED else None


def _written(path: Path, kind: LayerFormat, counts: Mapping[str, int]) -> WrittenFile:
    return WrittenFile(path, kind, sum(counts.values()))
