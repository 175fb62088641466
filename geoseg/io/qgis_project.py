"""map.qgs: a QGIS project of a run, which opens its scenes, classes and layers, drawn in the classes' colours.

It is plain XML as QGIS 3.22 reads it, and later versions do too. QGIS itself is not needed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from geoseg.grid import Grid, Window, parse_crs
from geoseg.io.layers import Source
from geoseg.io.place import Place
from geoseg.io.qgis_scene import scene_crs, scene_pipe, scene_source
from geoseg.io.qgis_styles import QGIS_VERSION, as_text, class_palette, network_line, network_nodes, outlined_fill
from geoseg.io.region import Region, Scene
from geoseg.io.scene_ref import SceneRef
from geoseg.labels import LabelSet

MOST_FILES = 50
"""Scenes, or class rasters, that a project opens: QGIS reads something of each before it shows anything."""


@dataclass(frozen=True, slots=True)
class LayerPlace:
    """Where QGIS finds a layer.

    Attributes:
        source: The file's path within the RUN folder, with `|layername=` where it holds several.
        crs: Of its coordinates.
    """

    source: str
    crs: str


@dataclass(frozen=True, slots=True)
class Project:
    """What a project shows.

    Attributes:
        region: The scenes on their grid.
        labels: Names and colours of the classes.
        rasters: The class rasters, as paths within the RUN folder.
        layers: The layers that are written, by name.
        source: The run.
        shown: The part of the grid that is seen first.
    """

    region: Region
    labels: LabelSet
    rasters: Sequence[str]
    layers: Mapping[str, LayerPlace]
    source: Source
    shown: Window

    @property
    def title(self) -> str:
        """What QGIS's window is called."""
        scenes = self.region.scenes
        what = scenes[0].name if len(scenes) == 1 else f"{len(scenes)} scenes"
        missing = self.source.missing_blocks
        loud = f"INCOMPLETE ({missing} block(s) failed and are missing): " if missing else ""
        return _printable(f"{loud}{what}, geoseg run {self.source.run[:12]}")

    def text(self, run: Place) -> str:
        """The project as QGIS reads it from a file in the RUN folder.

        The scenes lie below all, as they were handed in. The class raster above them is shown only where there are
        no layers, since it would hide them. Layers of countable objects lie on top, but for the lines and
        nodes of a network.

        Args:
            run: The RUN folder.
        """
        document = _Document(self)
        kinds = {label.layer: label for label in self.labels.classes}
        network = self.labels.network
        if network is not None and network.lines in self.layers:
            label = self.labels.classes[network.class_id]
            of_network = (
                (network.nodes, "Point", network_nodes(label)),
                (network.lines, "Line", network_line(label)),
            )
            for name, geometry, renderer in of_network:
                place = self.layers[name]
                document.add_layer(name, f"./{place.source}", place.crs, renderer, geometry)
        objects = [name for name in self.layers if name in kinds]
        for name in sorted(objects, key=lambda name: kinds[name].kind != "thing"):
            place = self.layers[name]
            document.add_layer(name, f"./{place.source}", place.crs, outlined_fill(kinds[name]))
        document.add_classes(self.rasters, checked=not self.layers)
        parts = [(scene, part) for scene in self.region.scenes for part in scene.parts]
        document.add_scenes(parts, [scene_source(part, run) for _, part in parts])
        return as_text(document.root)


