"""What report.html is made of, written by a worker: pictures that lie on a map, features, the model's card."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from geoseg.grid import Window
from geoseg.groups import box_of
from geoseg.io.layers import Source
from geoseg.io.ledger import canonical_hash
from geoseg.io.place import file_sha256, name_within, write_whole
from geoseg.io.region import Region
from geoseg.io.run_folder import RunFolder
from geoseg.labels import LabelSet, Network
from geoseg.models.fetched import package_folder
from geoseg.models.package import load_card
from geoseg.report.map_frame import MapFrame
from geoseg.report.map_pictures import class_picture, scene_picture
from geoseg.report.page_parts import CARD_FILE, CLASSES_FILE, FEATURES_FILE, MAP_FILE, SCENE_FILE
from geoseg.report.picture import RegionPicture
from geoseg.report.shown_features import choose, choose_lines, packed_features, packed_lines
from geoseg.work.features import features_of
from geoseg.work.network import lines_of
from geoseg.work.stage_files import StageFiles

_DEGREE_M = 111_320
"""A degree of latitude."""

_LINE_COLOR = "#e69f00"
"""Of a network's lines over the class's own areas: Okabe and Ito's orange, which the colour-blind tell apart."""

_FINER = 16
"""Coordinates are rounded to less than a pixel over this."""


@dataclass(frozen=True, slots=True)
class WritePageParts:
    """Write the parts of a run's page, with a marker; the unit is the marker's key.

    Attributes:
        run: The RUN folder.
        region: The scenes on their grid.
        labels: Names and colours of the classes.
        source: What layers say of the run.
        layers: Id of the class and name of each layer.
        shapes: Hash of what the features depend on.
        network: The layers of the network, where there is one.
        network_shapes: Hash of what it depends on.
        covered: Windows of the blocks that hold data.
        model_path: Folder of the model package.
        depends: What the marker says that all this depends on.
    """

    run: RunFolder
    region: Region
    labels: LabelSet
    source: Source
    layers: tuple[tuple[int, str], ...]
    shapes: str
    network: Network | None
    network_shapes: str
    covered: tuple[Window, ...]
    model_path: str
    depends: dict[str, Any]

    def open(self) -> Callable[[str], dict[str, Any]]:
        """Nothing to prepare."""

        def write(key: str) -> dict[str, Any]:
            files = StageFiles(self.run, "page", canonical_hash(self.depends))
            files.remove_others()
            hashes = {}
            for name, content in self._parts().items():
                path = files.folder / name
                write_whole(path, content)
                hashes[name_within(path, self.run.path)] = file_sha256(path)
            self.run.ledger("page").commit(key, {"depends": self.depends, "files": hashes, "outputs": []})
            return {}

        return write

    def _parts(self) -> dict[str, bytes]:
        """The content of each file, by name."""
        grid = self.region.grid
        window = box_of(self.covered) if self.covered else grid.window
        part = grid.part(window)
        frame = MapFrame.around(part)
        classes = class_picture(self.run.mosaic, self.labels, part, window, frame)
        layers, features = self._layers(frame.middle_lon)
        said = {
            "corners": frame.corners_lonlat,
            "layers": layers,
            "shares": dict(zip(self.labels.names, classes.shares, strict=True)),
            "ground_m": part.ground_resolution_m(),
            "digits": self._digits,
        }
        parts = {
            MAP_FILE: json.dumps(said, allow_nan=False).encode(),
            FEATURES_FILE: json.dumps(features, separators=(",", ":"), allow_nan=False).encode(),
            CLASSES_FILE: classes.webp,
            CARD_FILE: load_card(package_folder(self.model_path)).to_json().encode(),
        }
        scene = scene_picture(RegionPicture(self.region), part, window, frame)
        return parts if scene is None else {**parts, SCENE_FILE: scene}

    @property
    def _digits(self) -> int:
        """Decimals of coordinates in degrees."""
        return math.ceil(math.log10(_FINER * _DEGREE_M / min(self.region.grid.ground_resolution_m())))

    def _layers(self, middle_lon: float) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
        """What is said of each layer, and its features that are shown."""
        layers = {layer: partial(features_of, self.run, self.shapes, class_id) for class_id, layer in self.layers}
        chosen = choose(layers)
        features = [
            packed_features(chosen[layer].kept, self.region.grid.crs, middle_lon, self._digits, self.source.scenes)
            for layer in layers
        ]
        said = [
            {
                "name": layer,
                "class": self.labels.classes[class_id].name,
                "color": self.labels.classes[class_id].color,
                "count": chosen[layer].count,
                "area_m2": round(chosen[layer].area_m2, 1),
                "listed": len(chosen[layer].kept),
            }
            for class_id, layer in self.layers
        ]
        if self.network is not None:
            lines = choose_lines(lines_of(self.run, self.network_shapes))
            features.append(packed_lines(lines.kept, self.region.grid.crs, middle_lon, self._digits))
            of_lines = {
                "name": self.network.lines,
                "class": self.labels.classes[self.network.class_id].name,
                "color": _LINE_COLOR,
                "count": lines.count,
                "length_m": round(lines.length_m, 1),
                "listed": len(lines.kept),
            }
            said.append(of_lines)
        return said, features