class _Document:
    """A project's XML while layers are put into it, each below those before.

    Args:
        project: What it shows.
    """

    def __init__(self, project: Project) -> None:
        grid = project.region.grid
        self._labels, self._crs = project.labels, grid.crs
        # Of two runs' layers in one project each keeps its own.
        self._suffix = f"_{project.source.run[:12]}"
        self.root = ET.Element("qgis", {"version": QGIS_VERSION, "projectname": project.title})
        ET.SubElement(self.root, "title").text = project.title
        _add_crs(self.root, "projectCrs", grid.crs)
        self._tree = ET.SubElement(self.root, "layer-tree-group")
        _add_view(self.root, grid.part(project.shown))
        self._layers = ET.SubElement(self.root, "projectlayers")
        _add_properties(self.root, grid.crs)

    def add_layer(self, name: str, source: str, crs: str, renderer: ET.Element, geometry: str = "Polygon") -> None:
        """A layer of features."""
        layer = self._add(self._tree, f"layer_{name}", name, source, crs, checked=True, geometry=geometry)
        layer.append(renderer)

    def add_classes(self, rasters: Sequence[str], *, checked: bool) -> None:
        """The class raster, or a group of them."""
        if len(rasters) > MOST_FILES:
            self._add_group(f"classes ({len(rasters)} rasters are too many to open at once)", checked=False)
            return
        parent = self._add_group("classes", checked=checked) if len(rasters) > 1 else self._tree
        for path in rasters:
            name = f"classes {Path(path).stem}" if len(rasters) > 1 else "classes"
            layer = self._add(parent, name.replace(" ", "_"), name, f"./{path}", self._crs, checked=checked)
            layer.append(class_palette(self._labels))

    def add_scenes(self, parts: Sequence[tuple[Scene, SceneRef]], sources: Sequence[str | None]) -> None:
        """The scenes, a layer for each of their files, those on top that win where they overlap.

        Args:
            parts: Each file and its scene.
            sources: Where QGIS finds it, or None.
        """
        parent = self._tree
        lost = sources.count(None)
        if len(parts) > MOST_FILES:
            self._add_group(f"scenes ({len(parts)} files are too many to open at once)", checked=False)
            return
        if len(parts) > 1 or lost:
            left_out = f" ({lost} left out: by their bare names they cannot be opened)" if lost else ""
            parent = self._add_group(f"scenes{left_out}", checked=True)
        for number, ((scene, part), source) in enumerate(zip(parts, sources, strict=True)):
            if source is None:
                continue
            file = f": {part.path.rpartition('/')[2]}" if len(scene.parts) > 1 else ""
            name = _printable(f"{scene.name}{file}")
            layer = self._add(parent, f"scene_{number}", name, source, scene_crs(part), checked=True)
            pipe = scene_pipe(part)
            if pipe is not None:
                layer.append(pipe)

    def _add_group(self, name: str, *, checked: bool) -> ET.Element:
        place = {"name": name, "checked": _check(checked), "expanded": "0"}
        return ET.SubElement(self._tree, "layer-tree-group", place)

    def _add(
        self,
        parent: ET.Element,
        key: str,
        name: str,
        source: str,
        crs: str,
        *,
        checked: bool,
        geometry: str | None = None,
    ) -> ET.Element:
        layer_id, provider = f"{key}{self._suffix}", "gdal" if geometry is None else "ogr"
        place = {"id": layer_id, "name": name, "source": source, "providerKey": provider}
        shown = {"checked": _check(checked), "expanded": "0"}
        ET.SubElement(parent, "layer-tree-layer", place | shown)
        kind = {"type": "raster"} if geometry is None else {"type": "vector", "geometry": geometry}
        layer = ET.SubElement(self._layers, "maplayer", kind)
        ET.SubElement(layer, "id").text = layer_id
        ET.SubElement(layer, "datasource").text = source
        ET.SubElement(layer, "layername").text = name
        _add_crs(layer, "srs", crs)
        ET.SubElement(layer, "provider", {} if geometry is None else {"encoding": "UTF-8"}).text = provider
        return layer


def _add_crs(parent: ET.Element, tag: str, crs: str) -> None:
    element = ET.SubElement(ET.SubElement(parent, tag), "spatialrefsys")
    ET.SubElement(element, "wkt").text = parse_crs(crs).to_wkt()


def _add_view(root: ET.Element, place: Grid) -> None:
    """Have QGIS begin with a place, and come back to it by its button for the whole map."""
    corners = [place.transform @ (col, row) for col in (0, place.width) for row in (0, place.height)]
    (left, bottom), (right, top) = np.min(corners, axis=0).tolist(), np.max(corners, axis=0).tolist()
    edges = {"xmin": repr(left), "ymin": repr(bottom), "xmax": repr(right), "ymax": repr(top)}
    canvas = ET.SubElement(root, "mapcanvas", {"name": "theMapCanvas"})
    extent = ET.SubElement(canvas, "extent")
    for key, text in edges.items():
        ET.SubElement(extent, key).text = text
    _add_crs(canvas, "destinationsrs", place.crs)
    settings = ET.SubElement(root, "ProjectViewSettings", {"UseProjectScales": "0"})
    _add_crs(settings, "DefaultViewExtent", place.crs)
    settings[0].attrib.update(edges)


def _add_properties(root: ET.Element, crs: str) -> None:
    """Paths from the project's folder on, its CRS in force, and measures on that one's ellipsoid."""
    properties = ET.SubElement(root, "properties")
    values = [("Paths", "Absolute", "bool", "false"), ("SpatialRefSys", "ProjectionsEnabled", "int", "1")]
    ellipsoid = parse_crs(crs).ellipsoid
    if ellipsoid is not None and math.isfinite(ellipsoid.semi_minor_metre):
        axes = f"PARAMETER:{ellipsoid.semi_major_metre!r}:{ellipsoid.semi_minor_metre!r}"
        values.append(("Measure", "Ellipsoid", "QString", axes))
    for group, key, kind, value in values:
        ET.SubElement(ET.SubElement(properties, group), key, {"type": kind}).text = value


def _check(checked: bool) -> str:
    return "Qt::Checked" if checked else "Qt::Unchecked"


def _printable(text: str) -> str:
    """A text without what XML cannot hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
